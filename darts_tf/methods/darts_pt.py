"""DARTS-PT: an operation counts for what its removal costs the trained supernet, whatever its alpha.

Reference: Wang et al., arXiv:2108.04392; `sota/cnn/projection.py` and `nasbench201/projection.py` of ruocwang/darts-pt.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from darts_tf import spaces
from darts_tf.genotypes.topology import Topology
from darts_tf.methods.method import Judge, Method


class DartsPT(Method):
    """Chooses the cells by perturbation; the search before it is that of whatever it is combined with.

    Edge after edge, in random order, in each kind of cell in turn: the weight of one operation is set to zero, those of
    the others stay, and the operation is kept whose removal hurts most, with a weight of one. Then each node keeps the
    edges whose removal hurts most. What hurts is the loss, or the error; of equal ones the first operation is kept, and
    the last edge is removed.

    Deviation: this is its cheap form, without training between the decisions. Validation images are not augmented, and
    no running statistics move. `none` is not tried where a cell may not keep it. With `pc_darts` an operation takes its
    share of the channels that pass by with it.
    """

    def choose(self, relaxed: Mapping[str, np.ndarray], judge: Judge) -> Mapping[str, np.ndarray]:
        """Returns the rows of what is kept, decided in random order."""
        topology, rng = self._topology, np.random.default_rng(self.config.seed)
        edges = {cell: rng.permutation(topology.num_edges).tolist() for cell in relaxed}
        nodes = {cell: rng.permutation(crowded(topology)).tolist() for cell in relaxed}
        return self.project(relaxed, judge, edges, nodes)

    @property
    def _topology(self):
        return spaces.get(self.config.space).genotype.topology(self.config.num_nodes)

    def project(
        self,
        relaxed: Mapping[str, np.ndarray],
        judge: Judge,
        edges: Mapping[str, Sequence[int]],
        nodes: Mapping[str, Sequence[int]],
    ) -> dict[str, np.ndarray]:
        """Decides in a given order.

        Args:
            relaxed: See `choose`.
            judge: See `choose`.
            edges: All edges of each kind of cell, by their rows.
            nodes: All `crowded` nodes of each kind of cell.
        """
        rows = {cell: np.array(each) for cell, each in relaxed.items()}
        for turn in zip(*edges.values(), strict=True):
            for cell, edge in zip(edges, turn, strict=True):
                rows[cell] = self._keep_operation(rows, cell, edge, judge)
        for turn in zip(*nodes.values(), strict=True):
            for cell, node in zip(nodes, turn, strict=True):
                rows[cell] = self._keep_edges(rows, cell, node, judge)
        return rows

    def _keep_operation(self, rows, cell, edge, judge):
        """Returns a cell's rows with one operation left on an edge."""
        names, topology = self.config.primitives, self._topology
        columns = [column for column, name in enumerate(names) if topology.none or name != "none"]
        label = topology.edge_labels[edge]
        harm = [self._harm(rows, cell, (edge, c), f"{cell} {label} without {names[c]}", judge) for c in columns]
        found = rows[cell].copy()
        found[edge] = np.arange(len(names)) == columns[int(np.argmax(harm))]
        return found

    def _keep_edges(self, rows, cell, node, judge):
        """Returns a cell's rows without those edges of a node that it does not keep."""
        topology = self._topology
        own, kept = list(topology.rows(node)), topology.kept[node - topology.num_inputs]
        harm = {
            edge: self._harm(rows, cell, edge, f"{cell} without {topology.edge_labels[edge]}", judge) for edge in own
        }
        found = rows[cell].copy()
        found[sorted(own, key=lambda edge: (harm[edge], -edge))[: len(own) - kept]] = 0
        return found

    def _harm(self, rows, cell, where, what, judge):
        without = rows[cell].copy()
        without[where] = 0
        loss, error = judge({**rows, cell: without}, what, self.config.darts_pt_batches)
        return loss if self.config.darts_pt_criterion == "loss" else error


def crowded(topology: Topology) -> list[int]:
    """Returns the nodes, counted as states, that have more edges than they keep."""
    every = zip(topology.nodes, topology.sources, topology.kept, strict=True)
    return [node for node, sources, kept in every if len(sources) > kept]
