"""RandomNAS with weight sharing: weights are trained on random cells; the result is the best of many random cells.

Reference: Li and Talwalkar, arXiv:1902.07638; `searchers/random_weight_share.py` of liamcli/randomNAS_release.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.config import SearchConfig
from darts_tf.genotypes.topology import Topology
from darts_tf.methods.method import Alphas, Judge, Method

FINALISTS = 10  # cells that are judged on all of the validation data


class RandomNas(Method):
    """Uses one uniformly random cell in each step; the alphas keep their initial values and are not used.

    At the end `random_nas_cells` random cells are evaluated on `random_nas_batches` batches each, and the best ten of
    them on all validation data: by their error, ties by the loss; recurrent cells by the loss.

    Deviation: `none` is not drawn where a cell may not keep it. The original evaluates with running statistics, which
    suit no single cell, and each cell on different batches; here each batch's own statistics are used, on the same
    batches for all cells.
    """

    moves_alphas = False
    sparse = True

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns the rows of a random cell, see `random_rows`."""
        return self.random_cells(seed, next(iter(alphas.values())).dtype)

    def random_cells(self, seed: Any, dtype: Any) -> dict[str, Any]:
        """Returns the rows of one random cell of each kind, see `random_rows`."""
        fold = tf.random.experimental.stateless_fold_in
        return {
            cell: random_rows(self.topology, self.config.primitives, fold(seed, number), dtype)
            for number, cell in enumerate(self.cells)
        }

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Returns the rows of the step's cell; without noise their mean."""
        if noise is not None:
            return dict(noise)
        rows = mean_rows(self.topology, self.config.primitives)
        return {cell: tf.constant(rows, alphas[cell].dtype) for cell in self.cells}

    def choose(self, relaxed: Mapping[str, np.ndarray], judge: Judge) -> Mapping[str, np.ndarray]:
        """Returns the best of the random cells."""
        count, batches = self.config.random_nas_cells, self.config.random_nas_batches
        cells, first = [], []
        for number in range(count):
            cells.append(self.candidate(number))
            first.append(judge(cells[-1], f"cell {number + 1} of {count}", batches))
        best = sorted(range(count), key=lambda n: self._rank(first[n]))[:FINALISTS]
        final = [judge(cells[n], f"cell {n + 1}, on all batches") for n in best]
        return cells[min(zip(map(self._rank, final), best, strict=True), key=lambda each: each[0])[1]]

    def candidate(self, number: int) -> dict[str, np.ndarray]:
        """Returns the rows of the cell with this number, from 0, among those evaluated."""
        seed = tf.constant([self.config.seed, -1 - number], tf.int64)  # steps are numbered from 0
        return {cell: rows.numpy() for cell, rows in self.random_cells(seed, tf.float32).items()}

    def _rank(self, judged):
        loss, error = judged
        return (error, loss) if isinstance(self.config, SearchConfig) else (loss,)


def random_rows(topology: Topology, primitives: tuple[str, ...], seed: Any, dtype: Any) -> Any:
    """Draws a cell: every node keeps some of its edges, each with one operation, all equally likely.

    Args:
        topology: Edges of the cell.
        primitives: Names of the columns.
        seed: `(2,)` integers.
        dtype: Dtype of the result.

    Returns:
        `(num_edges, num_primitives)`: a single one in the row of each edge that is kept, zeros in the other rows.
    """
    fold, columns = tf.random.experimental.stateless_fold_in, topology.choices(primitives)
    scores = tf.random.stateless_uniform([topology.num_edges], fold(seed, 0))
    kept = []
    for node, count in zip(topology.nodes, topology.kept, strict=True):
        own = topology.rows(node)
        chosen = tf.math.top_k(scores[own.start : own.stop], count).indices
        kept.append(tf.reduce_sum(tf.one_hot(chosen, len(own), dtype=dtype), 0))
    numbers = tf.random.stateless_uniform([topology.num_edges], fold(seed, 1), 0, len(columns), tf.int32)
    one_hot = tf.one_hot(tf.gather(tf.constant(columns), numbers), len(primitives), dtype=dtype)
    return tf.concat(kept, 0)[:, None] * one_hot


def mean_rows(topology: Topology, primitives: tuple[str, ...]) -> np.ndarray:
    """Returns the mean of `random_rows` over all draws, `(num_edges, num_primitives)`."""
    columns = topology.choices(primitives)
    row = np.isin(np.arange(len(primitives)), columns) / len(columns)
    shares = [count / len(own) for count, own in zip(topology.kept, topology.sources, strict=True)]
    return np.repeat(shares, [len(own) for own in topology.sources])[:, None] * row
