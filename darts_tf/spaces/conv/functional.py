"""Convolutions and pools with the original's explicit paddings, chosen for speed where TensorFlow offers several.

All tensors are NHWC. "Edges" are the edges of a cell that leave one node: they read the same tensor, and their kernels
lie side by side in the channel axis, edge after edge.
"""

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from darts_tf.passes.context import now
from darts_tf.passes.graph import constant, integers, reshape


def _sizes(x):
    """The shape of a tensor, a shared constant where it is known."""
    return integers(tuple(x.shape)) if x.shape.is_fully_defined() else tf.shape(x)


@functools.cache
def _tile(times):
    @tf.custom_gradient
    def tile(x):
        def gradient(dy):
            batch, height, width, channels = x.shape
            batch = -1 if batch is None else batch
            return tf.reduce_sum(reshape(dy, batch, height, width, times, channels), integers((3,)))

        return tf.tile(x, integers((1, 1, 1, times))), gradient

    return tile


def tile_channels(x: tf.Tensor, times: int) -> tf.Tensor:
    """Repeats the channels, `(N, H, W, C) -> (N, H, W, times * C)`; the gradient is one sum, in a few nodes."""
    return x if times == 1 else _tile(times)(x)


def batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises `(N, H, W, C)` by its own statistics: those of all replicas' images where there are several.

    Returns:
        `(y, mean, variance)`: the variance is the unbiased one. Only y has a gradient.
    """
    if x.dtype != tf.float64 and now().replicas == 1:
        empty = constant(0.0, (0,), gamma.dtype)
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=empty, variance=empty, epsilon=epsilon, is_training=True
        )[:3]
    # The fused kernel supports neither replicas nor float64, which the tests against exact derivatives use.
    wide = tf.cast(x, gamma.dtype)
    mean = now().mean_of(tf.reduce_mean(wide, (0, 1, 2)))
    centered = wide - mean
    variance = now().mean_of(tf.reduce_mean(centered * centered, (0, 1, 2)))
    count = tf.cast(now().replicas * tf.size(x) // tf.size(mean), gamma.dtype)
    y = centered * (gamma * tf.math.rsqrt(variance + epsilon)) + beta
    return tf.cast(y, x.dtype), mean, variance * count / tf.maximum(count - 1, 1)


@functools.cache
def grouped_convolution_available() -> bool:
    """Whether grouped convolutions are the fast way on this machine, forward and backward.

    On CPUs they exist with oneDNN only (`TF_ENABLE_ONEDNN_OPTS=1`, which the binaries set); on GPUs grouped 1x1
    convolutions are usually slow and a batched matrix product is the safer choice.
    """
    if tf.config.list_logical_devices("GPU"):
        return False
    with tf.init_scope():
        x, kernel = tf.ones((1, 2, 2, 4)), tf.ones((1, 1, 2, 4))
        try:
            y = tf.nn.conv2d(x, kernel, 1, "VALID")
            # The gradient's own operation: a tape records nothing inside `init_scope`.
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape, filter=kernel, out_backprop=y, strides=[1, 1, 1, 1], padding="VALID"
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@tf.custom_gradient
def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """1x1 convolution, `(N, H, W, C)` by `(1, 1, C, C_out)`; its gradients are matrix products.

    Measured with oneDNN on a CPU, the filter gradient takes 0.6 of the convolution's own, the input gradient 0.9. The
    forward pass stays a convolution, which inference fuses with what follows.
    """
    inputs, outputs = kernel.shape[2:]

    def gradient(dy):
        rows = reshape(dy, -1, outputs)
        dx = tf.matmul(rows, reshape(kernel, inputs, outputs), transpose_b=True)
        dkernel = tf.matmul(reshape(x, -1, inputs), rows, transpose_a=True)
        return reshape(dx, -1, *x.shape[1:]), reshape(dkernel, 1, 1, inputs, outputs)

    return tf.nn.conv2d(x, kernel, 1, "VALID"), gradient


def grouped_conv(x: tf.Tensor, kernel: tf.Tensor, groups: int, strides: Any = 1, padding: Any = "VALID") -> tf.Tensor:
    """Convolution in `groups` groups.

    Args:
        x: `(N, H, W, groups * C)`.
        kernel: `(kh, kw, C, groups * C_out)`, group after group.
        groups: Number of groups.
        strides: Int or pair.
        padding: See `tf.nn.conv2d`.

    Returns:
        `(N, H', W', groups * C_out)`.
    """
    if groups > 1 and not isinstance(padding, str):  # oneDNN has no gradients with explicit padding
        x, padding = tf.pad(x, padding), "VALID"
    if groups == kernel.shape[0] == kernel.shape[1] == strides == 1:
        return pointwise(x, kernel)
    if groups == 1 or (x.dtype == tf.float32 and grouped_convolution_available()):
        return tf.nn.conv2d(x, kernel, strides, padding)
    if kernel.shape[0] == kernel.shape[1] == strides == 1:
        channels, filters = kernel.shape[2], kernel.shape[3] // groups
        rows = reshape(x, -1, groups, channels)
        matrices = reshape(kernel, channels, groups, filters)
        return reshape(tf.einsum("ngc,cgf->ngf", rows, matrices), -1, *x.shape[1:3], groups * filters)
    parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([tf.nn.conv2d(a, b, strides, padding) for a, b in parts], -1)


class Wide(NamedTuple):
    """A tensor whose channels are repeated for each edge, together with its source.

    Attributes:
        narrow: `(N, H, W, C)`.
        tensor: `(N, H, W, E * C)`.
    """

    narrow: tf.Tensor
    tensor: tf.Tensor


@functools.cache
def _depthwise(stride, pad):
    """The fastest kernel for each of the three products, measured with oneDNN on a CPU.

    Forward and input gradient use oneDNN, which takes no explicit padding in gradients: at stride 2 the input is padded
    manually. The filter gradient of large or strided kernels is TensorFlow's own, twice as fast there (5x5: 5 ms
    against 10 ms) and selected by explicit padding. It repeats the narrow tensor again, which costs little, instead of
    keeping the wide one in memory.
    """
    explicit = {"padding": "EXPLICIT", "explicit_paddings": [0, 0, pad, pad, pad, pad, 0, 0]}
    same = {"padding": "SAME"} if stride == 1 else explicit
    for_filter = {"padding": "SAME"} if stride == 1 and pad == 1 else explicit
    strides = [1, stride, stride, 1]

    @tf.custom_gradient
    def convolve(narrow, x, kernel):
        times = x.shape[-1] // narrow.shape[-1]

        def gradient(dy):
            sizes = _sizes(x)
            if stride > 1:
                sizes = sizes + integers((0, 2 * pad, 2 * pad, 0))
            dx = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=sizes,
                filter=kernel,
                out_backprop=dy,
                strides=strides,
                padding="SAME" if stride == 1 else "VALID",
            )
            if stride > 1:
                dx = tf.slice(dx, integers((0, pad, pad, 0)), _sizes(x))
            with tf.control_dependencies([dy]):  # not before it is needed
                again = tf.identity(narrow) if times == 1 else tile_channels(narrow, times)
            dkernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=again, filter_sizes=_sizes(kernel), out_backprop=dy, strides=strides, **for_filter
            )
            return None, dx, dkernel

        return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, strides=strides, **same), gradient

    return convolve


def depthwise(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1, dilation: int = 1) -> tf.Tensor:
    """Depthwise convolution padded by `dilation * (k - 1) / 2` on every side, as the original pads.

    Args:
        x: `(N, H, W, C)`, or a `Wide` tensor.
        kernel: `(k, k, C, 1)`, k odd.
        stride: 1 or 2.
        dilation: 1, or 2 at stride 1 (at stride 2 dilation needs no kernel of its own: see `operations.DilConv`).

    Returns:
        `(N, ceil(H / stride), ceil(W / stride), C)`.
    """
    pad = dilation * (kernel.shape[0] // 2)
    narrow, x = x if isinstance(x, Wide) else (x, x)
    if dilation > 1:
        padded = tf.pad(x, integers(((0, 0), (pad, pad), (pad, pad), (0, 0))))
        return tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID", dilations=[dilation, dilation])
    if stride == 1 and pad == 1 and narrow is x:
        return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, strides=[1, 1, 1, 1], padding="SAME")
    return _depthwise(stride, pad)(narrow, x, kernel)


def max_pool(x: tf.Tensor, stride: int) -> tf.Tensor:
    """3x3 max pooling padded by one with minus infinity, `(N, H, W, C) -> (N, ceil(H/s), ceil(W/s), C)`.

    Padded manually, because the second derivative through SAME pooling at stride 1 is wrong on CPUs inside a
    `tf.function`: the kernel's output buffer aliases the gradient it is still reading.
    """
    padded = tf.pad(x, integers(((0, 0), (1, 1), (1, 1), (0, 0))), constant_values=constant(x.dtype.min, (), x.dtype))
    return tf.nn.max_pool2d(padded, 3, stride, "VALID")


def avg_pool(x: tf.Tensor, stride: int) -> tf.Tensor:
    """3x3 average pooling that does not count the padding, `(N, H, W, C) -> (N, ceil(H/s), ceil(W/s), C)`."""
    if stride == 1:
        return tf.nn.avg_pool2d(x, 3, 1, "SAME")  # TensorFlow's SAME divides by the cells that exist
    height, width = x.shape[1:3]
    padding = [[0, 0], [1, 1], [1, 1], [0, 0]]
    counted = tf.nn.avg_pool2d(tf.pad(tf.ones((1, height, width, 1), x.dtype), padding), 3, stride, "VALID")
    return tf.nn.avg_pool2d(tf.pad(x, padding), 3, stride, "VALID") / counted


def to_phases(x: tf.Tensor) -> tf.Tensor:
    """Splits even-sized images into their four phases, `(N, H, W, C) -> (4 N, H/2, W/2, C)`: dilation 2 becomes 1."""
    return tf.raw_ops.SpaceToBatchND(input=x, block_shape=integers((2, 2)), paddings=integers(((0, 0), (0, 0))))


def from_phases(x: tf.Tensor) -> tf.Tensor:
    """The inverse of `to_phases`."""
    return tf.raw_ops.BatchToSpaceND(input=x, block_shape=integers((2, 2)), crops=integers(((0, 0), (0, 0))))
