"""A method that is written outside of the package: nothing of the package is edited or patched for it."""

import functools
import json
import os
import signal
import sys
import time

import numpy as np
import pytest

from darts_tf.genotypes.selection import softmax
from darts_tf.system.errors import UserError
from darts_tf.tasks.search import search
from tests.helpers import programs
from tests.helpers.paths import ROOT
from tests.helpers.runs import Console, metrics, newest, same_run
from tests.helpers.toy_method import config_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the folder of an uninterrupted search."""

    @functools.cache
    def searched(kind, order):
        folder = tmp_path_factory.mktemp("whole")
        assert search(config_of(kind, order), folder, Console()) is not None
        return folder

    return searched


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        ("image", "first"),
        pytest.param("image", "second", marks=pytest.mark.slow),
        pytest.param("text", "first", marks=pytest.mark.slow),
        ("text", "second"),
    ],
)
def test_a_method_of_ones_own_searches_and_resumes(tmp_path, whole, kind, order):
    config, uninterrupted = config_of(kind, order), whole(kind, order)
    assert search(config, tmp_path / "parts", Console("epoch 1 done")) is None
    assert search(config, tmp_path / "parts", Console()) is not None
    a, b = newest(uninterrupted), newest(tmp_path / "parts")
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name)
    assert metrics(uninterrupted) == metrics(tmp_path / "parts")
    cells = 2 if kind == "image" else 1
    sharpness = a.arrays[f"alphas/{cells:05d}"]
    assert sharpness.shape == () and sharpness < 1  # the penalty and nothing else shrinks it this fast
    weights = json.loads(next((uninterrupted / "alphas").rglob("epoch_002.json")).read_text())["mixing_weights"]
    expected = softmax(sharpness * a.arrays["alphas/00000"])
    np.testing.assert_allclose(weights, expected, rtol=1e-5)  # selection and reports go by the method's strengths


@pytest.mark.slow
def test_a_killed_search_with_it_resumes(tmp_path, whole):
    code = """if True:
        import darts_tf
        darts_tf.configure()  # as the fixture does here
        from tests.helpers.toy_method import config_of
        darts_tf.search(config_of("image", "first"), {!r})
    """
    process = programs.Popen([sys.executable, "-c", code.format(str(tmp_path / "killed"))], cwd=ROOT)
    while not (tmp_path / "killed" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    search(config_of("image", "first"), tmp_path / "killed", Console())
    same_run(tmp_path / "killed", whole("image", "first"))


def test_an_unknown_method_is_named(tmp_path):
    with pytest.raises(UserError, match="method must be one of darts, .*uniform.*Received: method=nothing"):
        search(config_of("image", "first").replace(method="nothing"), tmp_path / "run", Console())
    assert not (tmp_path / "run").exists()
