"""The one list: primitives, search spaces and methods, and how each is made small.

A primitive, space or method that is added to the package is added here, and with that to every test of this folder;
`test_lists.py` fails until it is.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from darts_tf import genotypes, methods, spaces
from darts_tf.bench.benchmark import random_batches
from darts_tf.config import Config, SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from tests.helpers.language_runs import CELL
from tests.helpers.steps import KINDS, pieces, search_step, train_step

CONV = (
    *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7"),
    *("dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"),
)
RECURRENT = ("none", "tanh", "relu", "sigmoid", "identity")
COMPUTED = tuple(name for name in CONV if name != "none")  # those that a derived cell may have

METHODS: dict[str, dict] = {"darts": {}}
"""Name in `darts_tf.methods.METHODS` -> the settings that it is tested with."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A search space, small.

    Attributes:
        search: Settings of a search.
        sizes: What the data say: see `Space.supernet`.
        train: Settings of a training.
        train_sizes: The same for `train`.
        pieces: `(config, sizes) -> (train, valid)`, what the streams of a step give.
        scale: Of the normal distribution that weights are drawn from; None leaves those of the start.
        rate: Learning rate.
        drop_path: Its probability.
    """

    search: Config
    sizes: tuple
    train: Config
    train_sizes: tuple
    pieces: Callable
    scale: float | None = None
    rate: float = 0.1
    drop_path: float = 0.0


SPACES = {
    "conv": Case(
        search=SearchConfig(
            init_channels=2,
            num_cells=3,
            num_nodes=1,
            batch_size=4,
            primitives=("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"),  # `test_primitives` has the others
            alpha_init_scale=0.1,
        ),
        sizes=((8, 8, 3), 10),
        train=TrainConfig(init_channels=2, num_cells=3, batch_size=4, drop_path=0.3),
        train_sizes=((32, 32, 3), 10),
        pieces=lambda config, sizes: random_batches(config, *sizes),
        drop_path=0.3,
    ),
    "recurrent": Case(
        search=LanguageSearchConfig(num_units=5, num_nodes=2, batch_size=6, bptt=10, grad_clip=0.3),
        sizes=(9,),
        train=LanguageTrainConfig(genotype=CELL, num_units=5, batch_size=6, bptt=10),
        train_sizes=(9,),
        pieces=lambda config, sizes: [pieces(config.batch_size) for _ in "tv"],
        scale=1.0,
        rate=2.0,
    ),
}


def _filled(network, scale):
    rng = np.random.default_rng(1)
    for variable in network.weight_variables if scale else ():
        variable.assign(rng.normal(scale=scale, size=variable.shape))
    return network


def _number(value):
    return tf.constant(value, keras.config.floatx())


def search_of(space, method="darts", order="first", scale=None, **changes):
    """Returns a search's step and its arguments."""
    case = SPACES[space]
    config = case.search.replace(method=method, **METHODS[method], **KINDS[order], **changes)
    made = methods.make(config)
    network = _filled(spaces.get(space).supernet(config, made, *case.sizes), scale or case.scale)
    step = search_step(network, config, method=made)
    return step, (*case.pieces(config, case.sizes), tf.constant(3, tf.int64), _number(case.rate))


def training_of(space, scale=None, **changes):
    """Returns a training's step and its arguments."""
    case = SPACES[space]
    config = case.train.replace(**changes)
    network = _filled(spaces.get(space).network(config, *case.train_sizes), scale or case.scale)
    train, _ = case.pieces(config, case.train_sizes)
    one, seed = tf.constant(1, tf.int64), tf.constant(7, tf.int64)
    return train_step(network, config), (train, one, _number(case.rate), _number(case.drop_path), seed)


def everything(names=COMPUTED):
    """Returns a convolutional genotype with each of these operations in both cells, at both strides."""
    names = [*names, names[0]] if len(names) % 2 else list(names)
    normal, reduce = ([(name, (i + shift) % 2) for i, name in enumerate(names)] for shift in (0, 1))
    concat = tuple(range(2, 2 + len(names) // 2))
    return genotypes.ConvGenotype(normal, concat, reduce, concat)
