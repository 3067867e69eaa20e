"""A sparse pass leaves out operations that no edge uses, and gives what all of them give."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.methods import METHODS
from darts_tf.passes.context import within
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.nasbench201.operations import OPERATIONS, NasBench201MixedOp
from tests.helpers.cases import search_of
from tests.helpers.steps import array

NAMES = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


@pytest.mark.parametrize("size", [8, 7])  # even, where dilated convolutions work in phases, and odd
@pytest.mark.parametrize("kind, stride", [(MixedOp, 1), (MixedOp, 2), (NasBench201MixedOp, 1)])
def test_values_gradients_and_statistics_are_the_same(float64, kind, stride, size):
    names = NAMES if kind is MixedOp else tuple(OPERATIONS)
    mixed = kind(2, 4, stride, names)
    x = tf.constant(np.random.default_rng(0).normal(size=(3, size, size, 4)))
    chosen = len(names) - 1
    weights = np.zeros((2, len(names)))
    weights[0, chosen], weights[1, names.index("skip_connect")] = 0.7, 0.4
    for variable in mixed.non_trainable_variables:
        variable.assign(tf.fill(variable.shape, tf.constant(0.25, variable.dtype)))

    @tf.function
    def run(sparse):
        statistics = {}
        with tf.GradientTape() as tape, within(statistics=statistics, sparse=sparse):
            y = mixed(x, tf.constant(weights), training=True)
            loss = tf.reduce_sum(y**3)
        gradients = tape.gradient(loss, [v.value for v in mixed.trainable_variables], unconnected_gradients="zero")
        return y, gradients, [statistics[id(v)] for v in mixed.non_trainable_variables]

    (y, gradients, found), (expected, exact, every) = run(True), run(False)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    unused = {
        id(v)
        for index, operation in enumerate(mixed.operations)
        if not operation.shared and not weights[:, index].any()
        for v in operation.non_trainable_variables
    }
    assert unused
    for variable, one, other in zip(mixed.non_trainable_variables, found, every, strict=True):
        np.testing.assert_allclose(one, variable if id(variable) in unused else other, rtol=1e-10)


CASES = [("conv", "random_nas", {"recompute": True, "accumulate": 2}), ("conv", "random_nas", {"jit_compile": True})]
CASES += [("nasbench201", "gdas", {})]


@pytest.mark.parametrize("space, method, settings", CASES)
def test_a_step_is_the_same(monkeypatch, space, method, settings):
    moves = []
    for sparse in (True, False):
        monkeypatch.setattr(METHODS[method], "sparse", sparse)
        step, arguments = search_of(space, method, "first", **settings)
        assert step.method.sparse == sparse
        run = tf.function(step, jit_compile=settings.get("jit_compile", False), autograph=False)
        report = run(*arguments)
        moves.append([report["loss"], *map(array, [*step.supernet.weight_variables, *step.functions.arch.values()])])
    for one, other in zip(*moves, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
