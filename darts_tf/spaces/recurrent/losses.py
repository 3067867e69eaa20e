"""The penalties of a language model, which keep its states small and slow."""

from typing import Any

import tensorflow as tf


def penalty(outputs: Any, activation: float = 0.0, slowness: float = 0.0) -> tf.Tensor:
    """Returns the penalties' part of the loss, a scalar; reported perplexities exclude it.

    Args:
        outputs: `networks.Outputs`.
        activation: Weight of the mean square of the states after dropout.
        slowness: Weight of the mean square of the states' changes from step to step.

    Source: `rnn/train.py`, Merity et al., arXiv:1708.01009.
    """
    total = tf.zeros((), outputs.states.dtype)
    if activation:
        total += activation * tf.reduce_mean(tf.square(outputs.dropped))
    if slowness:
        changes = outputs.states[1:] - outputs.states[:-1]
        # Deviation: a window of one step has no changes and no penalty; the original's empty mean is NaN.
        count = tf.maximum(tf.size(changes), 1)
        total += slowness * tf.reduce_sum(tf.square(changes)) / tf.cast(count, changes.dtype)
    return total
