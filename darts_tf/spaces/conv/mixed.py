"""The mixed operation: equation 2 of the paper, as a plain sum and in fused form."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from darts_tf.passes import graph
from darts_tf.spaces.conv import functional, sparse
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
    they are split into edges; a test checks that the result equals the plain sum. An operation that some edges may not
    have is created and computed for the other edges only.

    Attributes:
        table: Name of an operation -> its factory, called with channels, stride and edges.
        having: For each operation the edges that have it.
        operations: Each operation, for the edges that have it; None if no edge has it.

    Args:
        edges: Number of edges E.
        channels: Channels C, in and out.
        stride: 1 or 2.
        primitives: Names of the P candidate operations.
        allowed: `(E, P')`, whether an edge may have each of the first P' operations; None for all.
    """

    table: ClassVar[Mapping[str, Callable]] = OPERATIONS

    def __init__(
        self,
        edges: int,
        channels: int,
        stride: int,
        primitives: Sequence[str],
        allowed: np.ndarray | None = None,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.edges, self.channels, self.stride = edges, channels, stride
        self.having = having(edges, len(primitives), allowed)
        self.operations = [
            self.table[name](channels, stride, len(own)) if own else None
            for name, own in zip(primitives, self.having, strict=True)
        ]
        self.built = True

    def call(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mixes.

        Args:
            x: `(N, H, W, C)`.
            weights: `(E, P)`, such as the softmax of the alphas.
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
        sources = {self.edges: source} | {
            len(own): Source(x, len(own), source) for own in self.having if len(own) < self.edges
        }
        shared: dict[int, tf.Tensor] = {}
        terms: list[list] = [[] for _ in range(self.edges)]
        for own in filter(None, dict.fromkeys(self.having)):
            if total := self._sum(own, sources[len(own)], weights, shared, training):
                for edge, part in zip(own, tf.split(total[0], len(own), -1) if len(own) > 1 else total, strict=True):
                    terms[edge].append(part)
        if shared:
            columns = graph.array(np.eye(len(self.operations))[:, list(shared)], weights.dtype)
            mixed = self._mix(list(shared.values()), *self._rows(shared, tf.matmul(weights, columns)))
            for edge, part in mixed:
                terms[edge].append(part)
        zeros = [tf.zeros_like(x[:, :: self.stride, :: self.stride])] if not all(terms) else []
        return [each or zeros for each in terms]

    def _sum(self, own, source, weights, shared, training):
        """Returns `[(N, H', W', E' * C)]`, the sum of the operations that exactly the E' edges `own` have, or `[]`.

        Terms that are the same for all of them go to `shared` instead.
        """
        # Selecting and repeating by products with zeros and ones takes one graph node; slices take a dozen.
        repeat = np.repeat(np.eye(self.edges)[:, list(own)], self.channels, axis=1)
        scales = tf.matmul(weights, graph.array(repeat, weights.dtype), transpose_a=True)  # (P, E' * C)
        used = sparse.used(weights, training)
        phases: list[tf.Tensor] = []
        wide: list[tf.Tensor] = []
        for index, (operation, scale) in enumerate(zip(self.operations, tf.unstack(scales), strict=True)):
            if self.having[index] != own or operation is None or isinstance(operation, Zero):
                continue
            if operation.shared:
                y = operation.apply(source, training=training)
                if y.shape[-1] == self.channels:
                    shared[index] = y
                else:  # inference: each edge has its own moving statistics
                    wide.append(y * tf.cast(scale, y.dtype))
                continue
            if used is None:
                y = operation.apply(source, scale, training)
            else:
                y = sparse.apply_if(used[index], operation, source, scale)
            (phases if operation.gives_phases(source) else wide).append(y)
        if phases:
            wide.append(functional.from_phases(tf.add_n(phases)))
        return [tf.add_n(wide)] if wide else []

    def _rows(self, shared, weights):
        """Returns the edges that have a shared operation, and their rows of `(E, S)` weights, 0 where they lack one."""
        has = np.array([[edge in self.having[index] for index in shared] for edge in range(self.edges)])
        edges = np.flatnonzero(has.any(1))
        if not has.all():
            weights = tf.matmul(graph.array(np.eye(self.edges)[edges], weights.dtype), weights)
            weights = weights * graph.array(has[edges].astype(float), weights.dtype)
        return edges, weights

    def _mix(self, tensors, edges, weights):
        """Returns `(e, sum_s weights[e, s] * tensors[s])` for each edge: one thin product, no wide temporaries."""
        rows = graph.reshape(tf.stack(tensors), len(tensors), -1)
        mixed = tf.matmul(tf.cast(weights, rows.dtype), rows)
        shape = [-1, *tensors[0].shape[1:]]
        return zip(edges, [graph.reshape(row, *shape) for row in tf.unstack(mixed)], strict=True)


class WrappedMixedOp(keras.layers.Layer):
    """A mixed operation that changes another one, called like `MixedOp`; subclasses override what they change.

    Args:
        inner: The other one.

    Attributes:
        having: For each operation the edges that have it.
    """

    def __init__(self, inner: Any):
        super().__init__(autocast=False)
        self.inner, self.having = inner, inner.having
        self.built = True

    @property
    def operations(self) -> list:
        """The candidate operations, see `MixedOp`."""
        return self.inner.operations

    def call(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mixes, see `MixedOp.call`."""
        return tf.concat([self.combine(terms) for terms in self.terms(x, weights, training)], -1)

    def combine(self, terms: Sequence) -> tf.Tensor:
        """Returns the value of a node, see `MixedOp.combine`."""
        return self.inner.combine(terms)

    def terms(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> list[list]:
        """Returns the terms of each edge, see `MixedOp.terms`."""
        return self.inner.terms(x, weights, training)


def having(edges: int, operations: int, allowed: np.ndarray | None = None) -> tuple[tuple[int, ...], ...]:
    """Returns for each operation the edges that may have it, see `MixedOp`."""
    every = np.ones((edges, operations), bool)
    if allowed is not None:  # columns that a method has added belong to all edges
        every[:, : allowed.shape[1]] = allowed
    return tuple(tuple(map(int, np.flatnonzero(column))) for column in every.T)
