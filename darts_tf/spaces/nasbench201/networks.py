"""The networks of NAS-Bench-201: the supernet, and the network of one cell."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from darts_tf.system.keras_settings import of_one_type
from darts_tf import genotypes
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, NasBench201Genotype
from darts_tf.passes.precision import narrowed
from darts_tf.spaces.candidates import arrays_of, softmax
from darts_tf.spaces.conv.derived import ConvBN, Derived
from darts_tf.spaces.conv.fitted import Classifier
from darts_tf.spaces.conv.networks import ConvModel, Supernet, check_sizes, reduction_cells
from darts_tf.spaces.conv.norm import BatchNorm, call_cell
from darts_tf.spaces.nasbench201.cells import TOPOLOGY, Cell, ResidualBlock, SearchCell
from darts_tf.spaces.nasbench201.operations import NasBench201MixedOp

CELL = NasBench201Genotype.kind  # name of the alphas of its one kind of cell


class NasBench201Model(ConvModel):
    """What both networks share: stem, cells, two residual blocks, batch norm, ReLU, average pooling, classifier.

    The blocks stand where other image networks have their reduction cells, at one and two thirds of the depth: 17 cells
    are the benchmark's three stages of five with two blocks between them.

    Args:
        num_classes: Number of classes, at least 2.
        image_shape: `(height, width, channels)`.
        init_channels: Channels C of the stem and the first cells; each block doubles them.
        num_cells: Number of cells, at least 3, including the two blocks.

    Raises:
        UserError: A bad size.
    """

    def make_layers(
        self, num_classes: int, image_shape: Sequence[int], init_channels: int, num_cells: int, make_cell: Callable
    ) -> None:
        """Creates the layers; `make_cell` is called with the channels of each cell, and its name."""
        check_sizes("The network", num_classes, num_cells)
        self.num_classes, self.image_shape = num_classes, tuple(image_shape)
        self.init_channels, self.num_cells = init_channels, num_cells
        self.stem = ConvBN(image_shape[-1], init_channels, 3)
        self.cells, channels = [], init_channels
        for index in range(num_cells):
            if index in reduction_cells(num_cells):
                self.cells.append(ResidualBlock(channels, 2 * channels, name=f"cell{index}"))
                channels *= 2
            else:
                self.cells.append(make_cell(channels, name=f"cell{index}"))
        self.last_bn = BatchNorm(channels, affine=True)
        self.make_classifier(channels)

    def run(self, images: tf.Tensor, training: bool, weights: Any = None, drop: Any = None) -> dict:
        """Returns every stage's output by name: `stem`, `cell0` ..., `pooled`, `logits`.

        Args:
            images: `(N, H, W, channels)`.
            training: Whether batch norms use their batch's statistics.
            weights: Mixing weights of the search cells, `(6, num_primitives)`.
            drop: What `drop_factors` returns, or None.
        """
        x = self.stem(narrowed(images), training=training)
        stages = {"stem": x}
        for index, (cell, rows) in enumerate(self.with_drops(drop)):
            if isinstance(cell, SearchCell):
                x = call_cell(cell, x, weights, training=training, drop=rows)
            else:
                x = call_cell(cell, x, training=training)
            stages[f"cell{index}"] = x
        x = tf.nn.relu(self.last_bn(x, training=training))
        return stages | self.classified(x)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in ("num_classes", "init_channels", "num_cells")}
        return {**super().get_config(), **own, "image_shape": list(self.image_shape)}


@keras.saving.register_keras_serializable(package="darts_tf")
class NasBench201Supernet(Supernet, NasBench201Model):
    """The network in which every edge holds all candidate operations, mixed by weights computed from the alphas.

    All cells share one alpha, `(6, num_primitives)`. Without mixing weights it uses softmax(alpha).

    Args:
        num_classes: See `NasBench201Model`.
        image_shape: See `NasBench201Model`.
        init_channels: See `NasBench201Model`.
        num_cells: See `NasBench201Model`.
        primitives: Names in `operations.OPERATIONS`.
        alpha_init: `"normal"`, as in the original, or `"zeros"`.
        alpha_init_scale: Standard deviation of the normal initial values.
        mixed_op: Makes the mixed operation of a state, called like `MixedOp`.
        allowed: By cell, see `conv.networks.ConvSupernet`.

    Attributes:
        alphas: The logits, by the name `nasbench201`.

    Source: `TinyNetworkDarts` in `models/cell_searchs/search_model_darts.py` of AutoDL-Projects.
    """

    @of_one_type
    def __init__(
        self,
        num_classes: int = 10,
        image_shape: Sequence[int] = (32, 32, 3),
        init_channels: int = 16,
        num_cells: int = 17,
        primitives: Sequence[str] = NASBENCH201_PRIMITIVES,
        alpha_init: str = "normal",
        alpha_init_scale: float = 1e-3,
        mixed_op: Callable = NasBench201MixedOp,
        allowed: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.primitives, self.allowed = tuple(primitives), arrays_of(allowed)

        def make_cell(channels, name):
            return SearchCell(channels, self.primitives, mixed_op, self.allowed.get(CELL), name=name)

        self.make_layers(num_classes, image_shape, init_channels, num_cells, make_cell)
        self.make_alphas({CELL: "alphas"}, (TOPOLOGY.num_edges, len(self.primitives)), alpha_init, alpha_init_scale)
        self.number_draws()
        self.build((None, *self.image_shape))

    def activations(self, images: tf.Tensor, training: bool = False, mixing: Any = None, drop: Any = None) -> dict:
        """Returns every stage's output by name, see `NasBench201Model.run`."""
        weights = softmax(self.alphas, self.allowed)[CELL] if mixing is None else mixing[CELL]
        return self.run(images, training, weights, drop)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in ("alpha_init", "alpha_init_scale")}
        own |= {"allowed": {cell: each.tolist() for cell, each in self.allowed.items()}}
        return {**super().get_config(), **own, "primitives": list(self.primitives)}


@keras.saving.register_keras_serializable(package="darts_tf")
class NasBench201Network(Derived, NasBench201Model):
    """The network of one cell, as the benchmark trained it with 16 channels and 17 cells.

    It has no auxiliary head and no drop path.

    Args:
        genotype: A `NasBench201Genotype`, or anything that `genotypes.load` takes.
        num_classes: See `NasBench201Model`.
        image_shape: See `NasBench201Model`.
        init_channels: See `NasBench201Model`.
        num_cells: See `NasBench201Model`.

    Raises:
        UserError: A bad size, or a genotype of another space.

    Source: `TinyNetwork` in `models/cell_infers/tiny_network.py` of AutoDL-Projects.
    """

    @of_one_type
    def __init__(
        self,
        genotype: Any,
        num_classes: int = 10,
        image_shape: Sequence[int] = (32, 32, 3),
        init_channels: int = 16,
        num_cells: int = 17,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.genotype = genotypes.load(genotype, CELL)

        def make_cell(channels, name):
            return Cell(self.genotype, channels, name=name)

        self.make_layers(num_classes, image_shape, init_channels, num_cells, make_cell)
        self.build((None, *self.image_shape))

    def macs(self) -> int:
        """Returns one image's multiply-adds at `image_shape`: convolutions and the classifier with its bias."""
        return super().macs() + (0 if self.bias is None else self.num_classes)

    def activations(self, images: tf.Tensor, training: bool = False, drop: None = None) -> dict:
        """Returns every stage's output by name, see `NasBench201Model.run`."""
        return self.run(images, training)


@keras.saving.register_keras_serializable(package="darts_tf")
class FittedNasBench201Network(Classifier, NasBench201Network):
    """A `NasBench201Network` for `fit`, see `Classifier`."""
