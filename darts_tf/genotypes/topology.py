"""The states that the nodes of a cell may read: the only module that knows edges, rows of alphas and their labels."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Topology:
    """The edges of a cell in the search, and how many of them each node keeps.

    States are counted as in genotypes: first the inputs of the cell, then its nodes. Edges are the rows of the alphas,
    in the order of the original: by the node they enter, then by the state they leave.

    Attributes:
        num_inputs: Inputs of the cell.
        sources: For each node the states that it may read, ascending.
        kept: For each node how many of these edges a genotype keeps.
        labels: A name for each state, as in drawings.
        none: Whether an edge may keep `none`.
    """

    num_inputs: int
    sources: tuple[tuple[int, ...], ...]
    kept: tuple[int, ...]
    labels: tuple[str, ...]
    none: bool = False

    @property
    def num_nodes(self) -> int:
        """Number of computing nodes."""
        return len(self.sources)

    @property
    def nodes(self) -> range:
        """The nodes, counted as states."""
        return range(self.num_inputs, self.num_inputs + self.num_nodes)

    @functools.cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """`(source, node)` of each row of the alphas, both counted as states."""
        return tuple((source, node) for node, own in zip(self.nodes, self.sources, strict=True) for source in own)

    @property
    def num_edges(self) -> int:
        """Number of edges of the cell, which are the rows of its alphas."""
        return len(self.edges)

    @property
    def num_pairs(self) -> int:
        """Number of edges that a genotype keeps, over all nodes."""
        return sum(self.kept)

    def rows(self, node: int) -> range:
        """Returns the rows of the edges that enter a node, which is counted as a state."""
        index = node - self.num_inputs
        first = sum(len(own) for own in self.sources[:index])
        return range(first, first + len(self.sources[index]))

    def row(self, source: int, node: int) -> int:
        """Returns the row of an edge; both ends are counted as states."""
        return self.rows(node)[self.sources[node - self.num_inputs].index(source)]

    def leaving(self, source: int) -> list[tuple[int, int]]:
        """Returns `(row, node)` of every edge that leaves a state."""
        return [(row, node) for row, (start, node) in enumerate(self.edges) if start == source]

    def choose(self, source: int) -> np.ndarray:
        """Returns the matrix `(edges that leave a state, num_edges)` whose product with alphas gives their rows."""
        return np.eye(self.num_edges)[[row for row, _ in self.leaving(source)]]

    def choices(self, primitives: Sequence[str]) -> list[int]:
        """Returns the columns of the operations that an edge may keep."""
        return [column for column, name in enumerate(primitives) if self.none or name != "none"]

    def by_node(self, pairs: Sequence) -> list[tuple[int, list]]:
        """Returns for each node its number as a state and its part of a list with `num_pairs` entries."""
        ends = np.cumsum(self.kept)
        return [
            (node, list(pairs[end - kept : end])) for node, kept, end in zip(self.nodes, self.kept, ends, strict=True)
        ]

    def edge_of(self, index: int) -> int:
        """Returns the node, counted as a state, that pair `index` of a genotype enters."""
        return self.nodes[int(np.searchsorted(np.cumsum(self.kept), index, "right"))]

    @property
    def edge_labels(self) -> list[str]:
        """A name for each row of the alphas."""
        return [f"{self.labels[source]}->{self.labels[node]}" for source, node in self.edges]
