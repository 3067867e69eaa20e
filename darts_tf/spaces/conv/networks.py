"""The convolutional supernet, and the parts that it shares with derived networks."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from darts_tf.system.keras_settings import of_one_type
from darts_tf.genotypes import CONV_PRIMITIVES, ConvGenotype
from darts_tf.passes.context import within
from darts_tf.passes.precision import narrowed
from darts_tf.spaces.candidates import arrays_of, check_nodes, check_primitives, softmax
from darts_tf.spaces.conv.cells import SearchCell, cell_kind
from darts_tf.spaces.conv.draws import draw_drop_factors, unpacked
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.conv.norm import BatchNorm, call_cell, moving_average
from darts_tf.spaces.conv.operations import OPERATIONS, uniform
from darts_tf.spaces.network import Network
from darts_tf.system.errors import UserError
from darts_tf.system.types import Tensors


def reduction_cells(num_cells: int) -> tuple[int, int]:
    """Returns the cells that halve the resolution and double the channels: at one and two thirds."""
    return num_cells // 3, 2 * num_cells // 3


def check_sizes(network: str, num_classes: int, num_cells: int) -> None:
    """Raises UserError unless there are at least two classes and three cells; `network` is its name in the message."""
    if num_classes < 2:
        raise UserError(f"A classifier needs at least 2 classes. Received: num_classes={num_classes}.")
    if num_cells < 3:
        raise UserError(
            f"{network} needs at least 3 cells, for its two reductions at one and two thirds. "
            f"Received: num_cells={num_cells}."
        )


def classify(x: tf.Tensor, kernel: keras.Variable, bias: keras.Variable) -> dict:
    """Averages over positions and classifies, in the dtype of the weights.

    Args:
        x: `(N, H, W, C)`.
        kernel: `(C, classes)`, a variable.
        bias: `(classes,)`, a variable.

    Returns:
        `pooled`, `(N, C)`, and `logits`, `(N, classes)`.
    """
    pooled = tf.reduce_mean(tf.cast(x, bias.dtype), (1, 2))
    return {"pooled": pooled, "logits": tf.matmul(pooled, kernel.value) + bias.value}


class ConvModel(Network):
    """What training and Keras require of a network of images.

    Training requires it to run on given weights, and to return its statistics instead of writing them.

    Attributes:
        image_shape: `(height, width, channels)`.
        num_classes: Number of classes.
        classifier: The linear classifier's weights; None in a network without one, like its `bias`.
        cells: Its layers, each with `drops`: how many rows of drop path factors it takes.
        draws: If true, its inputs in a step include keys, see `draw_keys`.
        downscaling: How many pixels of an image become one at the end.
    """

    cells: list
    downscaling = 4

    def build(self, input_shape: tuple) -> None:
        """Has Keras check inputs: at an image without its batch, TensorFlow may end Python."""
        super().build(input_shape)
        self.input_spec = keras.InputSpec(ndim=4, axes={-1: self.image_shape[-1]})

    def make_classifier(self, features: int) -> None:
        """Creates the linear classifier on the last cell's channels."""
        start = uniform(features)
        self.classifier = self.add_weight(shape=(features, self.num_classes), initializer=start, name="classifier")
        self.bias = self.add_weight(shape=(self.num_classes,), initializer=start, name="bias")

    def classified(self, x: tf.Tensor) -> dict:
        """Returns the last stages' outputs by name, see `classify`."""
        return classify(x, self.classifier, self.bias)

    def number_draws(self) -> None:
        """Numbers the random operations, so that no two of them draw the same."""
        drawing = [layer for layer in self._flatten_layers(include_self=False) if getattr(layer, "draws", False)]
        for number, layer in enumerate(drawing):
            layer.number = number
        self.draws = bool(drawing)

    @property
    def known_input(self) -> keras.InputSpec:
        """See `Network`."""
        return keras.InputSpec(shape=(None, *self.image_shape), dtype=self.compute_dtype)

    def compute_output_shape(self, images_shape: tuple) -> tuple:
        """Returns the shape of the logits."""
        return (images_shape[0], self.num_classes)

    @property
    def state_variables(self) -> list:
        """The batch norms' moving statistics."""
        return self.non_trainable_variables

    def drop_factors(self, batch_size: Any, probability: Any, seed: tf.Tensor) -> tf.Tensor:
        """Draws the drop path factors of all cells, see `draw_drop_factors`.

        Returns:
            `(rows, N)`: cell after cell, its `drops` rows. In a supernet these are its mixed edges, in a derived
            network its operations that may be dropped.

        Deviation: RobustDARTS draws anew in every pass of a search; here the passes of a step on a batch share them.
        """
        rows = sum(cell.drops for cell in self.cells)
        return draw_drop_factors(rows, batch_size, probability, seed, self.compute_dtype)

    def with_drops(self, drop: tf.Tensor | None) -> Iterable:
        """Returns each cell with its rows of `drop_factors`, or None."""
        if drop is None:
            return zip(self.cells, itertools.repeat(None))
        return zip(self.cells, tf.split(drop, [cell.drops for cell in self.cells]), strict=True)

    def stateless(self, weights: Tensors, mixing: Any, inputs: Any, training: bool = True) -> tuple[Any, list]:
        """Runs the network on given weights; no variable is written, and in training mode none is read.

        A sparse pass reads the moving statistics of the operations that it leaves out, which it returns as the batch's.

        Args:
            weights: Tensors in the order of `weight_variables`.
            mixing: The mixing weights of each kind of cell, by the names of `alphas`; none in a derived network.
            inputs: As the network's `outputs_of` takes them: images `(N, H, W, channels)`, or more.
            training: Whether batch norms use their batch's statistics, rather than their moving ones.

        Returns:
            `(outputs, statistics)`: the result of `outputs_of`, and the batch's mean or variance for each of
            `state_variables`; no statistics outside of training mode.
        """
        mapping = list(zip(self.weight_variables, weights, strict=True))
        statistics: dict[int, tf.Tensor] = {}
        with keras.StatelessScope(state_mapping=mapping), within(statistics=statistics):
            if training:
                outputs = self.outputs_of(inputs, mixing)
            else:
                outputs = self(inputs[0] if isinstance(inputs, tuple) else inputs, mixing=mixing)
        return outputs, [statistics[id(v)] for v in self.state_variables] if training else []

    def moved_state(self, state: Tensors, statistics: Tensors) -> list:
        """Returns the moving statistics one batch later; both arguments are in the order of `state_variables`."""
        return [moving_average(moving, batch) for moving, batch in zip(state, statistics, strict=True)]


class Supernet(ConvModel):
    """What supernets of images share; a subclass has `alphas`, and `activations` with mixing weights and drop."""

    def call(self, images: tf.Tensor, training: bool = False, mixing: Any = None) -> tf.Tensor:
        """Returns the logits `(N, num_classes)` of images `(N, H, W, channels)`."""
        return self.activations(images, training, mixing)["logits"]

    def outputs_of(self, inputs: Any, mixing: Any) -> tf.Tensor:
        """Returns the logits in training mode for inputs as `unpacked` takes them."""
        images, drop, seed = unpacked(inputs)
        with within(seed=seed):
            return self.activations(images, True, mixing, drop)["logits"]


@keras.saving.register_keras_serializable(package="darts_tf")
class ConvSupernet(Supernet):
    """The network in which every edge holds all candidate operations, mixed by weights computed from the alphas.

    Stem, `num_cells` search cells, global average pooling, a linear classifier. All normal cells share one alpha, all
    reduction cells another, each `(num_edges, num_primitives)`. Without mixing weights it uses softmax(alpha).

    Args:
        num_classes: Number of classes, at least 2.
        image_shape: `(height, width, channels)`; any size, including odd ones.
        init_channels: Channels C of the first cells.
        num_cells: Number of cells, at least 3.
        num_nodes: Intermediate nodes of a cell.
        concat: How many of the last nodes make up a cell's output; 0 for all.
        stem_multiplier: The stem has this times C channels.
        primitives: Names in `operations.OPERATIONS`.
        alpha_init: `"normal"` (the original's code) or `"zeros"` (the paper's text).
        alpha_init_scale: Standard deviation of the normal initial values.
        mixed_op: Makes the mixed operation of a state, called like `MixedOp`.
        allowed: By cell `(num_edges, num_primitives)`, which operations each edge may have; None for all.

    Attributes:
        alphas: The logits by the genotype's name for the kind of cell, `normal` or `reduce`.

    Raises:
        UserError: A bad size, or an unknown primitive.

    Source: `cnn/model_search.py` of the original.
    """

    @of_one_type
    def __init__(
        self,
        num_classes: int = 10,
        image_shape: Sequence[int] = (32, 32, 3),
        init_channels: int = 16,
        num_cells: int = 8,
        num_nodes: int = 4,
        concat: int = 0,
        stem_multiplier: int = 3,
        primitives: Sequence[str] = CONV_PRIMITIVES,
        alpha_init: str = "normal",
        alpha_init_scale: float = 1e-3,
        mixed_op: Callable = MixedOp,
        allowed: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_sizes("The supernet", num_classes, num_cells)
        check_nodes(num_nodes, concat)
        check_primitives(primitives, OPERATIONS)
        concat = concat or num_nodes
        self.num_classes, self.image_shape = num_classes, tuple(image_shape)
        self.init_channels, self.num_cells, self.stem_multiplier = init_channels, num_cells, stem_multiplier
        self.num_nodes, self.concat, self.primitives = num_nodes, concat, tuple(primitives)
        self.allowed = arrays_of(allowed)
        stem_channels = stem_multiplier * init_channels
        self.stem = self.add_weight(
            shape=(3, 3, image_shape[-1], stem_channels), initializer=uniform(9 * image_shape[-1]), name="stem"
        )
        self.stem_bn = BatchNorm(stem_channels, affine=True)
        topology = ConvGenotype.topology(num_nodes)
        self.cells, widths, channels, reduction = [], (stem_channels, stem_channels), init_channels, False
        for index in range(num_cells):
            after_reduction, reduction = reduction, index in reduction_cells(num_cells)
            channels *= 2 if reduction else 1
            sizes = widths, channels, reduction, after_reduction
            own: dict[str, Any] = {
                "mixed_op": mixed_op,
                "allowed": self.allowed.get(cell_kind(reduction)),
                "name": f"cell{index}",
            }
            self.cells.append(SearchCell(*sizes, topology, concat, self.primitives, **own))
            widths = (widths[1], concat * channels)
        self.make_classifier(widths[1])
        names = {cell: f"alphas_{cell}" for cell in ConvGenotype.cells}
        self.make_alphas(names, (topology.num_edges, len(self.primitives)), alpha_init, alpha_init_scale)
        self.number_draws()
        self.build((None, *self.image_shape))

    def activations(self, images: tf.Tensor, training: bool = False, mixing: Any = None, drop: Any = None) -> dict:
        """Returns every stage's output by name: `stem`, `cell0` ..., `pooled`, `logits`."""
        if mixing is None:
            mixing = softmax(self.alphas, self.allowed)
        images = narrowed(images)
        stem = tf.nn.conv2d(images, tf.cast(self.stem.value, images.dtype), 1, [[0, 0], [1, 1], [1, 1], [0, 0]])
        s0 = s1 = self.stem_bn(stem, training=training)
        stages = {"stem": s1}
        for index, (cell, rows) in enumerate(self.with_drops(drop)):
            weights = mixing[cell_kind(cell.reduction)]
            s0, s1 = s1, call_cell(cell, s0, s1, weights, training=training, drop=rows)
            stages[f"cell{index}"] = s1
        return stages | self.classified(s1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = ("num_classes", "init_channels", "num_cells", "num_nodes", "concat", "stem_multiplier")
        own = {name: getattr(self, name) for name in (*names, "alpha_init", "alpha_init_scale")}
        own |= {"image_shape": list(self.image_shape), "primitives": list(self.primitives)}
        own |= {"allowed": {cell: each.tolist() for cell, each in self.allowed.items()}}
        return {**super().get_config(), **own}
