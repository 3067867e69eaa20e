"""Builds the network of a genotype as a Keras model, of the kind and the sizes that are asked for."""

import os
from collections.abc import Sequence
from typing import Any

from darts_tf.system.keras_settings import keras
from darts_tf import genotypes
from darts_tf.genotypes import Genotype
from darts_tf.genotypes.checks import is_integer
from darts_tf.spaces.conv.fitted import FittedImageNetNetwork, FittedNetwork
from darts_tf.spaces.nasbench201.networks import FittedNasBench201Network
from darts_tf.system.errors import UserError, short, some_of

NETWORKS: dict[str, Any] = {
    "cifar": FittedNetwork,
    "imagenet": FittedImageNetNetwork,
    "nasbench201": FittedNasBench201Network,
}
CHOICES = {"conv": ("auto", "cifar", "imagenet"), "nasbench201": ("auto",)}
"""Kind of the genotype -> values of `network`."""
SIZES = {"cifar": (36, 20), "imagenet": (48, 14), "nasbench201": (16, 17)}
"""Channels and cells in the papers."""
PHOTOGRAPH = 96
"""Length of the shorter side, in pixels, from which images count as photographs."""


def build(
    genotype: str | os.PathLike | Genotype,
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    channels: int | None = None,
    cells: int | None = None,
    *,
    network: str = "auto",
    auxiliary: bool = False,
    auxiliary_weight: float = 0.4,
    drop_path: float = 0.0,
    classifier_activation: str | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds the network of a genotype of image cells: a Keras model with freshly initialised weights.

    It maps images `(N, height, width, channels)`, normalised as you like, to logits `(N, num_classes)`. Its `.keras`
    and `.weights.h5` files load after `import darts_tf`; custom operations in the genotype must be added first. It
    computes in Keras' floatx, float32 or float64, regardless of the global policy. `parameters` counts the weights as
    the papers do (without auxiliary head and moving statistics), `macs()` counts the multiply-adds of an image, and
    `activations(images)` returns the output of every stage by name.

    Args:
        genotype: A published name such as `"DARTS_V2"`, the path of a genotype file or of a search's work directory,
            the genotype's text, or a genotype: anything that `darts_tf.genotype.load` takes.
        input_shape: `(height, width, channels)` of the images.
        num_classes: Number of classes, at least 2.
        channels: Channels of the first cells, even; each of the two reductions doubles them. None for the paper's: 36,
            in the ImageNet network 48, in NAS-Bench-201 16.
        cells: Number of cells, at least 3, two of them reduction cells. None for the paper's: 20, in the ImageNet
            network 14, in NAS-Bench-201 17 including its two residual blocks.
        network: `"cifar"`, whose stem keeps the size; `"imagenet"`, whose stem reduces it to an eighth; `"auto"` for
            the latter from 96 pixels on. Cells of NAS-Bench-201 have one network: `"auto"`.
        auxiliary: Whether to add the paper's auxiliary head, a second classifier at two thirds of the depth: `fit` adds
            its loss on the same labels; in your own training loop use `network(images, training=True).auxiliary`.
            Inference does not change. Build a network that becomes a layer of another model without it.
        auxiliary_weight: Weight of the auxiliary head's loss.
        drop_path: Probability of drop path in training (0.2 in the paper). It is constant unless
            `darts_tf.callbacks.DropPathSchedule` raises it over the epochs, as in the paper.
        classifier_activation: None for logits, `"softmax"` for probabilities.
        include_top: False for a network without a classifier, whose outputs are the features of the last cell.
        pooling: Pooling of these features: None for `(N, height, width, features)`, `"avg"` or `"max"` for
            `(N, features)`.
        name: Name of the model.

    Raises:
        UserError: Not a genotype of image cells, a size that does not fit, or an option that NAS-Bench-201 does not
            have.
        OSError: A file that exists cannot be read.

    Example:
        >>> import darts_tf, keras, numpy
        >>> network = darts_tf.build("DARTS_V2", input_shape=(16, 16, 3), num_classes=3, channels=4, cells=3)
        >>> network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> images, labels = numpy.zeros((4, 16, 16, 3)), numpy.array([0, 1, 2, 0])
        >>> sorted(network.fit(images, labels, verbose=0).history)
        ['accuracy', 'loss']
        >>> network.predict(images, verbose=0).shape
        (4, 3)
    """
    found = genotypes.load(genotype)
    if found.kind not in CHOICES:
        raise UserError(
            "An image network needs image cells: expected a genotype of normal and reduction cells, or one of "
            f"NAS-Bench-201. Received: a {found.kind} genotype, {short(found.to_text())}."
        )
    if network not in CHOICES[found.kind]:
        known = some_of(CHOICES[found.kind], separator=" or ")
        raise UserError(f"network must be {known} for {found.kind} cells. Received: {network=!r}.")
    shape = _shape(input_shape)
    if network == "auto":
        network = "nasbench201" if found.kind == "nasbench201" else _by_size(shape)
    channels, cells = (
        usual if given is None else given for given, usual in zip((channels, cells), SIZES[network], strict=True)
    )
    for key, value, least in (("num_classes", num_classes, 2), ("channels", channels, 2), ("cells", cells, 3)):
        even = key == "channels" and network != "nasbench201"
        if not is_integer(value) or value < least or (even and value % 2):
            raise UserError(f"{key} must be an {'even ' * even}integer of at least {least}. Received: {key}={value!r}.")
    if auxiliary and not include_top:
        raise UserError(
            "A network without a classifier has no auxiliary classifier. Received: auxiliary=True, include_top=False."
        )
    options: dict[str, Any] = {"include_top": include_top, "pooling": pooling}
    options |= {"classifier_activation": classifier_activation} | ({} if name is None else {"name": name})
    if network != "nasbench201":
        options |= {"auxiliary": auxiliary, "auxiliary_weight": auxiliary_weight}
        options |= {"drop_path": drop_path, "drop_seed": None}
    elif auxiliary or drop_path:
        raise UserError(
            "The networks of NAS-Bench-201 have neither an auxiliary head nor drop path. Expected auxiliary=False and "
            f"drop_path=0. Received: auxiliary={auxiliary}, drop_path={drop_path}."
        )
    return NETWORKS[network](found, int(num_classes), shape, int(channels), int(cells), **options)


def _shape(given):
    """Returns `(height, width, channels)`."""
    try:
        shape = tuple(given)
    except TypeError:
        shape = ()
    if len(shape) != 3 or not all(is_integer(size) and size > 0 for size in shape):
        raise UserError(
            f"input_shape must be (height, width, channels), three positive integers. Received: input_shape={given!r}."
        )
    return tuple(int(size) for size in shape)


def _by_size(shape):
    return "imagenet" if min(shape[:2]) >= PHOTOGRAPH else "cifar"
