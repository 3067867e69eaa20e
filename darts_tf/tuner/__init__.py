"""Genotypes as hyperparameters: an oracle for keras-tuner, a hypermodel that builds the networks, and the way between.

`DartsOracle` and `GenotypeHyperModel` import keras-tuner and TensorFlow.
"""

from darts_tf.tuner.hypermodel import GenotypeHyperModel
from darts_tf.tuner.oracle import DartsOracle
from darts_tf.tuner.space import genotype_from, values_from

__all__ = ["DartsOracle", "GenotypeHyperModel", "genotype_from", "values_from"]
