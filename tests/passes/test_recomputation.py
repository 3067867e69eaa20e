"""Parts that are computed again: the same derivatives, of every order, and less that is kept in between."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bench.benchmark import random_batches
from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.objective import values
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.engine.liveness import Liveness
from darts_tf.passes.context import within
from darts_tf.passes.recomputation import GRAPH, XLA, recomputed
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from tests.helpers.language_runs import CELL
from tests.helpers.steps import ORDERS, build_network, build_supernet, every, pieces, search_step, train_step

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


def image_search(recompute, **changes):
    config = SearchConfig(
        init_channels=2,
        num_cells=3,
        num_nodes=1,
        batch_size=4,
        primitives=("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"),
        alpha_init_scale=0.1,
        recompute=recompute,
        **changes,
    )
    net = build_supernet(config, (8, 8, 3), 10)
    step, (train, valid) = search_step(net, config), random_batches(config, (8, 8, 3), 10)
    return step, (train, valid, 0, tf.constant(0.1, tf.float64))


def text_search(recompute, **changes):
    sizes = {"num_units": 5, "num_nodes": 2, "batch_size": 6, "bptt": 10, "grad_clip": 0.3}
    config = LanguageSearchConfig(**sizes, recompute=recompute, **changes)
    net = build_supernet(config, 9)
    rng = np.random.default_rng(1)
    for v in net.weight_variables:
        v.assign(rng.normal(size=v.shape))
    step = search_step(net, config)
    return step, (pieces(6), pieces(6), tf.constant(3, tf.int64), tf.constant(2.0, tf.float64))


def image_training(recompute):
    config = TrainConfig(init_channels=2, num_cells=3, batch_size=4, drop_path=0.3, recompute=recompute)
    step = train_step(build_network(config, (32, 32, 3), 10), config)
    batch, _ = random_batches(config, (32, 32, 3), 10)
    return step, (batch, 1, tf.constant(0.1, tf.float64), tf.constant(0.3, tf.float64), tf.constant(0, tf.int64))


def text_training(recompute):
    config = LanguageTrainConfig(num_units=5, batch_size=6, bptt=10, recompute=recompute)
    net = RecurrentNetwork(CELL, 9, 5)
    rng = np.random.default_rng(1)
    for v in net.weight_variables:
        v.assign(rng.normal(size=v.shape))
    rate, seed = tf.constant(2.0, tf.float64), tf.constant(7, tf.int64)
    return train_step(net, config), (pieces(6), 1, rate, 0.0, seed)


CASES = [
    *[functools.partial(search, order=o, hvp=h) for search in (image_search, text_search) for o, h in ORDERS],
    functools.partial(image_search, order="second", hvp="finite_difference", arch_bn_updates=True, accumulate=2),
    image_training,
    text_training,
]


@pytest.mark.parametrize("make", CASES, ids=range(len(CASES)))
def test_a_step_is_the_same(float64, make):
    """Weights, alphas, moving statistics, buffers and what is reported."""
    found = []
    for recompute in (False, True):
        step, arguments = make(recompute)
        report = tf.function(lambda step=step, arguments=arguments: step(*arguments), autograph=False)()
        found.append([*every(step), *[report[name].numpy() for name in sorted(report)]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [image_search, text_search, image_training, text_training])
def test_less_is_kept(make):
    """By the bytes that are alive at once in the graph of a pass."""
    peaks = []
    for recompute in (False, True):
        step, _ = make(recompute)
        step.functions.trace = lambda function: function
        net, functions = step.functions.supernet, step.functions
        packed = functions.weights.pack(net.weight_variables), values(net.arch_variables)
        gradients = tf.function(functions._gradients((WEIGHTS,), True), autograph=False)
        concrete = gradients.get_concrete_function(*packed, *batch_of(make))
        peaks.append(Liveness(5).peak(concrete))
    assert peaks[1] < 0.85 * peaks[0]


def batch_of(make):
    if make is image_search:
        return random_batches(SearchConfig(batch_size=4), (8, 8, 3), 10)[0]
    step, arguments = make(False)
    if make is image_training:
        images, labels = arguments[0]
        return (images, step.network.drop_factors(4, 0.3, [0, 1])), labels
    return step.domain.batch(pieces(6), tf.zeros(2, tf.int64))
