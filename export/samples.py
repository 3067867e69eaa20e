"""Real images from a trained network's data, with which an export is checked, warmed up and calibrated."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from darts_tf.data import sources as images
from darts_tf.data.given import NAME
from darts_tf.data.images.dataset import Split
from darts_tf.data.reading import reading
from darts_tf.export.signatures import FILE_CHANNELS
from darts_tf.system.errors import UserError, some_of
from darts_tf.tasks.trained import ImageFacts, Trained

CHECKED = 7  # images that are also encoded; not a power of two, so that a batch of them is unusual


class Samples(NamedTuple):
    """Images in the data's own range.

    Attributes:
        images: `(n, H, W, C)` float32, whole numbers in 0..255, from held-out examples if there are any.
        labels: `(n,)` int32.
        calibration: `(m, H, W, C)` float32, from training examples.
        contents: The first `CHECKED` images as files, PNG (exact) and JPEG in turn; none if files cannot hold them.
    """

    images: np.ndarray
    labels: np.ndarray
    calibration: np.ndarray
    contents: list[bytes]


def load(
    trained: Trained[ImageFacts], data_dir: str = "", count: int = 512, calibration: int = 128, data: Any = None
) -> Samples:
    """Reads images of the data that a network was trained on, evenly spread.

    Args:
        trained: The network's facts.
        data_dir: Location of the data; empty for their location in training.
        count: Maximum number of images for checks; at least `CHECKED` are returned, repeated if necessary.
        calibration: Maximum number of images for calibration.
        data: The images themselves, if they were passed from Python code.

    Returns:
        The images.

    Raises:
        UserError: The data are missing, or no longer fit the network.
    """
    config, known = trained.config, trained.facts
    height, width, channels = known.image_shape
    pass_other = "Pass another data_dir." if data is None else "Pass other data."
    data = images.load(
        config["dataset"] if data is None else NAME,
        data_dir or config["data_dir"],
        height if height == width else 0,
        channels=channels,
        center_fraction=config.get("eval_crop", 1.0),
        value_range=config.get("value_range", "auto"),
        data=data,
        known=known.classes,
    )
    if data.image_shape != known.image_shape or data.class_names != known.class_names:
        expected, received = (
            f"{len(each.class_names)} classes ({some_of(each.class_names)}) of {'x'.join(map(str, each.image_shape))}"
            for each in (known, data)
        )
        raise UserError(
            f"The data differ from the network's training data: expected {expected} images. Received: {received}. "
            f"{pass_other}"
        )
    held_out = data.test or data.valid or data.train
    chosen = _spread(len(held_out), max(count, CHECKED))
    pixels = _read(held_out, chosen)
    encoded = pixels[: CHECKED if channels in FILE_CHANNELS else 0]
    return Samples(
        pixels,
        held_out.labels[chosen],
        _read(data.train, _spread(len(data.train), calibration)),
        [encode(image, index) for index, image in enumerate(encoded)],
    )


def encode(image: np.ndarray, index: int) -> bytes:
    """Returns an image `(H, W, C)`, 0..255, as a PNG for even indices, otherwise as a JPEG."""
    pixels = tf.constant(image.astype(np.uint8))
    return (tf.io.encode_jpeg(pixels, quality=95) if index % 2 else tf.io.encode_png(pixels)).numpy()


def _spread(length: int, count: int) -> np.ndarray:
    """Returns indices spread over all data, which may be ordered by class."""
    chosen = np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(np.int64))
    chosen = chosen[np.argsort(chosen * 7919 % 65537, kind="stable")]  # the first few are spread, too
    return chosen if len(chosen) >= CHECKED else np.resize(chosen, CHECKED)


def _read(split: Split, indices: np.ndarray) -> np.ndarray:
    with tf.device("CPU:0"), reading(split):
        parts = [split.read(tf.constant(indices[i : i + 64])).numpy() for i in range(0, len(indices), 64)]
    return np.concatenate(parts).astype(np.float32)
