"""The operation `noise`: what it draws in a step, outside of one, in parts of a batch, recomputed, in narrow types."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import methods, spaces
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.passes.context import within
from darts_tf.passes.recomputation import GRAPH
from darts_tf.spaces.conv.draws import draw_keys
from darts_tf.spaces.conv.norm import call_cell
from darts_tf.spaces.conv.operations import Noise
from darts_tf.tasks import domains
from tests.helpers.arrays import difference, images
from tests.helpers.kernels import assert_kernels
from tests.helpers.steps import KINDS, array, rate, search_step, train_step

SMALL = {"init_channels": 4, "num_cells": 3, "batch_size": 4}
SEARCH = SearchConfig(**SMALL, num_nodes=1, candidates="s4", alpha_init_scale=0.5)
CELL = "Genotype(normal=[('noise', 0), ('skip_connect', 1)], normal_concat=[2], "
CELL += "reduce=[('noise', 1), ('sep_conv_3x3', 0)], reduce_concat=[2])"
TRAIN = TrainConfig(**SMALL, genotype=CELL, auxiliary=False, drop_path=0.0)


def seed(number):
    return tf.constant([7, number], tf.int64)


@pytest.mark.parametrize("stride", [1, 2])
def test_it_is_normal_and_a_function_of_seed_and_number(stride, dtype):
    x, scale = images(8, 9, 8, 4, dtype=dtype), np.repeat([1.0, 2.0, -3.0], 4).astype(dtype)
    operation = Noise(4, stride, 3)
    with within(seed=seed(1)):
        first, again, scaled = operation(x, training=True), operation(2 * x, training=True), operation(x, scale)
        operation.number = 1
        other = operation(x)
    with within(seed=seed(2)):
        later = operation(x)
    assert first.shape == (8, -(-9 // stride), -(-8 // stride), 12) and first.dtype == dtype
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(scaled, first * scale)
    drawn = [first, other, later]
    parts = np.stack([np.ravel(part) for each in drawn for part in np.split(np.asarray(each, np.float64), 3, -1)])
    assert np.abs(np.corrcoef(parts) - np.eye(9)).max() < 0.3 and np.abs(parts.mean(1)).max() < 0.3
    assert np.abs(parts.std(1) - 1).max() < 0.25


def test_outside_of_steps_it_is_one_draw():
    x, operation = images(3, 8, 8, 4, dtype="float32"), Noise(4, 1, 2)
    found = np.asarray(operation(x))
    np.testing.assert_array_equal(found, operation(10 + x, training=True))
    np.testing.assert_array_equal(found, np.broadcast_to(found[:1], found.shape))
    assert abs(found[0].std() - 1) < 0.2
    operation.number = 1
    assert difference(operation(x), found) > 1


@pytest.mark.parametrize("narrow", [tf.float16, tf.bfloat16])
def test_narrow_and_recomputed(narrow):
    x, scale, operation = images(4, 6, 6, 4, dtype="float32"), images(4, dtype="float32"), Noise(4)

    def outputs(x, recompute=None):
        scales = tf.constant(scale)
        with within(seed=seed(3), statistics={}, recompute=recompute), tf.GradientTape() as tape:
            tape.watch(scales)
            y = call_cell(operation, x, scales, training=True)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
        return y, tape.gradient(loss, scales)

    def traced(**how):
        return tf.function(functools.partial(outputs, **how), autograph=False).get_concrete_function(tf.constant(x))

    plain = traced()
    assert_kernels(plain)
    for mine, theirs in zip(traced(recompute=GRAPH)(tf.constant(x)), plain(tf.constant(x)), strict=True):
        assert difference(mine, theirs) < 1e-6
    y, _ = outputs(tf.cast(x, narrow))
    assert y.dtype == narrow and difference(y, outputs(tf.constant(x))[0]) < 1e-2


def step_of(config, trace=None):
    if isinstance(config, TrainConfig):
        return train_step(spaces.get("conv").network(config, (8, 8, 3), 4), config, trace)
    made = methods.make(config)
    return search_step(spaces.get("conv").supernet(config, made, (8, 8, 3), 4), config, trace, method=made)


def moved(config, number=3):
    """What a step leaves."""
    rng = np.random.default_rng(0)
    batch = tf.constant(rng.normal(size=(4, 8, 8, 3)), tf.float32), tf.constant([0, 3, 1, 2])
    step, number = step_of(config), tf.constant(number, tf.int64)
    if isinstance(config, TrainConfig):
        step(batch, number, rate(0.1), rate(0.0), tf.constant(0, tf.int64))
        return [array(v) for v in step.network.weight_variables]
    step(batch, batch, number, rate(0.1), rate(1.0))
    return [array(v) for v in (*step.functions.arch.values(), *step.supernet.weight_variables)]


def same(one, other, tolerance=1e-5):
    return max(difference(a, b) for a, b in zip(one, other, strict=True)) < tolerance


@pytest.mark.parametrize("config", [SEARCH.replace(**KINDS["first"]), TRAIN], ids=["search", "training"])
def test_a_step_draws_by_its_number(config):
    first = moved(config)
    assert same(first, moved(config), 1e-12)
    assert not same(first, moved(config, 4), 1e-3)
    assert same(first, moved(config.replace(recompute=True)))


def test_the_finite_difference_is_the_exact_product(float64):
    """All passes of a step see the same numbers."""
    found = []
    for kind in ("finite_difference", "exact"):
        # Adam's first step is as long as the gradient, not one by its sign; no ReLU switches between the two probes.
        config = SEARCH.replace(**KINDS[kind], hvp_radius=1e-6, arch_epsilon=1.0, arch_weight_decay=0.0)
        step = step_of(config)
        before = [array(v) for v in step.functions.arch.values()]
        x = [tf.constant(images(4, 8, 8, 3, seed=each)) for each in (1, 2)]
        batches = [(each, tf.constant([0, 3, 1, 2])) for each in x]
        step(*batches, tf.constant(3, tf.int64), rate(0.1), rate(1.0))
        found.append([array(v) - a for v, a in zip(step.functions.arch.values(), before, strict=True)])
    assert same(*found, 1e-4)


def test_parts_of_a_batch_draw_their_own(monkeypatch):
    """An accumulated step: two parts, two draws, each the same in both of its passes."""
    keys = draw_keys(4, seed(5))
    assert len({tuple(key) for key in keys.numpy()}) == 4
    config = SEARCH.replace(**KINDS["first"], accumulate=2)
    seen = []
    draw = Noise.drawn
    monkeypatch.setattr(Noise, "drawn", lambda self, *args: seen.append(draw(self, *args)) or seen[-1])
    step = step_of(config)
    step.supernet.number_draws()
    x = tf.constant(images(2, 8, 8, 3, dtype="float32"))
    batch = tf.concat([x, x], 0), tf.constant([0, 1, 0, 1])
    step(batch, batch, tf.constant(3, tf.int64), rate(0.1), rate(1.0))
    first = {tuple(np.ravel(each)[:3]) for each in seen if each.shape[1:] == (8, 8, 4)}
    # One normal cell, two states with one edge each; two parts; a pass for the alphas and one for the weights.
    assert len(first) == 2 * 2 * 2


def test_the_batch_of_the_eigenvalue_is_complete():
    domain = domains.of(SEARCH.replace(dataset="digits", cutout=0)).load(lambda line: None)
    net = domain.supernet(None)
    domain.attach(net)
    (pixels, drop, keys), labels = domain.curvature_batch()
    assert drop is None and keys.shape == (4, 2) and len(pixels) == len(labels) == 4
