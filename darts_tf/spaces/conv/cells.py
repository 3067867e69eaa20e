"""The mixed operation, the search cell, and the cell of a derived network."""

import keras
import numpy as np
import tensorflow as tf

from darts_tf.passes import graph
from darts_tf.spaces.conv import functional
from darts_tf.spaces.conv.operations import OPERATIONS, FactorizedReduce, Identity, ReLUConvBN, Source, Zero


class MixedOp(keras.layers.Layer):
    """Every candidate operation on every edge that leaves one node, weighted and summed.

    Computes eq. 2 of the paper, `sum_o weight_o * o(x)`, for E edges that read the same x.

    Args:
        edges: Number of edges E.
        channels: Channels C, in and out.
        stride: 1 or 2.
        primitives: Names of the P candidate operations.
    """

    def __init__(self, edges: int, channels: int, stride: int, primitives, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.edges, self.channels = edges, channels
        self.operations = [OPERATIONS[name](channels, stride, edges) for name in primitives]
        self.built = True

    def call(self, x, weights, training=False):
        """Mixes.

        Args:
            x: `(N, H, W, C)`.
            weights: `(E, P)`, what the softmax of the alphas gives.
            training: Whether batch norms use their batch's statistics.

        Returns:
            `(N, H', W', E * C)`, edge after edge.
        """
        return tf.concat([tf.add_n(terms) for terms in self.terms(x, weights, training)], -1)

    def terms(self, x, weights, training=False) -> list[list]:
        """Returns for each edge the tensors `(N, H', W', C)` whose sum is its output; see `call`."""
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
        terms = [[] for _ in range(self.edges)]
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


class SearchCell(keras.layers.Layer):
    """A cell whose edges hold every candidate operation.

    Node i of the `num_nodes` intermediate nodes has an edge from both inputs and from every node before it. Rows of the
    alphas are edges in the original's order: by the node they enter, then by the node they leave.

    Args:
        inputs: Channels of the two inputs, `(before previous, previous)`.
        channels: Channels C of every node.
        reduction: Whether edges from the inputs have stride 2.
        after_reduction: Whether the previous cell was a reduction, so that the first input is twice as large.
        num_nodes: Intermediate nodes.
        concat: How many of the last nodes are concatenated into the output.
        primitives: Names of the candidate operations.
    """

    def __init__(
        self, inputs, channels, reduction, after_reduction, num_nodes=4, concat=4, primitives=(), affine=False, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        self.reduction, self.num_nodes, self.concat, self.channels = reduction, num_nodes, concat, channels
        before, previous = inputs
        squeeze = FactorizedReduce if after_reduction else ReLUConvBN
        self.preprocess0 = squeeze(channels, affine=affine, inputs=before)
        self.preprocess1 = ReLUConvBN(channels, affine=affine, inputs=previous)
        self.mixed = [
            MixedOp(len(self.targets(state)), channels, 2 if reduction and state < 2 else 1, primitives)
            for state in range(num_nodes + 1)
        ]
        self.built = True

    @property
    def num_edges(self) -> int:
        """Edges of the cell, which are the rows of its alphas."""
        return self.num_nodes * (self.num_nodes + 3) // 2

    def targets(self, state: int) -> range:
        """Returns the nodes that a state feeds: states 0 and 1 are the inputs, state i + 2 is node i."""
        return range(max(0, state - 1), self.num_nodes)

    def edge_rows(self, state: int) -> list[int]:
        """Returns the rows of the alphas of the edges that leave a state."""
        return [node * (node + 3) // 2 + state for node in self.targets(state)]

    def call(self, s0, s1, weights, training=False):
        """Runs the cell.

        Args:
            s0: Output of the cell before the previous one, `(N, H0, W0, C0)`.
            s1: Output of the previous cell, `(N, H, W, C1)`.
            weights: Mixing weights `(num_edges, num_primitives)`.
            training: Whether batch norms use their batch's statistics.

        Returns:
            `(N, H', W', concat * C)`.
        """
        states = [self.preprocess0(s0, training=training), self.preprocess1(s1, training=training)]
        sums = [[] for _ in range(self.num_nodes)]
        for state, mixed in enumerate(self.mixed):
            choose = graph.array(np.eye(self.num_edges)[self.edge_rows(state)], weights.dtype)
            rows = tf.matmul(choose, weights)
            for node, terms in zip(self.targets(state), mixed.terms(states[state], rows, training), strict=True):
                sums[node].extend(terms)
            if state:
                states.append(tf.add_n(sums[state - 1]))
        return tf.concat(states[-self.concat :], -1)


class Cell(keras.layers.Layer):
    """A cell of a derived network: every node adds up the two operations that the search has kept.

    Args:
        genotype: A `ConvGenotype`.
        inputs: Channels of the two inputs, `(before previous, previous)`.
        channels: Channels C of every node.
        reduction: Whether this is the genotype's reduction cell, whose edges from the inputs have stride 2.
        after_reduction: Whether the previous cell was a reduction, so that the first input is twice as large.

    Attributes:
        dropped: Indices of the operations that drop path may drop: all but identities.

    Source: `Cell` in `cnn/model.py` of the original.
    """

    def __init__(self, genotype, inputs, channels, reduction, after_reduction, **kwargs):
        super().__init__(autocast=False, **kwargs)
        pairs = genotype.reduce if reduction else genotype.normal
        self.concat = tuple(genotype.reduce_concat if reduction else genotype.normal_concat)
        self.reduction, self.channels = reduction, channels
        before, previous = inputs
        squeeze = FactorizedReduce if after_reduction else ReLUConvBN
        self.preprocess0 = squeeze(channels, affine=True, inputs=before)
        self.preprocess1 = ReLUConvBN(channels, affine=True, inputs=previous)
        self.sources = tuple(source for _, source in pairs)
        self.operations = [
            OPERATIONS[name](channels, 2 if reduction and source < 2 else 1, affine=True) for name, source in pairs
        ]
        self.dropped = tuple(i for i, operation in enumerate(self.operations) if not isinstance(operation, Identity))
        self.built = True

    def call(self, s0, s1, training=False, drop=None):
        """Runs the cell.

        Args:
            s0: Output of the cell before the previous one, `(N, H0, W0, C0)`.
            s1: Output of the previous cell, `(N, H, W, C1)`.
            training: Whether batch norms use their batch's statistics.
            drop: `(len(dropped), N)`, what drop path multiplies each operation's output with, or None.

        Returns:
            `(N, H', W', len(concat) * C)`.
        """
        states = [Source(self.preprocess0(s0, training=training)), Source(self.preprocess1(s1, training=training))]
        drop = {} if drop is None else dict(zip(self.dropped, tf.unstack(drop, len(self.dropped)), strict=True))
        for first in range(0, len(self.operations), 2):
            terms = []
            for index in (first, first + 1):
                y = self.operations[index].on(states[self.sources[index]], training=training)
                if index in drop:
                    y = y * graph.reshape(tf.cast(drop[index], y.dtype), -1, 1, 1, 1)
                terms.append(y)
            states.append(Source(terms[0] + terms[1]))
        return tf.concat([states[node].x for node in self.concat], -1)

    def macs(self, s0, s1) -> tuple[int, tuple[int, int]]:
        """Counts one image's multiply-adds.

        Args:
            s0: `(height, width)` of the first input.
            s1: Of the second.

        Returns:
            `(multiply-adds of all convolutions, (height, width) of the output)`.
        """
        out = tuple(-(-size // 2) for size in s1) if self.reduction else tuple(s1)
        count = self.preprocess0.macs(*s1) + self.preprocess1.macs(*s1)
        return count + sum(operation.macs(*out) for operation in self.operations), out
