"""DARTS-PT: an operation is rated by what its removal costs the trained supernet, whatever its alpha.

Reference: Wang et al., arXiv:2108.04392; `sota/cnn/projection.py` and `nasbench201/projection.py` of ruocwang/darts-pt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.genotypes.topology import Topology
from darts_tf.methods.method import Alphas, Judge, Method, Mixing
from darts_tf.methods.schedules import cosine
from darts_tf.system.errors import UserError


class DartsPT(Method):
    """Chooses the cells by perturbation; the search before that is the one of the method it is combined with.

    Edges are decided one after another in random order, for each kind of cell in turn: each operation's weight is set
    to zero in turn while the others stay, and the operation whose removal hurts most is kept, with a weight of one.
    Then each node keeps the edges whose removal hurts most. The measure is the loss, or the error; among ties the first
    operation is kept and the last edge is removed.

    Between two decisions the weights and the alphas of what is undecided are trained for `darts_pt_tuning_epochs`, in
    the order of the search (first or second); the learning rate of the weights falls from `darts_pt_learning_rate`
    along a cosine, and the momentum is reset. On texts the rate is constant, as in their searches. With 0 epochs it is
    the cheap form, which takes evaluations only.

    Deviation: validation images are not augmented, and no running statistics move. `none` is not tried where a cell may
    not keep it.
    """

    def __init__(self, config: Any = None):
        super().__init__(config)
        self._decided: dict[str, tuple[tf.Variable, tf.Variable]] = {}  # by cell: edges decided, and their rows

    def check(self, relaxation: Method) -> None:
        """Refuses training between decisions in several processes."""
        c = self.config
        if c.darts_pt_tuning_epochs and c.strategy == "multi_worker":
            raise UserError(
                "darts_pt trains between its decisions in one process only. Expected darts_pt_tuning_epochs=0 with "
                f"strategy=multi_worker. Received: darts_pt_tuning_epochs={c.darts_pt_tuning_epochs}."
            )

    def variables(self, supernet: Any) -> dict[str, Any]:
        """Makes the variables of decisions if there is training between these; no architecture variables."""
        if self.config.darts_pt_tuning_epochs:
            self._decided = {
                cell: (
                    tf.Variable(tf.zeros((logits.shape[0], 1), tf.bool), trainable=False),
                    tf.Variable(tf.zeros(logits.shape, supernet.variable_dtype), trainable=False),
                )
                for cell, logits in supernet.alphas.items()
            }
        return {}

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns the decisions by cell: which edges, and their rows. The passes of replicas cannot read variables."""
        return {cell: tuple(map(tf.convert_to_tensor, each)) for cell, each in self._decided.items()}

    def settle(self, relaxed: Mixing, noise: Any) -> Mixing:
        """Returns relaxed weights with the rows of decided edges replaced."""
        decided = noise or self.noise(relaxed, None, None)
        return {cell: tf.where(*decided[cell], rows) if decided else rows for cell, rows in relaxed.items()}

    def choose(self, relaxed: Mapping[str, np.ndarray], judge: Judge) -> Mapping[str, np.ndarray]:
        """Returns the rows of the operations kept, decided in random order."""
        topology, rng = self.topology, np.random.default_rng(self.config.seed)
        edges = {cell: rng.permutation(topology.num_edges).tolist() for cell in relaxed}
        nodes = {cell: rng.permutation(crowded(topology)).tolist() for cell in relaxed}
        return self.project(relaxed, judge, edges, nodes)

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
            edges: All edges of each kind of cell, as row numbers, in the order of decision.
            nodes: All `crowded` nodes of each kind of cell, in the order of decision.
        """
        rows = {cell: np.array(each) for cell, each in relaxed.items()}
        decided = {cell: np.zeros(len(each), bool) for cell, each in rows.items()}
        turns = [(self._keep_operation, turn) for turn in zip(*edges.values(), strict=True)]
        turns += [(self._keep_edges, turn) for turn in zip(*nodes.values(), strict=True)]
        for number, (keep, turn) in enumerate(turns):
            if number and self.config.darts_pt_tuning_epochs:
                self.decide(decided, rows)
                trained = judge.train(number - 1, self._rates(number - 1, len(turns) - 1))
                rows = {cell: np.where(decided[cell][:, None], each, trained[cell]) for cell, each in rows.items()}
            for cell, place in zip(rows, turn, strict=True):
                rows[cell] = keep(rows, cell, place, judge)
                if keep == self._keep_operation:
                    decided[cell][place] = True
        return rows

    def _rates(self, number, of):
        """Returns the learning rates of one of several trainings."""
        c = self.config
        start, epochs = c.darts_pt_learning_rate, c.darts_pt_tuning_epochs
        end = min(getattr(c, "learning_rate_min", start), start)
        return [cosine(start, end, number * epochs + epoch, of * epochs) for epoch in range(epochs)]

    def decide(self, decided: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> None:
        """Records what has been decided, see `noise`.

        Args:
            decided: Which edges, `(num_edges,)` booleans by cell.
            rows: All rows by cell; only those of decided edges matter.
        """
        for cell, (which, fixed) in self._decided.items():
            which.assign(decided[cell][:, None])
            fixed.assign(rows[cell])

    def _keep_operation(self, rows, cell, edge, judge):
        """Returns a cell's rows with one operation left on an edge."""
        names, topology = self.config.primitives, self.topology
        columns, label = topology.choices(names), topology.edge_labels[edge]
        harm = [self._harm(rows, cell, (edge, c), f"{cell} {label} without {names[c]}", judge) for c in columns]
        found = rows[cell].copy()
        found[edge] = np.arange(len(names)) == columns[int(np.argmax(harm))]
        return found

    def _keep_edges(self, rows, cell, node, judge):
        """Returns a cell's rows without the edges that a node does not keep."""
        topology = self.topology
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
