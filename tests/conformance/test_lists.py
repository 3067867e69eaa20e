"""Nothing of the package is missing from the list."""

from darts_tf import methods, spaces
from darts_tf.genotypes import CONV_PRIMITIVES, RECURRENT_PRIMITIVES
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.spaces.recurrent.cells import ACTIVATIONS
from tests.conformance import cases
from tests.helpers import oracles


def of_the_package(names, classes):
    """Those of a table that are not added by another test."""
    return {name for name in names if classes[name].__module__.startswith("darts_tf.")}


def test_every_primitive_is_in_the_list():
    assert set(OPERATIONS) == set(cases.CONV) == set(oracles.ORACLES) and set(CONV_PRIMITIVES) <= set(cases.CONV)
    assert set(ACTIVATIONS) == set(cases.RECURRENT) and set(RECURRENT_PRIMITIVES) <= set(cases.RECURRENT)


def test_every_space_is_in_the_list():
    classes = {name: type(space) for name, space in spaces.SPACES.items()}
    assert of_the_package(spaces.SPACES, classes) == set(cases.SPACES)


def test_every_method_is_in_the_list():
    assert of_the_package(methods.METHODS, methods.METHODS) == set(cases.METHODS)
