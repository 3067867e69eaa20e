"""The search cell, and the cell of a derived network."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from darts_tf.genotypes.topology import Topology
from darts_tf.passes import graph
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.conv.operations import OPERATIONS, FactorizedReduce, Identity, ReLUConvBN, Source


def scaled_by(factors: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that multiplies the images of `(N, H, W, C)` by factors `(N,)`."""
    return lambda y: y * graph.reshape(tf.cast(factors, y.dtype), -1, 1, 1, 1)


def cell_kind(reduction: bool) -> str:
    """Returns the genotype's name of a kind of cell."""
    return "reduce" if reduction else "normal"


def mixed_operations(topology: Topology, make: Callable, allowed: np.ndarray | None) -> list:
    """Returns the mixed operation of each state that others read; the last node feeds no other.

    Args:
        topology: The edges of the cell.
        make: Called with a state, the number of edges that leave it and, if given, their rows of `allowed`.
        allowed: `(num_edges, num_primitives)`, which operations each edge may have; all of them for None.
    """
    rows = [[row for row, _ in topology.leaving(state)] for state in range(topology.nodes[-1])]
    return [make(state, len(own), *([] if allowed is None else [allowed[own]])) for state, own in enumerate(rows)]


class MixedCell(keras.layers.Layer):
    """What the cells of supernets share: nodes that add up mixed edges.

    Attributes:
        topology: The edges; the rows of the mixing weights are in their order.
        mixed: The mixed operation of each state that others read.
    """

    topology: Topology
    mixed: list

    @property
    def drops(self) -> int:
        """How many rows of drop path factors the cell takes: one for each edge."""
        return self.topology.num_edges

    def run_nodes(self, inputs: list, weights: tf.Tensor, training: bool, drop: tf.Tensor | None = None) -> list:
        """Returns the tensors of all states.

        Args:
            inputs: Tensors of the inputs, `(N, H, W, C)` each.
            weights: Mixing weights `(num_edges, num_primitives)`.
            training: Whether batch norms use their batch's statistics.
            drop: `(num_edges, N)`, what drop path multiplies each edge's output with, or None.
        """
        states = list(inputs)
        sums: dict[int, list] = {node: [] for node in self.topology.nodes}
        for state, mixed in enumerate(self.mixed):
            if state in sums:
                states.append(self.mixed[0].combine(sums[state]))
            rows = tf.matmul(graph.array(self.topology.choose(state), weights.dtype), weights)
            edges = self.topology.leaving(state)
            with tf.name_scope(f"from_state{state}"):
                mixed_edges = mixed.terms(states[state], rows, training)
            for (row, node), terms in zip(edges, mixed_edges, strict=True):
                sums[node].extend(terms if drop is None else tf.nest.map_structure(scaled_by(drop[row]), terms))
        return [*states, self.mixed[0].combine(sums[len(states)])]


class SearchCell(MixedCell):
    """A cell whose edges hold every candidate operation.

    Args:
        inputs: Channels of the two inputs, `(before previous, previous)`.
        channels: Channels C of every node.
        reduction: Whether edges from the inputs have stride 2.
        after_reduction: Whether the previous cell was a reduction, so that the first input is twice as large.
        topology: The edges; the rows of the mixing weights are in their order.
        concat: How many of the last nodes are concatenated into the output.
        primitives: Names of the candidate operations.
        affine: Whether the batch norms of the inputs learn scale and offset.
        mixed_op: Makes the mixed operation of a state, called like `MixedOp`.
        allowed: `(num_edges, num_primitives)`, which operations each edge may have; all of them for None.
    """

    def __init__(
        self,
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        after_reduction: bool,
        topology: Topology,
        concat: int = 4,
        primitives: Sequence[str] = (),
        affine: bool = False,
        mixed_op: Callable = MixedOp,
        allowed: np.ndarray | None = None,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.reduction, self.topology, self.concat, self.channels = reduction, topology, concat, channels
        before, previous = inputs
        squeeze = FactorizedReduce if after_reduction else ReLUConvBN
        self.preprocess0 = squeeze(channels, affine=affine, inputs=before)
        self.preprocess1 = ReLUConvBN(channels, affine=affine, inputs=previous)
        self.mixed = mixed_operations(
            topology,
            lambda state, *edges: mixed_op(
                edges[0], channels, 2 if reduction and state < topology.num_inputs else 1, primitives, *edges[1:]
            ),
            allowed,
        )
        self.built = True

    def call(
        self,
        s0: tf.Tensor,
        s1: tf.Tensor,
        weights: tf.Tensor,
        training: bool = False,
        drop: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Runs the cell.

        Args:
            s0: Output of the cell before the previous one, `(N, H0, W0, C0)`.
            s1: Output of the previous cell, `(N, H, W, C1)`.
            weights: Mixing weights `(num_edges, num_primitives)`.
            training: Whether batch norms use their batch's statistics.
            drop: `(num_edges, N)`, what drop path multiplies each edge's output with, or None.

        Returns:
            `(N, H', W', concat * C)`.
        """
        states = [self.preprocess0(s0, training=training), self.preprocess1(s1, training=training)]
        return tf.concat(self.run_nodes(states, weights, training, drop)[-self.concat :], -1)


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
        drops: Number of these.

    Source: `Cell` in `cnn/model.py` of the original.
    """

    def __init__(
        self,
        genotype: Any,
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        after_reduction: bool,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        kind = cell_kind(reduction)
        pairs, self.topology = getattr(genotype, kind), genotype.topology_of(kind)
        self.concat = tuple(getattr(genotype, genotype.cells[kind]))
        self.reduction, self.channels = reduction, channels
        before, previous = inputs
        squeeze = FactorizedReduce if after_reduction else ReLUConvBN
        self.preprocess0 = squeeze(channels, affine=True, inputs=before)
        self.preprocess1 = ReLUConvBN(channels, affine=True, inputs=previous)
        self.sources = tuple(source for _, source in pairs)
        self.operations = [
            OPERATIONS[name](channels, 2 if reduction and source < self.topology.num_inputs else 1, affine=True)
            for name, source in pairs
        ]
        self.dropped = tuple(i for i, operation in enumerate(self.operations) if not isinstance(operation, Identity))
        self.drops = len(self.dropped)
        self.built = True

    def call(self, s0: tf.Tensor, s1: tf.Tensor, training: bool = False, drop: tf.Tensor | None = None) -> tf.Tensor:
        """Runs the cell.

        Args:
            s0: Output of the cell before the previous one, `(N, H0, W0, C0)`.
            s1: Output of the previous cell, `(N, H, W, C1)`.
            training: Whether batch norms use their batch's statistics.
            drop: `(drops, N)`, what drop path multiplies each operation's output with, or None.

        Returns:
            `(N, H', W', len(concat) * C)`.
        """
        states = [Source(self.preprocess0(s0, training=training)), Source(self.preprocess1(s1, training=training))]
        drop = {} if drop is None else dict(zip(self.dropped, tf.unstack(drop, self.drops), strict=True))
        for _, own in self.topology.by_node(range(len(self.operations))):
            terms = []
            for index in own:
                y = self.operations[index].on(states[self.sources[index]], training=training)
                if index in drop:
                    y = scaled_by(drop[index])(y)
                terms.append(y)
            states.append(Source(terms[0] + terms[1]))
        return tf.concat([states[node].x for node in self.concat], -1)

    def macs(self, height: int, width: int) -> tuple[int, tuple[int, int]]:
        """Returns one image's multiply-adds, and `(height, width)` of the output, for the size of the second input."""
        out = (-(-height // 2), -(-width // 2)) if self.reduction else (height, width)
        count = self.preprocess0.macs(height, width) + self.preprocess1.macs(height, width)
        return count + sum(operation.macs(*out) for operation in self.operations), out
