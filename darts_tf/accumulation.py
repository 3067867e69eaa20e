"""A batch computed in parts, one after the other: the gradients of the whole in the memory of a part."""

import tensorflow as tf


class Accumulation:
    """Splits a batch, and puts together what its parts give.

    Means over examples are means over parts of equal size: loss and gradients are those of the whole batch, but for
    batch norm, which normalises each part by its own statistics; what its moving statistics are moved by is their mean.

    Args:
        count: Parts.
        batch: A structure like `(inputs, labels)` with the axis along which examples lie in each tensor, None for what
            all examples share.
        outputs: The same for what the network gives.
    """

    def __init__(self, count: int, batch, outputs):
        self.count, self.batch, self.outputs = count, batch, outputs

    def over(self, function, *batch) -> list:
        """Calls a function with each part of a batch; no call begins before the one before it has ended.

        Args:
            function: `(*part) -> result`, a structure of tensors.
            *batch: In the structure that the axes have.

        Returns:
            The results.
        """
        tf.nest.assert_same_structure(batch, self.batch)
        pairs = zip(tf.nest.flatten(batch), tf.nest.flatten(self.batch), strict=True)
        parts = [self._split(tensor, axis) for tensor, axis in pairs]
        found, after = [], []
        for leaves in zip(*parts, strict=True):
            with tf.control_dependencies(after):
                leaves = [None if leaf is None else tf.identity(leaf) for leaf in leaves]
            found.append(function(*tf.nest.pack_sequence_as(self.batch, leaves)))
            after = [leaf for leaf in tf.nest.flatten(found[-1]) if leaf is not None]
        return found

    def _split(self, tensor, axis):
        whole = tensor is None or axis is None
        return [tensor] * self.count if whole else tf.split(tensor, self.count, axis)

    def mean(self, results):
        """Returns the mean over results, structures of tensors of one shape."""
        return tf.nest.map_structure(lambda *parts: tf.add_n(parts) / self.count, *results)

    def joined(self, outputs):
        """Returns the outputs of the parts as those of the whole batch."""

        def join(axis, *parts):
            return parts[0] if axis is None or parts[0] is None else tf.concat(parts, axis)

        return tf.nest.map_structure(join, self.outputs, *outputs)
