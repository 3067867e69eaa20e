"""Networks built from a genotype, in one file because those for small images and for ImageNet differ in their stems."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from darts_tf.system.keras_settings import of_one_type
from darts_tf import genotypes
from darts_tf.passes.context import within
from darts_tf.passes.precision import narrowed
from darts_tf.spaces.conv.cells import Cell
from darts_tf.spaces.conv.draws import unpacked
from darts_tf.spaces.conv.folding import fold
from darts_tf.spaces.conv.networks import ConvModel, check_sizes, classify, reduction_cells
from darts_tf.spaces.conv.norm import BatchNorm, call_cell
from darts_tf.spaces.conv.operations import OPERATIONS, even_channels, uniform
from darts_tf.system.errors import UserError


class ConvBN(keras.layers.Layer):
    """A convolution without bias, padded by half its kernel unless given otherwise, and batch norm.

    Args:
        inputs: Input channels.
        channels: Output channels.
        size: Side of the kernel.
        stride: 1 or 2.
        pad: Pixels on every side; `size // 2` for None.
        normalised: Whether a batch norm follows.
    """

    folds = {"bn": ("conv",)}

    def __init__(
        self,
        inputs: int,
        channels: int,
        size: int,
        stride: int = 1,
        pad: int | None = None,
        normalised: bool = True,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.stride, self.pad = stride, size // 2 if pad is None else pad
        self.conv = self.add_weight(
            shape=(size, size, inputs, channels), initializer=uniform(size * size * inputs), name="conv"
        )
        self.bn = BatchNorm(channels, affine=True) if normalised else None
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Convolves `(N, H, W, inputs)`."""
        around = [[0, 0], [self.pad] * 2, [self.pad] * 2, [0, 0]]
        y = tf.nn.conv2d(x, tf.cast(self.conv.value, x.dtype), self.stride, around)
        return y if self.bn is None else self.bn(y, training=training)

    def macs(self, height: int, width: int) -> int:
        """Returns the multiply-adds for one image whose output is `(height, width)` pixels."""
        return height * width * math.prod(self.conv.shape)


class AuxiliaryHead(keras.layers.Layer):
    """A second classifier at two thirds of the depth, for training only, that helps gradients reach the early cells.

    ReLU, average pooling to 2x2 (5x5 at stride 3 from 8x8, at stride 2 from 7x7), 1x1 convolution to 128 channels, 2x2
    convolution to 768, linear classifier. In the ImageNet network no batch norm follows the second convolution: the
    original's authors noticed this after their runs and left it unchanged.

    Deviation: any size works. Smaller inputs get the pooling that leads to 2x2; of larger ones, where more than one
    position is left after the second convolution, the classifier takes the mean. The original has no shape for these.

    Args:
        inputs: Output channels of the cell that it reads.
        num_classes: Number of classes.
        stride: Stride of the pooling: 3, or 2 for ImageNet.

    Source: `AuxiliaryHeadCIFAR` and `AuxiliaryHeadImageNet` in `cnn/model.py`.
    """

    def __init__(self, inputs: int, num_classes: int, stride: int = 3, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.stride = stride
        self.conv_1 = ConvBN(inputs, 128, 1)
        self.conv_2 = ConvBN(128, 768, 2, pad=0, normalised=stride == 3)
        self.classifier = self.add_weight(shape=(768, num_classes), initializer=uniform(768), name="classifier")
        self.bias = self.add_weight(shape=(num_classes,), initializer=uniform(768), name="bias")
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns logits `(N, num_classes)` of a cell's output `(N, H, W, inputs)`."""
        sizes, strides = zip(*(self._window(size) for size in x.shape[1:3]), strict=True)
        x = tf.nn.avg_pool2d(tf.nn.relu(x), sizes, strides, "VALID")
        x = tf.nn.relu(self.conv_1(x, training=training))
        missing = [[0, max(0, 2 - size)] for size in x.shape[1:3]]  # pads an input of a single row or column to two
        x = tf.nn.relu(self.conv_2(tf.pad(x, [[0, 0], *missing, [0, 0]]), training=training))
        return classify(x, self.classifier, self.bias)["logits"]

    def _window(self, size):
        """Returns `(size, stride)` of the pooling along an axis."""
        if size >= 5 + self.stride:
            return 5, self.stride
        return (1, 1) if size == 1 else (-(-size // 2), size // 2)


class Derived(ConvModel):
    """What derived networks of images share; a subclass has `activations` with drop.

    Attributes:
        genotype: Its cells.
        auxiliary_head: The auxiliary head; None in a network without one.
    """

    genotype: Any
    auxiliary_head: Any = None

    @property
    def parameters(self) -> int:
        """Number of weights, including batch norms but not the auxiliary head, as papers count them."""
        head = self.auxiliary_head.trainable_variables if self.auxiliary_head else []
        return sum(math.prod(v.shape) for v in self.trainable_variables) - sum(math.prod(v.shape) for v in head)

    def macs(self) -> int:
        """Returns one image's multiply-adds at `image_shape`: convolutions and the classifier, in inference."""
        total, size = self.stem_macs()
        for cell in self.cells:
            count, size = cell.macs(*size)
            total += count
        return total + (0 if self.classifier is None else math.prod(self.classifier.shape))

    def stem_macs(self) -> tuple[int, tuple]:
        """Returns the multiply-adds of the stem, here one convolution, and `(height, width)` of its output."""
        size = self.image_shape[:2]
        return self.stem.macs(*size), size

    def call(self, images: tf.Tensor, training: bool = False, drop: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the logits `(N, num_classes)` of images `(N, H, W, channels)`; `drop` comes from `drop_factors`."""
        return self.activations(images, training, drop)["logits"]

    def outputs_of(self, inputs: Any, mixing: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns `(logits, auxiliary logits or None)` in training mode for inputs as `unpacked` takes them."""
        images, drop, seed = unpacked(inputs)
        with within(seed=seed):
            stages = self.activations(images, True, drop)
        return stages["logits"], stages.get("auxiliary_logits")

    def folded(self) -> Self:
        """Returns a copy for inference, with batch norms folded into the convolutions before them."""
        return fold(self)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "genotype": self.genotype.to_json()}


class DerivedNetwork(Derived):
    """What both networks share: stem, cells, global average pooling, a linear classifier, the auxiliary head.

    The cells at one and two thirds of the depth are reduction cells, which halve the size and double the channels. A
    subclass has the stem, with two outputs for the first cell: `make_stem` and `stem_outputs`.

    Args:
        genotype: A `ConvGenotype`, or anything that `genotype.load` takes.
        num_classes: Number of classes, at least 2.
        image_shape: `(height, width, channels)`; any size, including odd ones.
        init_channels: Channels C of the first cells.
        num_cells: Number of cells, at least 3.
        auxiliary: Whether to build the auxiliary head; inference does not use it.

    Raises:
        UserError: A bad size, a recurrent genotype, or an operation that does not exist.
    """

    auxiliary_stride = 3
    reduction_before = False  # whether the stem's two outputs differ in size
    smallest = 4  # pixels that the cells' two reductions reduce to one

    @of_one_type
    def __init__(
        self,
        genotype: Any,
        num_classes: int = 10,
        image_shape: Sequence[int] = (32, 32, 3),
        init_channels: int = 36,
        num_cells: int = 20,
        auxiliary: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.genotype = genotypes.load(genotype, "conv")
        self.genotype.check_operations(OPERATIONS)
        self.num_classes, self.image_shape = num_classes, tuple(image_shape)
        self.init_channels, self.num_cells, self.auxiliary = init_channels, num_cells, auxiliary
        self._check()
        widths = self.make_stem(image_shape[-1], init_channels)
        channels, reduction = init_channels, self.reduction_before
        self.auxiliary_after = reduction_cells(num_cells)[1]
        self.cells, self.auxiliary_head = [], None
        for index in range(num_cells):
            after_reduction, reduction = reduction, index in reduction_cells(num_cells)
            channels *= 2 if reduction else 1
            cell = Cell(self.genotype, widths, channels, reduction, after_reduction, name=f"cell{index}")
            self.cells.append(cell)
            widths = (widths[1], len(cell.concat) * channels)
            if auxiliary and index == self.auxiliary_after:
                self.auxiliary_head = AuxiliaryHead(widths[1], num_classes, self.auxiliary_stride)
        self.make_classifier(widths[1])
        self.number_draws()
        self.build((None, *self.image_shape))

    def _check(self):
        check_sizes("A derived network", self.num_classes, self.num_cells)
        even_channels(self.init_channels)
        height, width, _ = self.image_shape
        if min(height, width) < self.smallest:
            raise UserError(
                f"The images are too small for the reductions of {type(self).__name__}: expected at least "
                f"{self.smallest} pixels per side. Received: {height}x{width}."
            )

    def activations(self, images: tf.Tensor, training: bool = False, drop: tf.Tensor | None = None) -> dict:
        """Returns every stage's output by name: `cell0` ..., `pooled`, `logits`; `auxiliary_logits` in training."""
        s0, s1 = self.stem_outputs(narrowed(images), training)
        stages = {}
        for index, (cell, rows) in enumerate(self.with_drops(drop)):
            s0, s1 = s1, call_cell(cell, s0, s1, training=training, drop=rows)
            stages[f"cell{index}"] = s1
            if training and self.auxiliary_head is not None and index == self.auxiliary_after:
                stages["auxiliary_logits"] = self.auxiliary_head(s1, training=training)
        return stages | self.classified(s1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in ("num_classes", "init_channels", "num_cells", "auxiliary")}
        return {**super().get_config(), "image_shape": list(self.image_shape), **own}


@keras.saving.register_keras_serializable(package="darts_tf")
class CifarNetwork(DerivedNetwork):
    """The derived network for small images: a stem of one convolution, which keeps the size. See `DerivedNetwork`.

    Source: `NetworkCIFAR` in `cnn/model.py`. Deviation: the auxiliary head does not apply ReLU to the cell's output in
    place, which in the original changes the training logits of networks of three cells.
    """

    def make_stem(self, inputs: int, channels: int) -> tuple[int, int]:
        """Creates the stem, with three times the channels of the first cells; returns the channels of its outputs."""
        self.stem = ConvBN(inputs, 3 * channels, 3)
        return 3 * channels, 3 * channels

    def stem_outputs(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the stem's output twice."""
        s = self.stem(images, training=training)
        return s, s


@keras.saving.register_keras_serializable(package="darts_tf")
class ImageNetNetwork(DerivedNetwork):
    """The derived network for photographs: its stems reduce the size to an eighth. See `DerivedNetwork`.

    Source: `NetworkImageNet` in `cnn/model.py`. Deviation: any size from 64 on; the original pools 7x7 at the end.
    """

    auxiliary_stride, downscaling = 2, 32
    reduction_before = True
    smallest = 64

    def __init__(
        self,
        genotype: Any,
        num_classes: int = 1000,
        image_shape: Sequence[int] = (224, 224, 3),
        init_channels: int = 48,
        num_cells: int = 14,
        auxiliary: bool = True,
        **kw: Any,
    ):
        super().__init__(genotype, num_classes, image_shape, init_channels, num_cells, auxiliary, **kw)

    def make_stem(self, inputs: int, channels: int) -> tuple[int, int]:
        """Creates both stems; returns the channels of their outputs."""
        self.stem0_1 = ConvBN(inputs, channels // 2, 3, stride=2)
        self.stem0_2 = ConvBN(channels // 2, channels, 3, stride=2)
        self.stem1 = ConvBN(channels, channels, 3, stride=2)
        return channels, channels

    def stem_outputs(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the outputs of both stems, at a quarter and at an eighth of the size."""
        s0 = self.stem0_2(tf.nn.relu(self.stem0_1(images, training=training)), training=training)
        return s0, self.stem1(tf.nn.relu(s0), training=training)

    def stem_macs(self) -> tuple[int, tuple]:
        """Returns the multiply-adds of both stems, and `(height, width)` of the second one's output."""
        sizes = [tuple(-(-size // divisor) for size in self.image_shape[:2]) for divisor in (2, 4, 8)]
        convolutions = (self.stem0_1, self.stem0_2, self.stem1)
        return sum(conv.macs(*size) for conv, size in zip(convolutions, sizes, strict=True)), sizes[-1]
