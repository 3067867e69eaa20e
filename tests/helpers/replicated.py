"""Steps on two logical CPU devices beside the same steps on one: a process of its own, for devices are set up once.

Prints JSON: for each case and each kind of variable the largest difference relative to its largest number.
"""

import json
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from darts_tf import methods, spaces
from darts_tf.cluster import distribution
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.methods.darts_pt import DartsPT
from darts_tf.methods.p_darts import DroppedSkips
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system import runtime
from darts_tf.tasks import images as tasks
from tests.helpers import draws, trainings
from tests.helpers.cases import SETTINGS, TOGETHER
from tests.helpers.steps import build_network, build_supernet, rate, search_step, train_step

CELL = "Genotype(recurrent=[('tanh', 0), ('relu', 1), ('sigmoid', 1)], concat=range(1, 4))"
STEPS = 3


def images(seed, size):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=(8, size, size, 3)), keras.config.floatx()), tf.constant(
        rng.integers(3, size=8), tf.int32
    )


def window(seed, length):
    """A window in the middle of a text, so that the carried state matters."""
    rng = np.random.default_rng(seed)
    tokens = [tf.constant(rng.integers(9, size=(length, 4)), tf.int32) for _ in range(2)]
    return *tokens, tf.constant([min(seed, 1) * 7, length, length], tf.int64)


WINDOW = (*[tf.TensorSpec((None, 4), tf.int32)] * 2, tf.TensorSpec((3,), tf.int64))  # of any length, traced once


def searched(shared, order, hvp, accumulate=1):
    config = SearchConfig(
        **{"init_channels": 2, "num_cells": 3, "num_nodes": 1, "batch_size": 8, "grad_clip": 0.5, "order": order},
        primitives=("none", "skip_connect", "max_pool_3x3", "dil_conv_3x3"),
        hvp=hvp,
        arch_learning_rate=0.01,
        arch_bn_updates=True,
        accumulate=accumulate,
    )
    step = search_step(build_supernet(config, (8, 8, 3), 3), config, distribution=shared)
    run = tf.function(lambda *batches: step(*batches, 0, rate(0.1)), autograph=False)
    reports = [run(images(2 * i, 8), images(2 * i + 1, 8)) for i in range(STEPS)]
    return step, reports


@mock.patch.object(tasks, "draw_keys", draws.equal_keys)
@mock.patch.object(DroppedSkips, "factors", draws.tiled(4, 2))
def searched_by(shared, method):
    """In the middle of a search, where no schedule is at its end."""
    config = SearchConfig(
        **{"init_channels": 4, "num_cells": 3, "num_nodes": 1, "batch_size": 4, "grad_clip": 0.1, "order": "first"},
        **{"method": method, "arch_learning_rate": 0.01, "alpha_init_scale": 0.5, **SETTINGS.get(method, {})},
        primitives=("none", "skip_connect", "dil_conv_3x3"),
        **({"strategy": "mirrored", "replicas": 2} if shared else {}),  # so that methods may refuse it
        **({"cost_target": 0.043} if "cost" in method else {}),
    )
    made = methods.make(config)
    step = search_step(
        spaces.get("conv").supernet(config, made, (8, 8, 3), 3), config, distribution=shared, method=made
    )
    if isinstance(made.chooser, DartsPT):  # as in its training between decisions
        first = {cell: np.arange(2) == 0 for cell in made.cells}
        made.chooser.decide(first, {cell: np.tile([0.0, 0.0, 1.0], (2, 1)) for cell in made.cells})
    run = tf.function(lambda *batches: step(*batches, rate(0.1), rate(config.epochs // 2)), autograph=False)
    batches = [[part[:4] for part in images(seed, 8)] for seed in range(4)]
    return step, [run(*batches[2 * i : 2 * i + 2], tf.constant(i, tf.int64)) for i in range(2)]


def trained(shared):
    config = TrainConfig(
        genotype=trainings.CELL.to_text(), init_channels=2, num_cells=3, batch_size=8, drop_path=0.5, grad_clip=0.5
    )
    step = train_step(build_network(config, (8, 8, 3), 3), config, distribution=shared)
    seed = tf.constant([0, 1], tf.int64)
    run = tf.function(lambda batch: step(batch, seed[1], rate(0.1), rate(0.4), seed[0]), autograph=False)
    return step, [run(images(i, 8)) for i in range(STEPS)]


def language_searched(shared, order, hvp):
    dropouts = dict.fromkeys(("dropout", "dropout_hidden", "dropout_x", "dropout_input", "dropout_embedding"), 0.3)
    config = LanguageSearchConfig(num_units=5, batch_size=4, num_nodes=2, bptt=6, order=order, hvp=hvp, **dropouts)
    config = config.replace(grad_clip=0.05, arch_learning_rate=0.01, activation_penalty=0.1)
    step = search_step(build_supernet(config, 9), config, distribution=shared)
    signature = [WINDOW, WINDOW, tf.TensorSpec((), tf.int64)]
    run = tf.function(lambda *pieces: step(*pieces, rate(2.0)), signature, autograph=False)
    reports = [run(window(2 * i, 6 - i), window(2 * i + 1, 6), tf.constant(i, tf.int64)) for i in range(STEPS)]
    return step, reports


def language_trained(shared):
    config = LanguageTrainConfig(num_units=5, batch_size=4, bptt=6, grad_clip=0.05, activation_penalty=0.1)
    keras.utils.set_random_seed(0)
    step = train_step(RecurrentNetwork(CELL, 9, 5), config, distribution=shared)
    seed = tf.constant([7, 1], tf.int64)
    run = tf.function(lambda piece: step(piece, seed[1], rate(2.0), 0.0, seed[0]), [WINDOW], autograph=False)
    return step, [run(window(i, 6)) for i in range(STEPS)]


CASES = {
    "first": (searched, "first", "exact"),
    "finite difference": (searched, "second", "finite_difference"),
    "exact": (searched, "second", "exact"),
    "in parts too": (searched, "first", "exact", 2),
    "training": (trained,),
    "texts, first": (language_searched, "first", "exact"),
    "texts, finite difference": (language_searched, "second", "finite_difference"),
    "texts, exact": (language_searched, "second", "exact"),
    "training on texts": (language_trained,),
    **{method: (searched_by, method) for method in TOGETHER},
}


def compare(case, *settings):
    """Returns differences by name, and how often the gradient was clipped."""
    (one, expected), (two, found) = (case(shared, *settings) for shared in (None, DEVICES))
    differences = {}
    for name, group in one.variables.items():
        arrays = [[np.asarray(v, np.float64) for v in step.variables[name]] for step in (one, two)]
        largest = max((np.abs(a).max() for a in arrays[0]), default=1.0) or 1.0
        pairs = zip(*arrays, strict=True)
        differences[name] = max((float(np.abs(a - b).max() / largest) for a, b in pairs), default=0.0)
        if not group:
            del differences[name]
    for name in expected[0]:
        a, b = (np.stack([r[name] for r in reports]).astype(np.float64) for reports in (expected, found))
        differences[name] = float(np.abs(a - b).max() / (np.abs(a).max() or 1))
    if getattr(getattr(one, "method", None), "sparse", False):
        del differences["state"]  # replicas compute operations that one device leaves out, and average their statistics
    return differences, sum(float(r["gradient_norm"]) > one.domain.config.grad_clip for r in expected)


if __name__ == "__main__":
    runtime.configure(1, strategy="mirrored", replicas=2)
    keras.config.set_floatx(sys.argv[1])
    DEVICES = distribution.of(SearchConfig(strategy="mirrored", replicas=2))
    chosen = sys.argv[2:] or CASES
    print(json.dumps({name: compare(*CASES[name]) for name in chosen}))
