"""The loss of a language model: cross-entropy, and two penalties on its states."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class SequenceLoss:
    """Mean cross-entropy in nats per word, plus penalties that keep states small and slow.

    Attributes:
        activation: Weight of the mean square of the states after dropout.
        slowness: Weight of the mean square of the states' changes from step to step.

    Source: `rnn/train.py`, Merity et al., arXiv:1708.01009.
    """

    activation: float = 0.0
    slowness: float = 0.0

    def __call__(self, outputs, targets):
        """Returns the loss, a scalar, of `networks.Outputs` and the words that follow, `(steps, batch)` integers."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs.logits)
        return tf.reduce_mean(losses) + self.penalty(outputs)

    def penalty(self, outputs):
        """Returns the penalties' part of the loss, a scalar: what a reported perplexity has to leave out."""
        total = tf.zeros((), outputs.states.dtype)
        if self.activation:
            total += self.activation * tf.reduce_mean(tf.square(outputs.dropped))
        if self.slowness:
            changes = outputs.states[1:] - outputs.states[:-1]
            # Deviation: a window of one step has no changes and no penalty; the original's mean of nothing is NaN.
            count = tf.maximum(tf.size(changes), 1)
            total += self.slowness * tf.reduce_sum(tf.square(changes)) / tf.cast(count, changes.dtype)
        return total
