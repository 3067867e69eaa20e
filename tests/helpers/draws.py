"""Equal draws for every part of a batch, so that a step in parts has a whole step that it equals."""

import tensorflow as tf

from darts_tf.methods.p_darts import DroppedSkips
from darts_tf.spaces.conv import draws

FACTORS, KEYS = DroppedSkips.factors, draws.draw_keys


def equal_keys(batch_size, seed):
    """All examples have the seed of the first: else each part of a batch has draws of its own."""
    return tf.repeat(KEYS(batch_size, seed)[:1], batch_size, 0)


def tiled(whole, parts):
    """Returns `DroppedSkips.factors` that repeats its draw over the parts of a whole batch, and knows no other one."""

    def factors(self, shape, rate, dtype):
        count = parts if shape[0] == whole else 1
        return tf.tile(FACTORS(self, (shape[0] // count, *shape[1:]), rate, dtype), [count, 1, 1, 1])

    return factors
