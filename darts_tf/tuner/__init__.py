"""Genotypes as hyperparameters: an oracle for keras-tuner, a hypermodel that builds the networks, and conversions.

Names are imported on first use: `DartsOracle`, `GenotypeHyperModel` and `TrainingTuner` need keras-tuner and
TensorFlow, spaces and proposals do not.
"""

import importlib

from darts_tf.system import keras_settings

_KERAS = {"DartsOracle", "GenotypeHyperModel", "TrainingTuner"}
_NAMES = {
    "DartsOracle": "darts_tf.tuner.oracle",
    "GenotypeHyperModel": "darts_tf.tuner.hypermodel",
    "TrainingTuner": "darts_tf.tuner.training_tuner",
    "genotype_from": "darts_tf.tuner.space",
    "values_from": "darts_tf.tuner.space",
}
__all__ = sorted(_NAMES)


def __getattr__(name):
    """Imports a public name."""
    if name in _NAMES:
        if name in _KERAS:
            keras_settings.check_backend()
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'darts_tf.tuner' has no attribute {name!r}")
