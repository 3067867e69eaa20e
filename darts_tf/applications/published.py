"""Makes the builder functions of published genotypes."""

from collections.abc import Callable, Sequence
from typing import Any

from darts_tf.system.keras_settings import keras
from darts_tf.applications.build import build
from darts_tf.applications.weights import load_weights
from darts_tf.genotypes.checks import is_integer
from darts_tf.system.errors import UserError
from darts_tf.system.types import Path

_DOCSTRING = """Builds the network of {about}; its weights have their initial values unless a file is given.

    It maps images `(N, height, width, channels)`, normalised as in training, to probabilities `(N, classes)`. See
    `darts_tf.build` for such networks and for the arguments that are not listed here.

    Args:
        input_shape: `(height, width, channels)` of the images. Below 96 pixels, the network is the one for CIFAR,
            otherwise the one for ImageNet.
        classes: Number of classes, at least 2; the papers' networks for ImageNet have 1000.
        weights: None, or a file: `.keras` (also those that `darts-train` writes), `.weights.h5`, or a state dict of the
            original code in PyTorch, `.pt` or `.pth` (if torch is installed) or `.npz`.
        channels: Channels of the first cells; the paper's if None.
        cells: Number of cells; the paper's if None.
        auxiliary: Whether to build the auxiliary head.
        auxiliary_weight: Weight of its loss.
        drop_path: Probability of drop path.
        classifier_activation: `"softmax"`, or None for logits.
        include_top: False for a network without a classifier; the weight file may have one.
        pooling: Pooling of the features without a classifier: None, `"avg"` or `"max"`.
        name: Name of the model.

    Raises:
        UserError: A size that does not fit, or weights that cannot be read or do not fit.

    Example:
        >>> import darts_tf
        >>> network = darts_tf.applications.{name}(input_shape=(8, 8, 3), classes=4, channels=4, cells=3)
        >>> network.name, network.compute_output_shape((None, 8, 8, 3))
        ('{name}', (None, 4))
    """


def named(genotype: str, about: str) -> Callable[..., keras.Model]:
    """Returns the function that builds the network of a published genotype.

    Args:
        genotype: Name of the genotype.
        about: Description, and where it was published.
    """

    def network(
        input_shape: Sequence[int] = (32, 32, 3),
        classes: int = 10,
        weights: Path | None = None,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
        auxiliary_weight: float = 0.4,
        drop_path: float = 0.0,
        classifier_activation: str | None = "softmax",
        include_top: bool = True,
        pooling: str | None = None,
        name: str | None = genotype,
    ) -> keras.Model:
        if not is_integer(classes) or classes < 2:
            raise UserError(f"classes must be an integer of at least 2. Received: {classes=!r}.")

        def built(num_classes: int | None, auxiliary: bool) -> Any:
            return build(
                genotype,
                input_shape,
                num_classes or classes,
                channels,
                cells,
                auxiliary=auxiliary,
                auxiliary_weight=auxiliary_weight,
                drop_path=drop_path,
                classifier_activation=classifier_activation,
                include_top=num_classes is not None,
                pooling=None if num_classes else pooling,
                name=name,
            )

        made = built(classes if include_top else None, auxiliary)
        if weights is not None:
            load_weights(made, weights, built)
        return made

    network.__name__ = network.__qualname__ = genotype
    network.__module__ = "darts_tf.applications"
    network.__doc__ = _DOCSTRING.format(about=about, name=genotype)
    return network
