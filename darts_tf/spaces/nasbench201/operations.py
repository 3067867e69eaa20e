"""The five operations of NAS-Bench-201, in the form of `spaces.conv`: for all edges that leave a node at once.

Source: `models/cell_operations.py` of AutoDL-Projects (D-X-Y).
"""

import tensorflow as tf

from darts_tf.spaces.conv import functional
from darts_tf.spaces.conv import operations as conv
from darts_tf.spaces.conv.mixed import MixedOp


class NorConv(conv.Operation):
    """`nor_conv_1x1`: ReLU, convolution at stride 1, batch norm.

    Deviation: the supernet's convolutions have no bias; in training the batch norm after them cancels any bias.
    """

    size = 1
    folds = {"bn": ("conv",)}

    def make(self) -> None:
        """Creates the kernels of all edges, and their norm."""
        self.conv = self.kernel("conv", self.size, self.size, self.channels, self.edges * self.channels)
        self.bn = self.norm()

    def apply(self, source: conv.Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Convolves."""
        kernel = tf.cast(self.conv.value, source.x.dtype)
        return self.bn(functional.grouped_conv(source.relu, kernel, 1, padding="SAME"), scale, training=training)


class NorConv3(NorConv):
    """`nor_conv_3x3`."""

    size = 3


class AvgPool(conv.AvgPool):
    """`avg_pool_3x3`: padding is not counted; no batch norm follows, even in the supernet."""

    def make(self) -> None:
        """Creates nothing."""
        self.bn = None


OPERATIONS = {
    "none": conv.Zero,
    "skip_connect": conv.Identity,
    "nor_conv_1x1": NorConv,
    "nor_conv_3x3": NorConv3,
    "avg_pool_3x3": AvgPool,
}


class NasBench201MixedOp(MixedOp):
    """Every operation of NAS-Bench-201 on every edge that leaves one node, see `MixedOp`."""

    table = OPERATIONS
