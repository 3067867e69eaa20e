"""The interface of an image data set, and helpers shared by its readers."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from darts_tf.data.images.resize import CropReader, Window, crop_reader, fit, slice_window
from darts_tf.data.pipeline import unconverted, untuned
from darts_tf.data.reading import reading

MOMENTS_SAMPLE = 10_000  # maximum number of images used for mean and standard deviation
_NAMED = 5  # maximum number of classes that a note lists with their counts


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, read by index.

    Attributes:
        labels: `(N,)` int32, each in `[0, number of classes)`.
        read: `(indices (B,) int32 or int64) -> (B, H, W, C) uint8`; runs eagerly and inside `tf.data.Dataset.map`.
        read_crops: `(indices (B,), seed (2,)) -> (B, H, W, C) uint8`, a random window of each image before the cropping
            and resizing of `read`; see `resize.crop_reader`.
        checksum: Fingerprint of the data: of the pixels if they are in memory, otherwise of the files' names and sizes.
            Empty if there is none.
        unreadable: Returns one line that names an image that can no longer be read, or None; called after an error.
    """

    labels: np.ndarray
    read: Callable[[tf.Tensor], tf.Tensor]
    read_crops: CropReader
    checksum: str = ""
    unreadable: Callable[[], str | None] = lambda: None

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.labels)

    @classmethod
    def from_arrays(cls, images: np.ndarray, labels: np.ndarray, originals: np.ndarray | None = None) -> "Split":
        """Keeps images in the host's memory.

        Args:
            images: `(N, H, W, C)` uint8.
            labels: `(N,)` integers.
            originals: `(N, H', W', C')` uint8, the sources of `images`, for `read_crops`; None: `images`.

        Returns:
            A split whose `read` is one gather.
        """
        # Graphs that read an eager tensor capture it; a NumPy array would be copied into each of them. On a GPU it
        # would have to be copied back for every batch, so it stays on the host.
        with tf.device("CPU:0"):
            held = tf.convert_to_tensor(images, tf.uint8)
            whole = held if originals is None or originals is images else tf.convert_to_tensor(originals, tf.uint8)
        height, width = whole.shape[1:3]

        def crop(index: tf.Tensor, window: Window) -> tf.Tensor:
            return slice_window(whole[index], window(height, width))

        return cls(
            np.asarray(labels, np.int32),
            lambda indices: tf.gather(held, indices),
            crop_reader(lambda indices: indices, crop, images.shape[1:]),
            f"{zlib.crc32(np.ascontiguousarray(images).data):08x}",
        )


class Wanted(NamedTuple):
    """What is asked of a data set of encoded images; see `sources.load`.

    Attributes:
        image_size: Side of the square that images are resized and cropped to, pixels; 0 keeps the common size of all.
        channels: 1 or 3; 0 keeps those of the data.
        center_fraction: See `resize.fit`.
        max_train_examples: Keeps at most this many training images; 0: all.
        seed: Seed of their draw.
    """

    image_size: int
    channels: int
    center_fraction: float
    max_train_examples: int
    seed: int

    def fit(self, image: tf.Tensor) -> tf.Tensor:
        """Converts a decoded image, see `resize.fit`."""
        return fit(image, self.image_size, self.channels, self.center_fraction)


class Parts(NamedTuple):
    """The result of an image reader.

    Attributes:
        train: The training images: a `Split`, or arrays `(images (N, H, W, C) uint8, labels (N,) int32)`.
        valid: The validation images of the data, of the same type, or None.
        test: The test images, or None.
        class_names: One name per class.
        notes: Lines for the user: the purpose of each folder or array, with counts; what was skipped, and why.
        label_values: The number that each class had in the data, if these are not 0 to K-1; otherwise empty.
    """

    train: Any
    valid: Any
    test: Any
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    label_values: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class ImageDataset:
    """A labelled image data set.

    Attributes:
        name: As given to `load`.
        class_names: One name per class.
        image_shape: (height, width, channels) of every image.
        mean: Mean of `x / 255` per channel.
        std: Standard deviation of `x / 255` per channel, > 0.
        train: The training images.
        valid: The validation images of the data, or None if there are none.
        test: The test images, or None if there are none.
        notes: Lines for the user, see `Parts`.
        label_values: See `Parts`.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    valid: Split | None
    test: Split | None
    notes: tuple[str, ...] = ()
    label_values: tuple[int, ...] = ()

    @property
    def splits(self) -> tuple[Split | None, ...]:
        """The three parts, for `reading`."""
        return self.train, self.valid, self.test


def purpose(place: str, labels: np.ndarray, classes: Sequence[str], part: str, most: int = 0) -> str:
    """Returns a line about the purpose of a part of the data, with counts, for `Parts.notes`.

    Args:
        place: Location of the images.
        labels: `(N,)` int32.
        classes: One name per class.
        part: The part: train, valid or test.
        most: How many of them are kept; 0: all.
    """
    if part != "train":
        return f"{place}: {len(labels)} {'validation' if part == 'valid' else part} images"
    counts = np.bincount(labels, minlength=len(classes))
    if len(classes) <= _NAMED:
        sizes = ", ".join(f"{name} {count}" for name, count in zip(classes, counts, strict=True))
    else:
        low, high = int(counts.argmin()), int(counts.argmax())
        sizes = f"from {classes[low]} {counts[low]} to {classes[high]} {counts[high]}"
        sizes = sizes if counts[low] < counts[high] else f"{counts[low]} each"
    kept = f", of which {most} are kept" if 0 < most < len(labels) else ""
    return f"{place}: {len(labels)} training images of {len(classes)} classes{kept} ({sizes})"


def moments(split: Split, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Measures mean and standard deviation of `x / 255` per channel.

    Args:
        split: Images; at most `MOMENTS_SAMPLE` of them are read, drawn by `seed`.
        seed: Seed of the draw.

    Returns:
        `(mean, std)`, C numbers each. The std of a constant channel is set to 1.

    Raises:
        UserError: An image can no longer be read.
    """
    indices = np.arange(len(split))
    if len(indices) > MOMENTS_SAMPLE:
        indices = np.sort(np.random.default_rng(seed).choice(indices, MOMENTS_SAMPLE, replace=False))
    counts: Any = 0
    batches = tf.data.Dataset.from_tensor_slices(indices).batch(100).map(unconverted(split.read), tf.data.AUTOTUNE)
    with reading(split):
        for images in untuned(batches).as_numpy_iterator():
            counts = counts + np.stack(
                [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])]
            )
    values = np.arange(256) / 255
    weights = counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ values
    std = np.sqrt(((values - mean[:, None]) ** 2 * weights).sum(axis=1))
    std = np.where(std > 1e-6, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
