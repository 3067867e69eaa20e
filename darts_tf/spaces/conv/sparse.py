"""Leaves out operations that no edge uses: methods that sample one operation for each edge need few of them."""

import tensorflow as tf

from darts_tf.passes.context import now, within
from darts_tf.spaces.conv.operations import Operation, Source


def used(weights: tf.Tensor, training: bool) -> list | None:
    """Returns for each operation whether an edge has a weight other than 0 for it; None if all are to be computed.

    That is so unless the pass is `Pass.sparse`. Replicas compute every operation: they exchange the statistics of
    batch norms, which none of them may leave out.

    Args:
        weights: `(E, P)`, mixing weights.
        training: Whether batch norms use their batch's statistics.
    """
    run = now()
    if not (run.sparse and training and run.statistics is not None and run.replicas == 1):
        return None
    return tf.unstack(tf.reduce_any(weights != 0, 0))


def apply_if(needed: tf.Tensor, operation: Operation, source: Source, scale: tf.Tensor) -> tf.Tensor:
    """Applies an operation in training if it is needed; otherwise returns zeros, and its statistics do not move.

    Args:
        needed: Scalar boolean.
        operation: The operation.
        source: What it reads.
        scale: `(E * C,)`, zeros if it is not needed.
    """
    state = operation.non_trainable_variables

    def applied():
        batch: dict[int, tf.Tensor] = {}
        # Views of the source that are computed here do not exist outside.
        with within(statistics=batch):
            y = operation.apply(Source(source.x, source.edges), scale, True)
        return y, [batch[id(v)] for v in state]

    def left_out():
        count, height, width, _ = tf.unstack(tf.shape(source.x))
        channels, stride = operation.edges * operation.channels, operation.stride
        if operation.gives_phases(source):
            count, stride = 4 * count, 2
        shape = (count, -(-height // stride), -(-width // stride), channels)
        return tf.zeros(shape, source.x.dtype), [tf.convert_to_tensor(v.value) for v in state]

    y, statistics = tf.cond(needed, applied, left_out)
    if (aside := now().statistics) is not None:
        aside.update(zip(map(id, state), statistics, strict=True))
    return y
