"""The cells of NAS-Bench-201, of the supernet and of derived networks, and the residual blocks between them."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from darts_tf.genotypes import NasBench201Genotype
from darts_tf.spaces.conv.cells import MixedCell, mixed_operations
from darts_tf.spaces.conv.derived import ConvBN
from darts_tf.spaces.conv.operations import Source, Zero
from darts_tf.spaces.nasbench201.operations import OPERATIONS, NasBench201MixedOp

TOPOLOGY = NasBench201Genotype.topology(NasBench201Genotype.usual_nodes)


class SearchCell(MixedCell):
    """A cell whose edges hold every candidate operation.

    Args:
        channels: Channels C of every node.
        primitives: Names of the candidate operations.
        mixed_op: Makes the mixed operation of a state, called like `MixedOp`.
        allowed: `(num_edges, num_primitives)`, which operations each edge may have; all of them for None.

    Source: `NAS201SearchCell` in `models/cell_searchs/search_cells.py` of AutoDL-Projects.
    """

    topology = TOPOLOGY

    def __init__(
        self,
        channels: int,
        primitives: Sequence[str],
        mixed_op: Callable = NasBench201MixedOp,
        allowed: np.ndarray | None = None,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.mixed = mixed_operations(
            TOPOLOGY, lambda _, count, *rows: mixed_op(count, channels, 1, primitives, *rows), allowed
        )
        self.built = True

    def call(
        self, x: tf.Tensor, weights: tf.Tensor, training: bool = False, drop: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Runs the cell.

        Args:
            x: `(N, H, W, C)`.
            weights: Mixing weights `(6, num_primitives)`.
            training: Whether batch norms use their batch's statistics.
            drop: `(6, N)`, what drop path multiplies each edge's output with, or None.

        Returns:
            `(N, H, W, C)`.
        """
        return self.run_nodes([x], weights, training, drop)[-1]


class Cell(keras.layers.Layer):
    """A cell of a derived network. Unread operations are computed, too, since their batch norms have moving statistics.

    No operation is dropped.

    Args:
        genotype: A `NasBench201Genotype`.
        channels: Channels C of every node.

    Source: `InferCell` in `models/cell_infers/cells.py` of AutoDL-Projects.
    """

    drops = 0

    def __init__(self, genotype: NasBench201Genotype, channels: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.sources = tuple(source for _, source in genotype.nasbench201)
        self.operations = [OPERATIONS[name](channels, affine=True) for name, _ in genotype.nasbench201]
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Runs the cell on `(N, H, W, C)`, whose shape it keeps."""
        states = [Source(x)]
        for _, edges in TOPOLOGY.by_node(list(zip(self.operations, self.sources, strict=True))):
            kept = [(operation, source) for operation, source in edges if not isinstance(operation, Zero)]
            terms = [operation.on(states[source], training=training) for operation, source in kept]
            states.append(Source(tf.add_n(terms) if terms else tf.zeros_like(x)))
        return states[-1].x

    def macs(self, height: int, width: int) -> tuple[int, tuple[int, int]]:
        """Returns one image's multiply-adds, and `(height, width)` of the output."""
        return sum(operation.macs(height, width) for operation in self.operations), (height, width)


class ResidualBlock(keras.layers.Layer):
    """Halves the size: two 3x3 convolutions, each after a ReLU and before a batch norm, and a pooled 1x1 shortcut.

    Deviation: odd sizes are rounded up; the original fails at them.

    Args:
        inputs: Input channels.
        channels: Output channels.

    Source: `ResNetBasicblock` in `models/cell_operations.py` of AutoDL-Projects.
    """

    drops = 0

    def __init__(self, inputs: int, channels: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.conv_a = ConvBN(inputs, channels, 3, stride=2)
        self.conv_b = ConvBN(channels, channels, 3)
        self.shortcut = ConvBN(inputs, channels, 1, normalised=False)
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps `(N, H, W, inputs)` to `(N, ceil(H/2), ceil(W/2), channels)`."""
        y = self.conv_a(tf.nn.relu(x), training=training)
        y = self.conv_b(tf.nn.relu(y), training=training)
        return y + self.shortcut(tf.nn.avg_pool2d(x, 2, 2, "SAME"), training=training)

    def macs(self, height: int, width: int) -> tuple[int, tuple[int, int]]:
        """Returns one image's multiply-adds, and `(height, width)` of the output."""
        size = -(-height // 2), -(-width // 2)
        return sum(conv.macs(*size) for conv in (self.conv_a, self.conv_b, self.shortcut)), size
