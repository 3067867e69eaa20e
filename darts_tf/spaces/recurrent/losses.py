"""The penalties of a language model: they keep its states small and slow."""

import tensorflow as tf


def penalty(outputs, activation: float = 0.0, slowness: float = 0.0):
    """Returns the penalties' part of the loss, a scalar: what a reported perplexity has to leave out.

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
        # Deviation: a window of one step has no changes and no penalty; the original's mean of nothing is NaN.
        count = tf.maximum(tf.size(changes), 1)
        total += slowness * tf.reduce_sum(tf.square(changes)) / tf.cast(count, changes.dtype)
    return total
