"""The one list: every primitive, search space and method of the package's registries, each made small.

What is added to `OPERATIONS`, `SPACES` or `METHODS` is tested by `tests/conformance` without an entry here. Entries
say only what cannot be guessed: the settings of a method that needs some, and how a space is made small that is not one
of images or is too large by default.
"""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods, spaces
from darts_tf.bench.benchmark import random_batches
from darts_tf.config import Config, SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.methods.method import Method
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.system.errors import UserError
from tests.helpers.recurrent import GENOTYPE
from tests.helpers.steps import KINDS, pieces, search_step, train_step


def of_the_package(registry):
    """The names in a registry whose entries are not those of another test."""
    kinds = {name: entry if inspect.isclass(entry) else type(entry) for name, entry in registry.items()}
    return tuple(name for name, kind in kinds.items() if kind.__module__.startswith("darts_tf."))


COMPUTED = tuple(name for name in OPERATIONS if name != "none")  # those that a derived cell may have

SETTINGS: dict[str, dict] = {"p_darts": {"p_darts_stage": 2}}  # the first one drops nothing
"""Method -> the settings that it is tested with, if not its own."""
COMBINED: tuple[str, ...] = ()
"""What `--method` also takes, next to the names of single methods."""
METHODS = of_the_package(methods.METHODS) + COMBINED
TOGETHER = (
    "smooth_darts,beta_darts",
    "drnas,pc_darts",
    "gdas,cost",
    "darts_minus,snas",
    "fair_darts,darts_pt",
    "random_nas",
    "p_darts",
)
"""All methods but `darts` in few searches, for tests that take long."""


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


def noise(config, sizes):
    """Returns a training and a validation batch of images."""
    return random_batches(config, *sizes)


def everything(names=COMPUTED):
    """Returns a convolutional genotype with each of these operations in both cells, at both strides."""
    names = [*names, names[0]] if len(names) % 2 else list(names)
    normal, reduce = ([(name, (i + shift) % 2) for i, name in enumerate(names)] for shift in (0, 1))
    concat = tuple(range(2, 2 + len(names) // 2))
    return genotypes.ConvGenotype(normal, concat, reduce, concat)


def of_images(name):
    """Returns what fits a space of images that nothing more is known of."""
    genotype, rng = spaces.get(name).genotype, np.random.default_rng(4)
    nodes, primitives = genotype.usual_nodes, genotype.primitives
    shape = genotype.topology(nodes).num_edges, len(primitives)
    cell = genotypes.derive(genotype, {cell: rng.normal(size=shape) for cell in genotype.cells}, primitives, nodes)
    small = {"space": name, "init_channels": 4, "num_cells": 3, "batch_size": 16}
    search = SearchConfig(**small, num_nodes=nodes, primitives=primitives, alpha_init_scale=0.1)
    train = TrainConfig(**small, genotype=cell.to_text(), drop_path=0.0, auxiliary=False)
    return Case(search, ((8, 8, 3), 10), train, ((16, 16, 3), 10), noise)


OWN = {
    "conv": Case(
        search=SearchConfig(
            init_channels=4,
            num_cells=3,
            num_nodes=1,
            batch_size=16,
            primitives=("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"),  # `test_primitives` has the others
            alpha_init_scale=0.1,
        ),
        sizes=((8, 8, 3), 10),
        train=TrainConfig(genotype=everything().to_text(), init_channels=4, num_cells=3, batch_size=16, drop_path=0.3),
        train_sizes=((32, 32, 3), 10),
        pieces=noise,
        drop_path=0.3,
    ),
    "recurrent": Case(
        search=LanguageSearchConfig(num_units=8, num_nodes=2, batch_size=6, bptt=10, alpha_init_scale=0.1),
        sizes=(9,),
        train=LanguageTrainConfig(genotype=GENOTYPE.to_text(), num_units=8, batch_size=6, bptt=10),
        train_sizes=(9,),
        pieces=lambda config, sizes: [pieces(config.batch_size) for _ in "tv"],
        scale=0.4,
        rate=2.0,
    ),
}
SPACES = {name: OWN[name] if name in OWN else of_images(name) for name in of_the_package(spaces.SPACES)}
IMAGES = tuple(name for name, case in SPACES.items() if isinstance(case.search, SearchConfig))


def _candidates():
    found = {}
    for space in IMAGES:
        for name, make in spaces.get(space).operations.items():
            if found.setdefault(name, make) is not make:
                found[f"{space}.{name}"] = make
    return found


def _strides(name):
    """Operations of a space without reduction cells have no stride 2."""
    space = name.rpartition(".")[0] or next(s for s in IMAGES if name in spaces.get(s).operations)
    return (1, 2) if "reduce" in spaces.get(space).genotype.cells else (1,)


CANDIDATES = _candidates()
"""Every operation of the spaces of images -> what makes it; with the space before its name where a name has several."""
RANDOM = ("noise",)
"""Those that are no functions of their source, and have a test file of their own instead of an oracle."""
STRIDED = tuple((name, stride) for name in CANDIDATES if name not in RANDOM for stride in _strides(name))


def derived(space, sizes=None, **changes):
    """Returns the small derived network of a space."""
    case = SPACES[space]
    return spaces.get(space).network(case.train.replace(**changes), *(sizes or case.train_sizes))


def one_hot(genotype, primitives):
    """Returns the mixing weights, by cell, that choose a genotype's operations; elsewhere `none`, if there is one."""
    found, names = {}, np.array(primitives)
    for cell in genotype.cells:
        topology = genotype.topology_of(cell)
        found[cell] = np.tile(np.float64(names == "none"), (topology.num_edges, 1))
        for index, (name, source) in enumerate(getattr(genotype, cell)):
            found[cell][topology.row(source, topology.edge_of(index))] = names == name
    return found


# Steps: functions that make one, given changes of its settings.


def _filled(network, scale):
    rng = np.random.default_rng(1)
    for variable in network.weight_variables if scale else ():
        variable.assign(rng.normal(scale=scale, size=variable.shape))
    return network


def _number(value):
    return tf.constant(value, keras.config.floatx())


def searched(space, method="darts", **changes):
    """Returns the small settings of a search, its method and its supernet; see `refused`."""
    case = SPACES[space]
    with refused(space, method):
        config = case.search.replace(method=method, **SETTINGS.get(method, {}), **changes)
        made = methods.make(config)
        return config, made, _filled(spaces.get(space).supernet(config, made, *case.sizes), case.scale)


@contextlib.contextmanager
def refused(space, method):
    """Skips a test where a method refuses a space: any but that of the paper."""
    try:
        yield
    except UserError as error:
        if space == "conv" or method == "darts":
            raise
        pytest.skip(f"refused: {error}")


def search_of(space, method, order, **changes):
    """Returns a search's step and its arguments."""
    case = SPACES[space]
    config, made, network = searched(space, method, **KINDS[order], **changes)
    with refused(space, method):
        step = search_step(network, config, method=made)
    late = _number(config.epochs // 2)  # what a schedule raises or lowers is neither off nor alone
    return step, (*case.pieces(config, case.sizes), tf.constant(3, tf.int64), _number(case.rate), late)


def training_of(space, **changes):
    """Returns a training's step and its arguments."""
    case = SPACES[space]
    config = case.train.replace(**changes)
    network = _filled(spaces.get(space).network(config, *case.train_sizes), case.scale)
    train, _ = case.pieces(config, case.train_sizes)
    one, seed = tf.constant(1, tf.int64), tf.constant(7, tf.int64)
    return train_step(network, config), (train, one, _number(case.rate), _number(case.drop_path), seed)


_ORDERS = [(space, "darts", order) for space in SPACES for order in KINDS]
# Methods that leave the operations as they are get what they relax in one space of images as in another: they are tried
# together in those that are not of the paper; those that make operations of their own also one by one in that.
_OTHERS = [
    (space, method, "first")
    for space in SPACES
    if space != "conv"
    for method in (TOGETHER if space in IMAGES else METHODS)
    if method != "darts"
]
_OTHERS += [
    ("conv", method, "first")
    for method in METHODS
    if method != "darts"
    and any(methods.METHODS[name].mixed_operation is not Method.mixed_operation for name in method.split(","))
]
SEARCHES = {"-".join(case): functools.partial(search_of, *case) for case in _ORDERS + _OTHERS}
TRAININGS = {f"{space}-training": functools.partial(training_of, space) for space in SPACES}
STEPS = SEARCHES | TRAININGS
