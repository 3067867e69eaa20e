"""What an image data set is to the rest of the package, and the helpers that its readers share."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.errors import UserError

MOMENTS_SAMPLE = 10_000  # images that mean and standard deviation are taken from, at most


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, read by index.

    Attributes:
        labels: `(N,)` int32, each in `[0, number of classes)`.
        read: `(indices (B,) int32 or int64) -> (B, H, W, C) uint8`; runs eagerly and inside `tf.data.Dataset.map`.
    """

    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.labels)

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray) -> "Split":
        """Keeps images in the host's memory.

        Args:
            images: `(N, H, W, C)` uint8.
            labels: `(N,)` integers.

        Returns:
            A split whose `read` is one gather.
        """
        # An eager tensor is captured by the graphs that read it, a NumPy array would be copied into each of them. On
        # a GPU it would have to travel back for every batch, so it stays on the host.
        with tf.device("CPU:0"):
            held = tf.convert_to_tensor(images, tf.uint8)
        return cls(np.asarray(labels, np.int32), lambda indices: tf.gather(held, indices))


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
    """A labelled image data set.

    Attributes:
        name: What `load` was asked for.
        class_names: One name per class.
        image_shape: (height, width, channels) of every image.
        mean: Mean of `x / 255` per channel.
        std: Standard deviation of `x / 255` per channel, > 0.
        train: The training images, which the search splits further.
        test: The held-out images, or None where there are none.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    test: Split | None


def fit(images: tf.Tensor, image_size: int, channels: int) -> tf.Tensor:
    """Brings images to a size and a number of channels.

    Crops the centre square, resizes it to `image_size` (bilinear, antialiased), and turns grey to RGB by repetition
    or RGB to grey by luminance. To crop first costs less than the usual order, and no memory for a very long image.

    Args:
        images: `(..., H, W, C)` uint8, of rank 3 or 4; C is 1 or 3 where it has to change.
        image_size: Side in pixels; 0 keeps the size.
        channels: 1 or 3; 0 keeps the channels.

    Returns:
        `(..., image_size, image_size, channels)` uint8.
    """
    if channels == 3 and images.shape[-1] == 1:
        images = tf.image.grayscale_to_rgb(images)
    if channels == 1 and images.shape[-1] == 3:
        images = tf.image.rgb_to_grayscale(images)
    if image_size == 0:
        return images
    size = tf.shape(images)[-3:-1]
    side = tf.reduce_min(size)
    top, left = tf.unstack((size - side) // 2)
    square = images[..., top : top + side, left : left + side, :]
    pixels = tf.image.resize(square, (image_size, image_size), antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)


def fit_array(images: np.ndarray, image_size: int, channels: int) -> np.ndarray:
    """Does what `fit` does to an array, a thousand images at a time.

    Args:
        images: `(N, H, W, C)` uint8.
        image_size: Side in pixels; 0 keeps the size.
        channels: 1 or 3; 0 keeps the channels.

    Returns:
        `(N, image_size, image_size, channels)` uint8.

    Raises:
        UserError: The images have neither 1 nor 3 channels and another number is asked for.
    """
    height, width, given = images.shape[1:]
    if channels not in (0, given) and given not in (1, 3):
        raise UserError(
            f"Images of {given} channels cannot be turned into {channels}: expected 1 or 3 channels in the data. "
            f"Received: channels={channels}. Leave channels at 0 to keep them."
        )
    if channels in (0, given) and image_size in (0, height) and height == width or (image_size, channels) == (0, 0):
        return images
    with tf.device("CPU:0"):
        parts = [
            fit(tf.constant(images[start : start + 1000]), image_size, channels).numpy()
            for start in range(0, len(images), 1000)
        ]
    return np.concatenate(parts)


def moments(split: Split, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measures mean and standard deviation of `x / 255` per channel.

    Args:
        split: Images; at most `MOMENTS_SAMPLE` of them are read, drawn by `seed`.
        seed: Seed of the draw.

    Returns:
        `(mean, std)`, C numbers each. The std of a constant channel is given as 1.
    """
    indices = np.arange(len(split))
    if len(indices) > MOMENTS_SAMPLE:
        indices = np.sort(np.random.default_rng(seed).choice(indices, MOMENTS_SAMPLE, replace=False))
    counts = 0
    batches = tf.data.Dataset.from_tensor_slices(indices).batch(100).map(split.read, tf.data.AUTOTUNE)
    for images in batches.as_numpy_iterator():
        counts = counts + np.stack(
            [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])]
        )
    values = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(((values - mean[:, None]) ** 2 * weights).sum(axis=1))
    std = np.where(std > 1e-6, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def one_line(error: BaseException) -> str:
    """Returns the type and the first line of an error, at most 150 characters of that.

    Args:
        error: Any exception.
    """
    line = (str(error).strip().splitlines() or [""])[0]
    line = line if len(line) <= 150 else f"{line[:150]}..."
    return f"{type(error).__name__}: {line.rstrip('. ')}" if line else type(error).__name__
