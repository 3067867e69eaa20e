"""The mixed operation: equation 2 of the paper, as a plain sum, and fused."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from darts_tf.passes import graph
from darts_tf.spaces.conv import functional
from darts_tf.spaces.conv.operations import OPERATIONS, Source, Zero


def mixed(
    operations: Sequence[Callable], weights: tf.Tensor, x: tf.Tensor, channels: int, training: bool = False
) -> tf.Tensor:
    """Equation 2, `sum_o weight_o * o(x)`, for the E edges that leave one node; `MixedOp` is the fast form.

    Args:
        operations: The P candidates, each `(N, H, W, C) -> (N, H', W', E * C)`.
        weights: `(E, P)`, the mixing weights.
        x: `(N, H, W, C)`.
        channels: Channels C.
        training: Whether batch norms use their batch's statistics.

    Returns:
        `(N, H', W', E * C)`, edge after edge.
    """
    scales = tf.repeat(tf.transpose(weights), channels, 1)
    return sum(scale * o(x, training=training) for scale, o in zip(tf.unstack(scales), operations, strict=True))


class MixedOp(keras.layers.Layer):
    """Every candidate operation on every edge that leaves one node, weighted and summed: `mixed`, fused.

    What the edges share is computed once, the weights scale batch norms, and operations of a kind are added up before
    they are cut into edges; a test holds it equal to the plain sum.

    Attributes:
        table: Name of an operation -> what makes it, called with channels, stride and edges.

    Args:
        edges: Number of edges E.
        channels: Channels C, in and out.
        stride: 1 or 2.
        primitives: Names of the P candidate operations.
    """

    table: ClassVar[Mapping[str, Callable]] = OPERATIONS

    def __init__(self, edges: int, channels: int, stride: int, primitives: Sequence[str], **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.edges, self.channels = edges, channels
        self.operations = [self.table[name](channels, stride, edges) for name in primitives]
        self.built = True

    def call(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mixes.

        Args:
            x: `(N, H, W, C)`.
            weights: `(E, P)`, what the softmax of the alphas gives.
            training: Whether batch norms use their batch's statistics.

        Returns:
            `(N, H', W', E * C)`, edge after edge.
        """
        return tf.concat([self.combine(terms) for terms in self.terms(x, weights, training)], -1)

    def combine(self, terms: Sequence) -> tf.Tensor:
        """Returns the value `(N, H', W', C)` of a node: the sum of the terms of all edges that enter it."""
        return tf.add_n(terms)

    def terms(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> list[list]:
        """Returns for each edge the tensors that `combine` sums, each `(N, H', W', C)`; see `call`."""
        source = Source(x, self.edges)
        # Choosing and repeating by products with zeros and ones takes one node where slices take a dozen.
        repeat = np.repeat(np.eye(self.edges), self.channels, axis=1)
        scales = tf.matmul(weights, graph.array(repeat, weights.dtype), transpose_a=True)  # (P, E * C)
        scales = tf.unstack(scales)
        shared, phases, wide = {}, [], []
        for index, (operation, scale) in enumerate(zip(self.operations, scales, strict=True)):
            if isinstance(operation, Zero):
                continue
            if operation.shared:
                y = operation.apply(source, training=training)
                if y.shape[-1] == self.channels:
                    shared[index] = y
                else:  # inference: each edge has moving statistics of its own
                    wide.append(y * tf.cast(scale, y.dtype))
            elif operation.in_phases and operation.stride == 1 and source.even:
                phases.append(operation.apply(source, scale, training))
            else:
                wide.append(operation.apply(source, scale, training))
        if phases:
            wide.append(functional.from_phases(tf.add_n(phases)))
        terms: list[list] = [[] for _ in range(self.edges)]
        if wide:
            total = tf.add_n(wide)
            for edge, part in enumerate(tf.split(total, self.edges, -1) if self.edges > 1 else [total]):
                terms[edge].append(part)
        if shared:
            columns = graph.array(np.eye(len(self.operations))[:, list(shared)], weights.dtype)
            mixed = self._mix(list(shared.values()), tf.matmul(weights, columns))
            for edge, part in enumerate(mixed):
                terms[edge].append(part)
        if not (wide or shared):
            terms = [[self.operations[0].apply(source)]] * self.edges
        return terms

    def _mix(self, tensors, weights):
        """Returns `sum_s weights[e, s] * tensors[s]` for each edge e: one thin matrix product, no wide temporaries."""
        rows = graph.reshape(tf.stack(tensors), len(tensors), -1)
        mixed = tf.matmul(tf.cast(weights, rows.dtype), rows)
        shape = [-1, *tensors[0].shape[1:]]
        return [graph.reshape(row, *shape) for row in tf.unstack(mixed)]
