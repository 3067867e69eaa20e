"""The list holds what its tests take for granted."""

from darts_tf import methods
from darts_tf.genotypes import CONV_PRIMITIVES, RECURRENT_PRIMITIVES
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.spaces.recurrent.cells import ACTIVATIONS
from tests.helpers import cases, oracles


def test_primitives():
    assert set(CONV_PRIMITIVES) <= set(OPERATIONS) <= set(cases.CANDIDATES)
    assert {name.rpartition(".")[2] for name in cases.CANDIDATES} <= {*oracles.ORACLES, *cases.RANDOM}
    assert set(RECURRENT_PRIMITIVES) == set(ACTIVATIONS)  # `test_recurrent` has their oracles


def test_spaces():
    assert {"conv", "recurrent"} == set(cases.OWN) <= set(cases.SPACES)
    assert set(cases.IMAGES) == set(cases.SPACES) - {"recurrent"}


def test_methods():
    assert {"darts", *cases.SETTINGS} <= set(cases.METHODS)
    assert set(cases.METHODS) - set(cases.COMBINED) <= set(methods.METHODS)
    together = [name for methods in cases.TOGETHER for name in methods.split(",")]
    assert sorted(["darts", *together]) == sorted(set(cases.METHODS) - set(cases.COMBINED))
