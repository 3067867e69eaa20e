"""Converts a network to operations that suit 8-bit arithmetic."""

from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.spaces.conv import operations as ops

_AROUND = [[0, 0], [1, 1], [1, 1], [0, 0]]


def lower(network: Any) -> Any:
    """Copies a folded network for conversion to integers; for inference only.

    Three operations change their form but not their result: max pooling does not pad with the lowest float, which would
    use up the range of its 8 bits; average pooling that does not count its padding multiplies instead of dividing; the
    kernel of a factorized reduction is a constant, since TFLite's integer convolution refuses a computed one.

    Args:
        network: An image network, fully built by its constructor; it need not have a `folded` form.

    Returns:
        A network of the same class.
    """
    if hasattr(network, "folded"):
        lowered = network.folded()
    else:
        lowered = type(network).from_config(network.get_config())
        lowered.set_weights(network.get_weights())
    for layer in lowered._flatten_layers():
        form = next((form for kind, form in _FORMS.items() if isinstance(layer, kind)), None)
        if form is not None:
            layer.apply = form(layer)
    return lowered


def _max_pool(layer):
    def apply(source, scale=None, training=False):
        # The row beyond the border repeats the one on it, which is in the same window.
        return tf.nn.max_pool2d(tf.pad(source.x, _AROUND, "SYMMETRIC"), 3, layer.stride, "VALID")

    return apply


def _avg_pool(layer):
    def apply(source, scale=None, training=False):
        if layer.stride == 1:
            return tf.nn.avg_pool2d(source.x, 3, 1, "SAME")
        counts = [np.array([3 - (i == 0) - (i + 2 > size) for i in range(0, size, 2)]) for size in source.x.shape[1:3]]
        factor = (9 / np.multiply.outer(*counts))[None, :, :, None].astype(np.float32)
        return tf.nn.avg_pool2d(tf.pad(source.x, _AROUND), 3, 2, "VALID") * factor

    return apply


def _factorized_reduce(layer):
    half = layer.channels // 2
    kernel = np.zeros((2, 2, layer.inputs, layer.channels), np.float32)
    kernel[0, 0, :, :half], kernel[1, 1, :, half:] = layer.conv_1.numpy()[0, 0], layer.conv_2.numpy()[0, 0]

    def apply(source, scale=None, training=False):
        height, width = source.x.shape[1:3]
        x = tf.pad(source.relu, [[0, 0], [0, height % 2], [0, width % 2], [0, 0]])
        return layer.bn(tf.nn.conv2d(x, kernel, 2, "VALID"), training=False)

    return apply


_FORMS = {ops.MaxPool: _max_pool, ops.AvgPool: _avg_pool, ops.FactorizedReduce: _factorized_reduce}
