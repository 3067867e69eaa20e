"""The oracle in a tuner that scores genotypes without any network."""

import json

import keras_tuner
import numpy as np

from darts_tf import genotypes
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.tuner import DartsOracle, genotype_from

TARGET = genotypes.load("DARTS_V2")


def likeness(genotype):
    """A score: which share of a published genotype's edges one has."""
    edges = [
        [(c, i // 2, pair) for c in ("normal", "reduce") for i, pair in enumerate(getattr(g, c))]
        for g in (genotype, TARGET)
    ]
    return len({*edges[0]} & {*edges[1]}) / 16


class Scored(keras_tuner.Tuner):
    """Scores genotypes without any network."""

    score = staticmethod(likeness)

    def run_trial(self, trial, *args, **kwargs):
        return {"score": self.score(genotype_from(trial.hyperparameters))}


def oracle(prior=None, max_trials=6, seed=0, **settings):
    return DartsOracle(prior, keras_tuner.Objective("score", "max"), max_trials, seed, **settings)


def tuner(folder, *args, kind=Scored, **settings):
    made = kind(oracle=oracle(*args, **settings), directory=str(folder), project_name="project")
    made.oracle.verbose = 0
    return made


def proposals(made):
    return [genotype_from(made.trials[name].hyperparameters) for name in made.start_order]


def alphas(seed=0, cells=("normal", "reduce"), shape=(14, 8)):
    random = np.random.default_rng(seed)
    return {cell: random.normal(size=shape) for cell in cells}


def write_search(path, tables, **config):
    """Writes what the prior of a search is read from."""
    Checkpoints(path / "checkpoints").save(
        7, {f"alphas/{i:05d}": table for i, table in enumerate(tables.values())} | {"weights/00000": np.ones(3)}, {}
    )
    settings = {"kind": "search", "num_nodes": 4, "concat": 0, "primitives": list(genotypes.CONV_PRIMITIVES), **config}
    (path / "config.json").write_text(json.dumps(settings))
