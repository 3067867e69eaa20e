"""Small steps of a search and of a training, their batches, and all that they write."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from darts_tf import methods, spaces
from darts_tf.bilevel.objective import cross_entropy, values
from darts_tf.bilevel.optimizers import assign
from darts_tf.bilevel.step import SearchStep, TrainStep, traced
from darts_tf.config import SearchConfig
from darts_tf.passes import loss_scale
from darts_tf.passes.context import within
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.recurrent.losses import penalty
from darts_tf.tasks import domains

KINDS = {
    "first": {"order": "first"},
    "finite_difference": {"order": "second", "hvp": "finite_difference"},
    "exact": {"order": "second", "hvp": "exact"},
}
ADAM = {"rate": 3e-4, "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 1e-3}  # of the paper
FEW = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")
SMALL = {"init_channels": 4, "num_cells": 3, "num_nodes": 2, "epochs": 4, "alpha_init_scale": 0.5}
SMALL |= {"primitives": FEW[1:]}


def small_step(kind, trace=None, num_nodes=1, primitives=FEW, alpha_init_scale=0.5, init_channels=2, **changes):
    """A small supernet's search step with equal start values at every call, and a train and a valid batch."""
    config = SearchConfig(
        init_channels=init_channels, num_cells=3, num_nodes=num_nodes, primitives=primitives, **KINDS[kind], **changes
    )
    keras.utils.set_random_seed(7)
    net = ConvSupernet(
        4,
        (8, 8, 3),
        config.init_channels,
        config.num_cells,
        config.num_nodes,
        primitives=primitives,
        alpha_init_scale=alpha_init_scale,
    )
    return search_step(net, config, trace), batches()


def step_of(method, kind="first", trace=None, **changes):
    """A method's small search step with equal start values at every call."""
    config = SearchConfig(method=method, **SMALL, **KINDS[kind], **changes)
    made = methods.make(config)
    return search_step(spaces.get("conv").supernet(config, made, (8, 8, 3), 4), config, trace, method=made)


def batches():
    """A train and a valid batch of images."""
    rng = np.random.default_rng(0)
    shape = (4, 8, 8, 3)
    return [(tf.constant(rng.normal(size=shape), keras.config.floatx()), tf.constant([0, 3, 1, 2])) for _ in "tv"]


def rate(value):
    return tf.constant(value, keras.config.floatx())


def move(optimizer, variables, gradients, rate):
    """Takes a step of SGD or ASGD, as `WeightStep` does."""
    weights, buffers = optimizer.update(values(variables), gradients, rate)
    assign([*variables, *optimizer.buffers], [*weights, *buffers])


def array(value):
    return tf.convert_to_tensor(value).numpy()  # NumPy warns when it reads a Keras variable itself


def snapshot(step):
    found = [array(v) for variables in step.variables.values() for v in variables]
    return found + [array(v) for v in step.supernet.variables]


def same(before, after):
    return [np.array_equal(b, a) for b, a in zip(before, after, strict=True)]


def every(step):
    return [v.numpy() for name, group in step.variables.items() if name != loss_scale.GROUP for v in group]


def pieces(batch, start=1):
    rng = np.random.default_rng(start)
    tokens = rng.integers(9, size=(6, batch))
    return [tf.constant(t, tf.int32) for t in (tokens[:-1], tokens[1:])] + [tf.constant([start, 5, 8], tf.int64)]


NUMBER = 0  # of a step, where nothing is drawn


def search_step(net, config, trace=traced, distribution=None, method=None):
    """A step of Algorithm 1 without the data of a run."""
    return SearchStep(net, config, domains.of(config), trace, distribution, method)


def train_step(net, config, trace=traced, distribution=None):
    """A step of a training without the data of a run."""
    return TrainStep(net, config, domains.of(config), trace, distribution)


def build_supernet(config, *sizes):
    return spaces.get(config.space).supernet(config, None, *sizes)


def build_network(config, *sizes):
    return spaces.get(config.space).network(config, *sizes)


def stateless(net, weights, alphas, inputs):
    """Runs a network at given weights and alphas, relaxed as DARTS does."""
    return net.stateless(weights, dict(zip(net.alphas, map(tf.nn.softmax, alphas), strict=True)), inputs)


@contextlib.contextmanager
def collect_statistics():
    """Inside it, batch norms put their batch's statistics into the dictionary that it gives."""
    with within(statistics={}) as run:
        yield run.statistics


class SequenceLoss:
    """Cross-entropy of a text with the penalties."""

    def __init__(self, activation=0.0, slowness=0.0):
        self.weights = activation, slowness

    def __call__(self, outputs, targets):
        return cross_entropy(outputs.logits, targets) + self.penalty(outputs)

    def penalty(self, outputs):
        return penalty(outputs, *self.weights)


def moved_state(functions, passed):
    """Returns the moving statistics, packed, after passes that tell theirs."""
    state = functions.state.pack(functions.supernet.state_variables)
    for told in passed:
        state = functions.supernet.moved_state(state, told.statistics)
    return state
