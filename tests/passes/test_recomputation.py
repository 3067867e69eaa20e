"""Parts that are computed again: the same derivatives, eagerly, in a graph and in XLA; for steps see `conformance`."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.passes.context import within
from darts_tf.passes.recomputation import GRAPH, XLA, recomputed

X, W = (np.random.default_rng(seed).normal(size=(3, 3)) for seed in range(2))


def derivatives(mode):
    """The gradient of a function of two parts, and a product of its Hessian with a vector."""

    def part(x, w):
        return tf.tanh(x @ w) * x, tf.stop_gradient(w)

    x, w = tf.constant(X), tf.constant(W)
    with within(recompute=mode):
        again = recomputed(part)
    with tf.GradientTape() as outer:
        outer.watch([x, w])
        with tf.GradientTape() as inner:
            inner.watch([x, w])
            y, aside = again(*again(x, w))
            loss = tf.reduce_sum(y**3) + tf.reduce_sum(w * aside)
        first = inner.gradient(loss, [x, w])
        product = tf.reduce_sum(first[0] * X) + tf.reduce_sum(first[1] * W)
    return [*first, *outer.gradient(product, [x, w])]


@pytest.mark.parametrize("mode, compiled", [(GRAPH, None), (GRAPH, False), (XLA, True)], ids=["eager", "graph", "xla"])
def test_derivatives_are_those_of_the_function(mode, compiled):
    function = derivatives if compiled is None else tf.function(derivatives, autograph=False, jit_compile=compiled)
    for found, expected in zip(function(mode), derivatives(None), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_xla_does_not_merge_the_two_computations():
    counts = []
    for mode in (None, XLA):

        @tf.function(autograph=False, jit_compile=True)
        def compiled(x):
            with within(recompute=mode), tf.GradientTape() as tape:  # noqa: B023
                tape.watch(x)
                y = tf.reduce_sum(tf.tanh(recomputed(lambda x: tf.sin(tf.cos(x) @ x))(x)))
            return y, tape.gradient(y, x)

        text = compiled.experimental_get_compiler_ir(tf.constant(X))(stage="optimized_hlo")
        counts.append(text.count(" cosine("))
    assert counts[1] > counts[0] > 0
