"""Gradient accumulation: a batch in sequential parts, for the gradients of the whole in the memory of a part."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from darts_tf.passes import graph
from darts_tf.system.types import Structure


def split(batch: Structure, axes: Any, count: int) -> list[Structure]:
    """Splits a batch into equal parts.

    Args:
        batch: A structure of tensors.
        axes: The same structure with the axis of examples in each tensor, None for what all examples share.
        count: Number of parts; divides the size of each of these axes.

    Returns:
        The parts.
    """
    tf.nest.assert_same_structure(batch, axes)

    def pieces(tensor, axis):
        whole = tensor is None or axis is None
        return [tensor] * count if whole else tf.split(tensor, count, axis)

    pairs = zip(tf.nest.flatten(batch), tf.nest.flatten(axes), strict=True)
    leaves = zip(*(pieces(*pair) for pair in pairs), strict=True)
    return [tf.nest.pack_sequence_as(axes, part) for part in leaves]


class Accumulation:
    """Splits a batch, and combines the results of its parts.

    Means over examples are means over parts of equal size: loss and gradients are those of the whole batch, except for
    batch norm, which normalises each part by its own statistics; their mean updates the moving statistics.

    Args:
        count: Number of parts.
        batch: A structure like `(inputs, labels)` of axes, see `split`.
        outputs: The same for the per-example outputs of a pass; None for a mean over them.
    """

    def __init__(self, count: int, batch: Any, outputs: Any):
        self.count, self.batch, self.outputs = count, batch, outputs

    def over(self, function: Callable) -> Callable:
        """Returns `function` for a whole batch, computed in parts; no part begins before the previous one has ended.

        Args:
            function: `(common, batch) -> (means, outputs)`: `common` is what all examples share, `means` are means over
                the batch's examples, both structures of tensors; outputs may be `()`.
        """

        def in_parts(common, batch):
            found: list[Structure] = []
            after: list[tf.Tensor] = []
            for part in split(batch, self.batch, self.count):
                with tf.control_dependencies(after):
                    part = tf.nest.map_structure(lambda leaf: None if leaf is None else tf.identity(leaf), part)
                found.append(function(common, part))
                after = [leaf for leaf in tf.nest.flatten(found[-1]) if leaf is not None]
            means, outputs = zip(*found, strict=True)
            axes = self.outputs if tf.nest.flatten(outputs) else ()
            return tf.nest.map_structure(self._mean, *means), tf.nest.map_structure(self._joined, axes, *outputs)

        return in_parts

    def _mean(self, *parts):
        return graph.total(parts) / self.count

    def _joined(self, axis, *parts):
        if parts[0] is None:
            return None
        return self._mean(*parts) if axis is None else tf.concat(parts, axis)
