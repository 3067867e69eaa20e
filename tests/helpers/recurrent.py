"""A small recurrent cell: its sizes, weights, inputs, masks and targets."""

import numpy as np
import tensorflow as tf

from darts_tf.genotypes import RecurrentGenotype
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.masks import Masks
from darts_tf.spaces.recurrent.networks import Inputs

GENOTYPE = RecurrentGenotype((("relu", 0), ("sigmoid", 1), ("tanh", 0), ("identity", 2)), (2, 3, 4))
VOCABULARY, UNITS, BATCH = 11, 5, 3


def randomised(layer, seed=0, scale=0.5):
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(rng.uniform(-scale, scale, variable.shape))
    return layer


def inputs(steps=4, seed=1, drawn=None, units=UNITS, batch=BATCH):
    rng = np.random.default_rng(seed)
    tokens = tf.constant(rng.integers(VOCABULARY, size=(steps, batch)), tf.int32)
    return Inputs(tokens, tf.constant(rng.normal(size=(batch, units)), "float64"), drawn or Masks())


def targets(steps=4, seed=2, batch=BATCH):
    return tf.constant(np.random.default_rng(seed).integers(VOCABULARY, size=(steps, batch)), tf.int32)


def some_masks(embedding=0.3):
    rates = Masks(embedding, 0.2, 0.5, 0.25, 0.5)
    return masks.draw([3, 4], rates, BATCH, UNITS, VOCABULARY, "float64")
