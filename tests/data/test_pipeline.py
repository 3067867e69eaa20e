"""Pipelines are not tuned by a thread that an iterator would wait for when it is deleted."""

import ast

import pytest
import tensorflow as tf

from darts_tf.data.pipeline import untuned
from tests.helpers.paths import SOURCES


def test_the_elements_stay():
    dataset = tf.data.Dataset.range(5).map(lambda x: 2 * x, tf.data.AUTOTUNE)
    assert [*untuned(dataset).as_numpy_iterator()] == [0, 2, 4, 6, 8]
    assert untuned(dataset).options().autotune.enabled is False


def iterated(tree):
    """What iterators are made of, as code: `NAME.as_numpy_iterator()` and `iter(tf.data...)`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Attribute(source, "as_numpy_iterator")):
                yield ast.unparse(source)
            case ast.Call(ast.Name("iter"), [source]) if "tf.data" in ast.unparse(source):
                yield ast.unparse(source)


@pytest.mark.parametrize("code", ["iter(tf.data.Dataset.range(3))", "list(records.batch(2).as_numpy_iterator())"])
def test_a_tuned_iterator_is_found(code):
    assert [*iterated(ast.parse(code))]


def test_no_iterator_of_the_package_is_tuned():
    found = [(path, code) for path in SOURCES for code in iterated(ast.parse(path.read_text(encoding="utf-8")))]
    assert len(found) >= 6
    assert not [(path, code) for path, code in found if not code.startswith("untuned(")]
