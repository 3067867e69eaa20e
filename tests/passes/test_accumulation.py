"""A batch in parts: the same step as the whole batch, as far as batch norm allows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel.step import traced
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.passes.accumulation import Accumulation
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError
from tests.helpers.language_runs import CELL
from tests.helpers.steps import build_network, build_supernet, pieces, search_step, train_step


def test_parts_follow_one_another_and_fit_together():
    parts = Accumulation(2, ((0, 1), None), (0, None, None))
    seen = []

    def call(common, batch):
        inputs, shared = batch
        seen.append((common, inputs[0].numpy().tolist(), inputs[1], shared.numpy()))
        return [tf.reduce_max(inputs[0])], (2 * inputs[0], None, tf.reduce_sum(inputs[0]))

    (mean,), outputs = parts.over(call)("w", ((tf.range(4.0), None), tf.constant(7)))
    assert seen == [("w", [0, 1], None, 7), ("w", [2, 3], None, 7)]
    assert mean.numpy() == 2 and outputs[0].numpy().tolist() == [0, 2, 4, 6]
    assert outputs[1] is None and outputs[2].numpy() == 3


def language_step(accumulate, trace):
    """Weights, report and state after a step with dropout, penalties and clipping."""
    config = LanguageTrainConfig(
        num_units=5,
        batch_size=6,
        bptt=10,
        grad_clip=0.3,
        activation_penalty=0.4,
        slowness_penalty=0.5,
        accumulate=accumulate,
    )
    net = RecurrentNetwork(CELL, 9, 5)
    rng = np.random.default_rng(1)
    for v in net.weight_variables:
        v.assign(rng.normal(size=v.shape))
    step = train_step(net, config, trace)
    step.domain.carried[0].assign(rng.normal(size=(6, 5)))
    report = step(pieces(6), 1, tf.constant(2.0, tf.float64), 0.0, tf.constant(7, tf.int64))
    return [v.numpy() for v in net.weight_variables] + [step.domain.carried[0].numpy()], report


@pytest.mark.parametrize("trace", [None, traced], ids=["eager", "graph"])
def test_without_batch_norm_parts_are_exact(float64, trace):
    (whole, report), (parts, found) = language_step(1, trace), language_step(3, trace)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-13)
    assert report["gradient_norm"] > 0.3  # clipped, and after the sum
    for name in report:
        np.testing.assert_allclose(found[name], report[name], rtol=1e-11)


def images(seed, size):
    rng = np.random.default_rng(seed)
    half = tf.constant(rng.normal(size=(2, size, size, 3))), tf.constant(rng.integers(3, size=2), tf.int32)
    return [tf.concat([part, part], 0) for part in half]


@pytest.mark.parametrize("order, hvp", [("first", "exact"), ("second", "finite_difference"), ("second", "exact")])
def test_with_batch_norm_parts_of_equal_statistics_are_exact(float64, order, hvp):
    """A batch whose halves are the same images: batch norm then sees in each part what it sees in the whole."""

    def searched(accumulate):
        small = {"init_channels": 2, "num_cells": 3, "num_nodes": 1, "batch_size": 4, "accumulate": accumulate}
        config = SearchConfig(**small, order=order, hvp=hvp, primitives=("none", "skip_connect", "sep_conv_3x3"))
        net = build_supernet(config, (8, 8, 3), 3)
        step = search_step(net, config)
        report = step(images(0, 8), images(1, 8), 0, tf.constant(0.3, tf.float64))
        assert report["logits"].shape == (4, 3)
        return [v.numpy() for v in (*net.arch_variables, *net.weight_variables)], report

    (whole, report), (parts, found) = searched(1), searched(2)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-9)
    for name in ("loss", "valid_loss", "gradient_norm", "correct", "logits"):
        np.testing.assert_allclose(found[name], report[name], rtol=1e-9)


def test_training_with_the_auxiliary_head_and_drop_path(float64):
    """The gradient is the mean of the parts' own; each part has its share of the drop path's draws."""
    config = TrainConfig(init_channels=2, num_cells=3, batch_size=4, drop_path=0.5, accumulate=2, learning_rate=1.0)
    config = config.replace(momentum=0.0, weight_decay=0.0, grad_clip=0.0)
    seed, batch = tf.constant([0, 1], tf.int64), images(0, 32)

    def trained(config, batch=batch, drop=None):
        keras.utils.set_random_seed(0)
        net = build_network(config, (32, 32, 3), 10)
        step = train_step(net, config)
        if drop is not None:
            net.drop_factors = lambda *arguments: drop
        step(batch, seed[1], tf.constant(1.0, tf.float64), tf.constant(0.5, tf.float64), seed[0])
        return net, [v.numpy() for v in net.weight_variables]

    net, moved = trained(config)
    before = [v.numpy() for v in build_network(config, (32, 32, 3), 10).weight_variables]
    drop = net.drop_factors(4, tf.constant(0.5, tf.float64), seed)
    alone = config.replace(accumulate=1, batch_size=2)
    halves = [trained(alone, [t[s] for t in batch], drop[:, s])[1] for s in (slice(0, 2), slice(2, 4))]
    for start, now, *parts in zip(before, moved, *halves, strict=True):
        np.testing.assert_allclose(now, np.mean(parts, 0), rtol=1e-8, atol=1e-10)
        assert start.shape == now.shape


def test_parts_must_be_equal():
    with pytest.raises(UserError, match="accumulate must divide batch_size=64"):
        SearchConfig(accumulate=5)
