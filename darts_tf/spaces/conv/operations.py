"""The candidate operations of the convolutional cells, in one file because they are short and similar.

Each is computed for all edges that leave a node at once: they read the same tensor. What they share (ReLU, pools and
their normalisation, the phases of a dilated convolution) is computed once, in `Source`; their kernels lie side by side
in the channel axis, edge after edge, and the mixing weight of an operation is the scale of its last batch norm,
`w * BN(x) == BN(x; scale=w)`. A derived network uses the same classes with `edges=1`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from darts_tf.passes.context import now
from darts_tf.spaces.conv import functional
from darts_tf.spaces.conv.norm import BatchNorm
from darts_tf.system.errors import UserError, some_of


def even_channels(channels: int) -> int:
    """Returns `channels`, which must be even: a factorized reduction computes two halves."""
    if channels % 2:
        raise UserError(
            f"A factorized reduction needs an even number of output channels. Received: {channels}; use an even "
            "init_channels."
        )
    return channels


class Source:
    """A node's tensor as the edges that leave it see it; every view is computed once, on first use.

    Args:
        x: `(N, H, W, C)`.
        edges: Number of edges E that read it.
        every: The source for all edges, if these are only some of them; it shares the views that do not depend on their
            number.
    """

    def __init__(self, x: tf.Tensor, edges: int = 1, every: "Source | None" = None):
        self.x = x
        self.edges = edges
        self.even = x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0
        self.every = every

    def wide(self, x: tf.Tensor) -> tf.Tensor:
        """Repeats channels for each edge, `(..., C) -> (..., E * C)`."""
        return functional.tile_channels(x, self.edges)

    def _both(self, x):
        return functional.Wide(x, self.wide(x))

    @functools.cached_property
    def relu(self) -> tf.Tensor:
        """`relu(x)`, `(N, H, W, C)`."""
        return tf.nn.relu(self.x) if self.every is None else self.every.relu

    @functools.cached_property
    def _phases(self):
        return functional.to_phases(self.relu) if self.every is None else self.every._phases

    @functools.cached_property
    def relu_wide(self) -> functional.Wide:
        """`relu(x)` for each edge, `(N, H, W, E * C)`."""
        return self._both(self.relu)

    @functools.cached_property
    def relu_phases(self) -> functional.Wide:
        """`relu(x)` for each edge, in phases, `(4 N, H/2, W/2, E * C)`."""
        return self._both(self._phases)

    @functools.cached_property
    def relu_halved(self) -> functional.Wide:
        """Every second row and column of `relu(x)` for each edge, `(N, ceil(H/2), ceil(W/2), E * C)`."""
        return self._both(self.relu[:, ::2, ::2])


def uniform(fan_in: float) -> keras.initializers.Initializer:
    """Returns the initializer of a kernel or bias, uniform in `+-1/sqrt(fan_in)`: PyTorch's default."""
    bound = 1 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-bound, bound)


class Operation(keras.layers.Layer):
    """Base of the candidate operations: from `(N, H, W, C)` to `(N, ceil(H/stride), ceil(W/stride), edges * C)`.

    A subclass implements `apply(source, scale, training)`: `source` is a `Source`; `scale`, `(edges * channels,)` or
    None, multiplies the output.

    Kernels are initialised uniformly in `+-1/sqrt(fan_in)`. Deviation: as PyTorch does since 1.0, the fan-in of a
    depthwise kernel is `k * k`; PyTorch 0.3.1 ignored groups. Batch norm hides the scale.

    Args:
        channels: Channels C, in and out.
        stride: 1 or 2.
        edges: Number of edges E.
        affine: Whether batch norms learn gamma and beta: in derived networks, but not in the search.
    """

    shared = False  # True: in training, `apply` gives (N, H', W', channels), the same for every edge, and no scale
    in_phases = False  # True: `apply` can give phases, see `gives_phases`
    # Batch norm -> the kernels that it normalises, concatenated along their last axis, see `folding`.
    folds: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, channels: int, stride: int = 1, edges: int = 1, affine: bool = False, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.channels, self.stride, self.edges, self.affine = channels, stride, edges, affine
        self.make()
        self.built = True

    def make(self) -> None:
        """Creates the weights."""

    def call(self, x: tf.Tensor, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Applies the operation of every edge to `(N, H, W, C)`; `scale`, `(edges * channels,)`, multiplies."""
        return self.on(Source(x, self.edges), scale, training)

    def on(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Applies the operation like `call`; operations that read the same `source` share its views."""
        y = self.apply(source, scale, training)
        if self.gives_phases(source):
            y = functional.from_phases(y)
        if not self.shared:
            return y
        y = y if y.shape[-1] == self.edges * self.channels else source.wide(y)
        return y if scale is None else y * tf.cast(scale, y.dtype)

    def gives_phases(self, source: Source) -> bool:
        """Returns whether `apply` gives phases (see `functional.to_phases`) instead of an image."""
        return self.in_phases and self.stride == 1 and source.even

    def macs(self, height: int, width: int) -> int:
        """Returns the multiply-adds of the convolutions for one image whose output is `(height, width)` pixels."""
        kernels = [v for v in self.trainable_variables if len(v.shape) == 4]
        return height * width * sum(math.prod(v.shape) for v in kernels)

    def kernel(
        self, name: str, height: int, width: int, inputs: int, outputs: int, fan_in: float | None = None
    ) -> keras.Variable:
        """Adds a convolution kernel."""
        fan_in = fan_in or height * width * inputs
        return self.add_weight(shape=(height, width, inputs, outputs), initializer=uniform(fan_in), name=name)

    def depthwise_kernel(self, name: str, size: int) -> keras.Variable:
        """Adds a depthwise kernel `(size, size, edges * channels, 1)`."""
        return self.kernel(name, size, size, self.edges * self.channels, 1, fan_in=size * size)

    def pointwise_kernel(self, name: str) -> keras.Variable:
        """Adds the 1x1 kernels of all edges, `(1, 1, channels, edges * channels)`."""
        return self.kernel(name, 1, 1, self.channels, self.edges * self.channels)

    def norm(self) -> BatchNorm:
        """Returns a batch norm over all edges."""
        return BatchNorm(self.edges * self.channels, self.affine)


class Zero(Operation):
    """`none`: no connection. A mixed operation skips it; its mixing weight still takes part in the softmax."""

    shared = True

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Returns zeros."""
        return tf.zeros_like(source.x[:, :: self.stride, :: self.stride])


class Pool(Operation):
    """3x3 pooling; in the search a batch norm without gamma and beta follows, in derived networks nothing does."""

    shared = True
    pool: Callable

    def make(self) -> None:
        """Creates the norm of the search."""
        self.bn = None if self.affine else BatchNorm(self.channels, affine=False, repeats=self.edges)

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Pools; the result is as wide as `channels`, or in inference as all edges."""
        y = type(self).pool(source.x, self.stride)
        return y if self.bn is None else self.bn(y, training=training)


class MaxPool(Pool):
    """`max_pool_3x3`."""

    pool = staticmethod(functional.max_pool)


class AvgPool(Pool):
    """`avg_pool_3x3`: padding is not counted."""

    pool = staticmethod(functional.avg_pool)


class Identity(Operation):
    """`skip_connect` at stride 1."""

    shared = True

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Returns the source's tensor."""
        return source.x


class FactorizedReduce(Operation):
    """`skip_connect` at stride 2: ReLU, two 1x1 convolutions at stride 2, the second shifted by one pixel, batch norm.

    Together they are one 2x2 convolution with two zero taps, which needs neither a slice nor a concatenation. Odd
    sizes, which the original refuses, are padded by one row or column of zeros at the bottom and right.

    Args:
        channels: Output channels of each edge, even.
        inputs: Input channels; `channels` by default.

    Raises:
        UserError: `channels` is odd.
    """

    folds = {"bn": ("conv_1", "conv_2")}

    def __init__(
        self,
        channels: int,
        stride: int = 2,
        edges: int = 1,
        affine: bool = False,
        inputs: int | None = None,
        **kwargs: Any,
    ):
        self.inputs = inputs or channels
        super().__init__(even_channels(channels), stride, edges, affine, **kwargs)

    def make(self) -> None:
        """Creates the two kernels and the norm."""
        half = self.edges * self.channels // 2
        self.conv_1 = self.kernel("conv_1", 1, 1, self.inputs, half)
        self.conv_2 = self.kernel("conv_2", 1, 1, self.inputs, half)
        self.bn = self.norm()

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Halves the resolution."""
        x = source.relu
        if not source.even:
            x = tf.pad(x, [[0, 0], [0, x.shape[1] % 2], [0, x.shape[2] % 2], [0, 0]])
        half = self.channels // 2
        shape = (1, 1, self.inputs, self.edges, half)
        first = tf.pad(tf.reshape(self.conv_1.value, shape), [[0, 1], [0, 1], [0, 0], [0, 0], [0, half]])
        second = tf.pad(tf.reshape(self.conv_2.value, shape), [[1, 0], [1, 0], [0, 0], [0, 0], [half, 0]])
        kernel = tf.reshape(first + second, (2, 2, self.inputs, self.edges * self.channels))
        return self.bn(tf.nn.conv2d(x, tf.cast(kernel, x.dtype), 2, "VALID"), scale, training=training)


class ReLUConvBN(Operation):
    """ReLU, 1x1 convolution, batch norm: brings a cell's input to the cell's channels.

    Args:
        channels: Output channels.
        inputs: Input channels.
    """

    folds = {"bn": ("conv",)}

    def __init__(self, channels: int, affine: bool = False, inputs: int | None = None, **kwargs: Any):
        self.inputs = inputs or channels
        super().__init__(channels, 1, 1, affine, **kwargs)

    def make(self) -> None:
        """Creates the kernel and the norm."""
        self.conv = self.kernel("conv", 1, 1, self.inputs, self.channels)
        self.bn = self.norm()

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Mixes channels."""
        kernel = tf.cast(self.conv.value, source.x.dtype)
        return self.bn(functional.pointwise(source.relu, kernel), scale, training=training)


class Noise(Operation):
    """`noise`: standard normal numbers in place of the source, at stride 2 of half its size.

    They are a function of the pass's `seed` and of the operation's number in its network: new ones in each step, the
    same in all of its passes on a batch.

    Deviation: the original draws anew in every pass, including evaluation. Outside of steps there is a single draw
    here, the same for every image, so that evaluated and exported networks are functions of their images.

    Attributes:
        number: Number of this operation among the random ones of its network, see `ConvModel.number_draws`.

    Source: `NoiseOp` in `src/operations.py` of automl/RobustDARTS.
    """

    draws, number = True, 0

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Returns the numbers, different for each edge."""
        x = source.x[:, :: self.stride, :: self.stride]
        size = x.shape[0] or tf.shape(x)[0]
        y = self.drawn((size, *x.shape[1:3], self.edges * self.channels), x)
        return y if scale is None else y * tf.cast(scale, y.dtype)

    def drawn(self, shape: tuple, like: tf.Tensor) -> tf.Tensor:
        """Returns normal numbers `(N, H', W', edges * C)` in the dtype of a tensor."""
        wide = tf.float64 if like.dtype == tf.float64 else tf.float32
        if (seed := now().seed) is None:
            fixed = np.random.default_rng(self.number).standard_normal(shape[1:])
            return tf.zeros_like(like[..., :1]) + tf.constant(fixed, like.dtype)
        seed = tf.random.experimental.stateless_fold_in(seed, self.number)
        return tf.cast(tf.random.stateless_normal(shape, seed, dtype=wide), like.dtype)


class SepConv(Operation):
    """`sep_conv_k`: twice (ReLU, depthwise kxk, 1x1, batch norm); the first half has the stride."""

    size = 3
    folds = {"bn_1": ("pointwise_1",), "bn_2": ("pointwise_2",)}

    def make(self) -> None:
        """Creates both halves."""
        self.depthwise_1 = self.depthwise_kernel("depthwise_1", self.size)
        self.pointwise_1 = self.pointwise_kernel("p1")
        self.bn_1 = self.norm()
        self.depthwise_2 = self.depthwise_kernel("depthwise_2", self.size)
        self.pointwise_2 = self.pointwise_kernel("p2")
        self.bn_2 = self.norm()

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Convolves."""
        x, dtype = source.relu_wide, source.x.dtype
        x = functional.depthwise(x, tf.cast(self.depthwise_1.value, dtype), self.stride)
        x = functional.grouped_conv(x, tf.cast(self.pointwise_1.value, dtype), self.edges)
        x = tf.nn.relu(self.bn_1(x, training=training))
        x = functional.depthwise(x, tf.cast(self.depthwise_2.value, dtype))
        x = functional.grouped_conv(x, tf.cast(self.pointwise_2.value, dtype), self.edges)
        return self.bn_2(x, scale, training=training)


class SepConv5(SepConv):
    """`sep_conv_5x5`."""

    size = 5


class SepConv7(SepConv):
    """`sep_conv_7x7`, of NASNet and AmoebaNet."""

    size = 7


class DilConv(Operation):
    """`dil_conv_k`: ReLU, depthwise kxk with dilation 2, 1x1, batch norm.

    At stride 1 and even sizes it works on the four phases of the image, where the dilation is one; at stride 2
    dilation 2 is exactly an undilated convolution of every second pixel. Odd sizes dilate in the convolution itself.
    """

    size = 3
    in_phases = True
    folds = {"bn": ("pointwise",)}

    def make(self) -> None:
        """Creates the kernels and the norm."""
        self.depthwise = self.depthwise_kernel("depthwise", self.size)
        self.pointwise = self.pointwise_kernel("pointwise")
        self.bn = self.norm()

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Convolves."""
        kernel = tf.cast(self.depthwise.value, source.x.dtype)
        if self.stride == 2:
            x = functional.depthwise(source.relu_halved, kernel)
        elif source.even:
            x = functional.depthwise(source.relu_phases, kernel)
        else:
            x = functional.depthwise(source.relu_wide, kernel, dilation=2)
        x = functional.grouped_conv(x, tf.cast(self.pointwise.value, x.dtype), self.edges)
        return self.bn(x, scale, training=training)


class DilConv5(DilConv):
    """`dil_conv_5x5`."""

    size = 5


class Conv7x1(Operation):
    """`conv_7x1_1x7`, of AmoebaNet and NASNet: ReLU, 1x7 (stride on the width), 7x1 (on the height), batch norm."""

    folds = {"bn": ("conv_7x1",)}

    def make(self) -> None:
        """Creates the kernels and the norm."""
        wide = self.edges * self.channels
        self.conv_1x7 = self.kernel("conv_1x7", 1, 7, self.channels, wide)
        self.conv_7x1 = self.kernel("conv_7x1", 7, 1, self.channels, wide)
        self.bn = self.norm()

    def macs(self, height: int, width: int) -> int:
        """Returns the multiply-adds; the first convolution keeps the height (an even one is assumed at stride 2)."""
        first = self.stride * height * width * math.prod(self.conv_1x7.shape)
        return first + height * width * math.prod(self.conv_7x1.shape)

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Convolves."""
        s, dtype = self.stride, source.x.dtype
        first = [[0, 0], [0, 0], [3, 3], [0, 0]]
        x = tf.nn.conv2d(source.relu, tf.cast(self.conv_1x7.value, dtype), [1, s], first)
        second = [[0, 0], [3, 3], [0, 0], [0, 0]]
        x = functional.grouped_conv(x, tf.cast(self.conv_7x1.value, dtype), self.edges, [s, 1], second)
        return self.bn(x, scale, training=training)


class PerEdge(Operation):
    """A custom operation: one copy for each edge, each followed by a batch norm in the search.

    Args:
        make_layer: `(channels, stride) -> layer or function`, from `(N, H, W, C)` to
            `(N, ceil(H/stride), ceil(W/stride), C)`.
    """

    def __init__(
        self, make_layer: Callable, channels: int, stride: int = 1, edges: int = 1, affine: bool = False, **kwargs: Any
    ):
        self.make_layer = make_layer
        super().__init__(channels, stride, edges, affine, **kwargs)

    def make(self) -> None:
        """Makes the copies, and calls each once, which creates the weights of Keras layers."""
        self.copies = [self.make_layer(self.channels, self.stride) for _ in range(self.edges)]
        for copy in self.copies:
            self._run(copy, tf.zeros((1, 6, 7, self.channels), keras.config.floatx()), False)
            if isinstance(copy, keras.layers.Layer) and copy.non_trainable_variables:
                raise UserError(
                    "A custom operation must have no state other than its weights: the search adds a batch norm, and "
                    f"dropout is not supported. Received: {some_of(v.path for v in copy.non_trainable_variables)}."
                )
        self.bn = None if self.affine else BatchNorm(self.edges * self.channels, affine=False)

    def _run(self, copy, x, training):
        trains = isinstance(copy, keras.layers.Layer) and copy._call_has_training_arg
        y = copy(x, training=training) if trains else copy(x)
        expected = (*(-(-size // self.stride) for size in x.shape[1:3]), self.channels)
        if tuple(y.shape[1:]) != expected:
            raise UserError(
                f"An operation must keep the channels and divide the size by its stride, rounding up. Expected: "
                f"{expected} from {tuple(x.shape[1:])} at stride {self.stride}. Received: {tuple(y.shape[1:])}."
            )
        return tf.cast(y, x.dtype)  # a Keras layer computes in the dtype of its own policy

    def apply(self, source: Source, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Applies every edge's copy."""
        x = tf.concat([self._run(copy, source.x, training) for copy in self.copies], -1)
        if self.bn is not None:
            return self.bn(x, scale, training=training)
        return x if scale is None else x * tf.cast(scale, x.dtype)


def _skip(channels, stride=1, edges=1, affine=False):
    make = Identity if stride == 1 else FactorizedReduce
    return make(channels, stride, edges, affine)


# Name -> (channels, stride, edges, affine) -> Operation.
OPERATIONS = {
    "none": Zero,
    "max_pool_3x3": MaxPool,
    "avg_pool_3x3": AvgPool,
    "skip_connect": _skip,
    "sep_conv_3x3": SepConv,
    "sep_conv_5x5": SepConv5,
    "sep_conv_7x7": SepConv7,
    "dil_conv_3x3": DilConv,
    "dil_conv_5x5": DilConv5,
    "conv_7x1_1x7": Conv7x1,
    "noise": Noise,
}


def add_operation(name: str, make_layer: Callable) -> None:
    """Adds a custom operation under a name that primitives and genotypes may then use.

    Args:
        name: A new name.
        make_layer: `(channels, stride) -> layer or function` that maps `(N, H, W, C)` to
            `(N, ceil(H/stride), ceil(W/stride), C)`. In the search each edge gets its own, followed by a batch norm.

    Raises:
        UserError: The name is taken.

    Example:
        >>> import darts_tf, keras
        >>> def conv_3x3(channels, stride):
        ...     return keras.layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)
        >>> darts_tf.add_operation("conv_3x3", conv_3x3)
        >>> darts_tf.SearchConfig(primitives=("none", "skip_connect", "conv_3x3")).primitives
        ('none', 'skip_connect', 'conv_3x3')
    """
    if name in OPERATIONS:
        raise UserError(f"An operation with that name exists. Expected a new name. Received: {name!r}.")
    OPERATIONS[name] = functools.partial(PerEdge, make_layer)
