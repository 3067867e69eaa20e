"""Batch normalisation of the start state and the nodes of a recurrent search cell."""

from typing import Any

import keras
import tensorflow as tf

from darts_tf.passes.context import now

MOMENTUM, EPSILON = 0.9, 1e-5


class NodeNorm(keras.layers.Layer):
    """Batch normalisation without scale and offset, `(batch, units)` at a time: momentum 0.9, epsilon 1e-5.

    In training every node at every time step is normalised by its own batch. The moving statistics, which only
    inference uses, are never written here: `training` returns the batch's, and `pooled` prepares them for `moved`.

    Deviation: each node has its own moving statistics, updated once per pass by the mean over the time steps. The
    original's single batch norm serves the start state and all nodes, is updated `nodes * steps` times in a pass and
    forgets all but the last dozen: its inference mixes up the nodes. `shared=True` does that; training is the same.

    Args:
        nodes: Number of nodes, including the start state.
        units: Width of a node.
        shared: Whether all nodes share their moving statistics.

    Attributes:
        moving: `(2, nodes, units)`: moving mean and variance. When shared `(3, 1, units)`: the third is the number of
            updates so far, which PyTorch calls `num_batches_tracked`.

    Source: `rnn/model_search.py`; torch.nn.BatchNorm1d.
    """

    def __init__(self, nodes: int, units: int, shared: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.nodes, self.units, self.shared = nodes, units, shared
        kept = 1 if shared else nodes

        def fresh(shape, dtype=None):
            rows = [tf.fill((kept, units), tf.constant(value, dtype)) for value in (0, 1, 0)]
            return tf.stack(rows[: shape[0]])

        self.moving = self.add_weight(
            shape=(3 if shared else 2, kept, units), initializer=fresh, trainable=False, name="moving"
        )
        self.built = True

    def training(self, x: tf.Tensor) -> tuple:
        """Normalises `(batch, units)` by its own statistics: those of all replicas' rows where there are several.

        Returns:
            `(y, mean, variance)`: mean and biased variance are `(units,)`.
        """
        mean = now().mean_of(tf.reduce_mean(x, 0))
        centered = x - mean
        variance = now().mean_of(tf.reduce_mean(tf.square(centered), 0))
        return centered * tf.math.rsqrt(variance + EPSILON), mean, variance

    def inference(self, x: tf.Tensor, node: int) -> tf.Tensor:
        """Normalises `(batch, units)` of a node (0 is the start state) by the moving statistics."""
        mean, variance = tf.unstack(self.moving.value[:2, 0 if self.shared else node])
        return (x - mean) * tf.math.rsqrt(variance + EPSILON)

    def pooled(self, statistics: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """Returns a pass's statistics for `moved`, shaped like `moving`.

        Args:
            statistics: Mean and variance of each node, alternating, for each time step: `(steps, 2 * nodes, units)`.
            batch: Size of the batch, or of this replica's part of it.
        """
        statistics = tf.reshape(statistics, (-1, self.nodes, 2, self.units))
        count = tf.cast(now().replicas * batch, statistics.dtype)
        unbiased = tf.stack([tf.ones_like(count), count / tf.maximum(count - 1, 1)])
        statistics *= unbiased[:, None]
        if not self.shared:
            return tf.transpose(tf.reduce_mean(statistics, 0), (1, 0, 2))
        rows = tf.reshape(statistics, (-1, 2 * self.units))  # in the order in which they were calculated
        count = tf.cast(tf.shape(rows)[0], rows.dtype)
        decay = tf.constant(MOMENTUM, rows.dtype) ** tf.range(count - 1, -1, -1)
        offset = tf.reshape((1 - MOMENTUM) * tf.linalg.matvec(rows, decay, transpose_a=True), (2, 1, self.units))
        return tf.concat([offset, tf.fill((1, 1, self.units), count)], 0)

    def moved(self, moving: tf.Tensor, pooled: tf.Tensor) -> tf.Tensor:
        """Returns the moving statistics after one pass; if both arguments are flat, so is the result."""
        if not self.shared:
            return MOMENTUM * moving + (1 - MOMENTUM) * pooled
        before, update = (tf.reshape(t, (3, 1, self.units)) for t in (moving, pooled))
        decay = tf.constant(MOMENTUM, before.dtype) ** update[2]
        new = tf.concat([before[:2] * decay + update[:2], before[2:] + update[2:]], 0)
        return tf.reshape(new, tf.shape(moving))
