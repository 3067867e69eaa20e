"""PC-DARTS: one channel in k goes through the operations, the rest bypass them; edges have learned weights.

Reference: Xu et al., PC-DARTS, arXiv:1907.05737; `model_search.py` of yuhuixu1993/PC-DARTS.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from darts_tf.config import SearchConfig
from darts_tf.methods.method import Alphas, Method, Mixing
from darts_tf.passes import graph
from darts_tf.spaces.conv.mixed import WrappedMixedOp
from darts_tf.system.errors import UserError

PREFIX = "edges_"  # prefix of the names of edge weights


class PartialMixedOp(WrappedMixedOp):
    """A mixed operation of which only the first C / k channels are operated on, called like `MixedOp`.

    The others pass unchanged, or at stride 2 through 2x2 max pooling, times the last column of the weights. The
    channels of a node's sum are shuffled, so that the next operations see other channels; permutation and sum commute,
    so this is done once per node, not per edge.

    Deviation: pooling keeps the last row and column of images of odd size, as the operations do; the original fails.

    Args:
        usual: Makes the mixed operation of C / k channels.
        share: k.
        edges: Number of edges E.
        channels: Channels C, a multiple of k.
        stride: 1 or 2.
        primitives: Names of the candidate operations.
        allowed: See `MixedOp`.
    """

    def __init__(
        self,
        usual: Callable,
        share: int,
        edges: int,
        channels: int,
        stride: int,
        primitives: Sequence[str],
        *allowed: np.ndarray,
    ):
        if channels % share:
            raise UserError(
                f"pc_darts_k must divide the channels of every cell, {channels} in the first ones. "
                f"Received: pc_darts_k={share}."
            )
        super().__init__(usual(edges, channels // share, stride, primitives, *allowed))
        self.share, self.stride, self.part = share, stride, channels // share

    def terms(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> list[list]:
        """Returns for each edge the terms that `combine` sums: tensors of C / k channels, and a tuple with the others.

        Args:
            x: `(N, H, W, C)`.
            weights: `(num_edges, num_primitives + 1)`; the last column is the factor of the other channels.
            training: Whether batch norms use the statistics of the batch.
        """
        operated = self.inner.terms(x[..., : self.part], weights[:, :-1], training)
        rest = x[..., self.part :]
        if self.stride == 2:
            rest = tf.nn.max_pool2d(rest, 2, 2, "SAME")
        scales = tf.unstack(tf.cast(weights[:, -1], rest.dtype))
        return [[*terms, (scale * rest,)] for terms, scale in zip(operated, scales, strict=True)]

    def combine(self, terms: Sequence) -> tf.Tensor:
        """Returns the value of a node, `(N, H, W, C)`: both sums side by side, shuffled."""
        operated = tf.add_n([term for term in terms if not isinstance(term, tuple)])
        rest = tf.add_n([term[0] for term in terms if isinstance(term, tuple)])
        return shuffle(tf.concat([operated, rest], -1), self.share)


def shuffle(x: tf.Tensor, groups: int) -> tf.Tensor:
    """Returns `(N, H, W, C)` with the channels of `groups` groups interleaved: first of each, second of each."""
    split = graph.reshape(x, -1, *x.shape[1:3], groups, x.shape[-1] // groups)
    return graph.reshape(tf.transpose(split, [0, 1, 2, 4, 3]), -1, *x.shape[1:])


class PCDarts(Method):
    """Partial channels, and weights of edges: a softmax over the edges that enter a node, times their mixing weights.

    Edges and operations are chosen by the product of both. Recurrent cells have no channels to leave out; for them it
    adds edge weights only.
    """

    def variables(self, supernet: Any) -> dict[str, Any]:
        """Makes one logit for each edge, by cell."""
        if not self.config.pc_darts_edges:
            return {}
        start = keras.initializers.RandomNormal(0, 1e-3)
        dtype = supernet.variable_dtype
        return {
            PREFIX + cell: keras.Variable(start, logits.shape[:1], dtype, name=PREFIX + cell)
            for cell, logits in supernet.alphas.items()
        }

    def adjust(self, mixing: Mixing, alphas: Alphas, noise: Any) -> Mixing:
        """Multiplies each row by its edge's weight, and appends this as a column for the channels that bypass it.

        Nothing passes an edge whose row is zero: DARTS-PT has left it out.
        """
        adjusted = {}
        for cell, rows in mixing.items():
            if self.config.pc_darts_edges:
                weights = tf.cast(self.edge_weights(alphas[PREFIX + cell]), rows.dtype)[:, None]
            else:
                weights = tf.ones((rows.shape[0], 1), rows.dtype)
            adjusted[cell] = rows * weights
            if self._partial:
                used = tf.sign(tf.reduce_sum(rows, -1, keepdims=True))
                adjusted[cell] = tf.concat([adjusted[cell], used * weights], -1)
        return adjusted

    @property
    def _partial(self):
        return self.config.pc_darts_k > 1 and isinstance(self.config, SearchConfig)

    def edge_weights(self, logits: Any) -> Any:
        """Returns the softmax of edge logits `(E,)` over the edges that enter the same node."""
        nodes = [self.topology.rows(node) for node in self.topology.nodes]
        return tf.concat([tf.nn.softmax(logits[rows.start : rows.stop]) for rows in nodes], 0)

    def mixed_operation(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a factory for mixed operations with partial channels; `usual` for k = 1."""
        return functools.partial(PartialMixedOp, usual, self.config.pc_darts_k) if self._partial else usual
