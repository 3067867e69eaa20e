"""Batches of images: an endless stream for training, one pass for evaluation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.images import augment
from darts_tf.data.images.dataset import Split
from darts_tf.data.pipeline import unconverted, untuned
from darts_tf.system.errors import UserError

CROP, FLIP, CUTOUT, WINDOW, COLOR = range(5)  # one random stream each
PARALLEL_BATCHES = 4  # batches in preparation, and batches that wait


def stream(
    split: Split,
    indices: np.ndarray,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    crop_padding: int = 0,
    flip: bool = False,
    cutout: int = 0,
    cutout_rise: tuple[int, int] | None = None,
    shuffle: bool = True,
    resized_crop: bool = False,
    color_jitter: float = 0.0,
) -> tf.data.Dataset:
    """Streams augmented batches endlessly; the batch at step t is a pure function of (seed, t).

    Nothing has to be saved to resume: a stream with `start_step=t` continues, bit for bit, where another is after t
    batches. An epoch is `len(indices) // batch_size` steps and visits distinct examples; the remainder is dropped, and
    with `shuffle` it differs in each epoch.

    Args:
        split: Where the images are read.
        indices: `(n,)` integers: the examples of `split` to use.
        batch_size: Examples per batch.
        seed: Seed of order and augmentation. Give each stream of a search its own.
        start_step: Number of the first batch, >= 0.
        mean: Mean of `x / 255` per channel.
        std: Standard deviation of `x / 255` per channel.
        crop_padding: See `augment.pad_crop`, pixels; 0 is off.
        flip: Whether to mirror half of the images.
        cutout: See `augment.cutout`, pixels; 0 is off.
        cutout_rise: `(epochs, steps)`: in epoch e, of so many steps, a fraction `e / (epochs - 1)` of the images is
            cut; None: always all. Streams of one search have its epochs, which need not be those of each stream.
        shuffle: Whether each epoch has its own random order.
        resized_crop: Whether to read a random window of each image, see `resize.crop_reader`; incompatible with
            crop_padding.
        color_jitter: See `augment.color_jitter`, dimensionless; 0 is off.

    Returns:
        An infinite data set of `(images (batch_size, H, W, C) float32, labels (batch_size,) int32)`.

    Raises:
        UserError: The indices are empty or out of range, or fewer than `batch_size`.
    """
    indices = _checked(split, indices, batch_size)
    if batch_size > len(indices):
        raise UserError(
            f"The batch size exceeds the split: expected at most {len(indices)} examples per batch. "
            f"Received: batch_size={batch_size}. Use a smaller batch or more examples."
        )
    steps_per_epoch = len(indices) // batch_size
    examples, labels = _on_host(split, indices)

    def kind_seed(kind: int, step: tf.Tensor) -> tf.Tensor:
        return tf.random.fold_in(tf.constant([seed, kind], tf.int64), step)

    def share(step: tf.Tensor) -> Any:
        if cutout_rise is None:
            return 1.0
        epochs, steps = cutout_rise
        return tf.cast(step // steps, tf.float32) / max(1, epochs - 1)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, position = step // steps_per_epoch, step % steps_per_epoch
        rows = position * batch_size + tf.range(batch_size, dtype=tf.int64)
        if shuffle:
            order = tf.stack([tf.constant(seed, tf.int64), epoch])
            rows = tf.random.experimental.index_shuffle(rows, order, tf.constant(len(indices) - 1, tf.int64))
        chosen = tf.gather(examples, rows)
        images = split.read_crops(chosen, kind_seed(WINDOW, step)) if resized_crop else split.read(chosen)
        images = augment.pad_crop(images, kind_seed(CROP, step), crop_padding)
        if flip:
            images = augment.flip(images, kind_seed(FLIP, step))
        images = augment.color_jitter(images, kind_seed(COLOR, step), color_jitter)
        images = augment.normalize(images, mean, std)
        return augment.cutout(images, kind_seed(CUTOUT, step), cutout, share(step)), tf.gather(labels, chosen)

    steps = tf.data.Dataset.range(start_step, tf.int64.max)
    return _ahead(steps, batch)


def evaluation_batches(
    split: Split, indices: np.ndarray, batch_size: int, *, mean: Sequence[float], std: Sequence[float]
) -> tf.data.Dataset:
    """Passes once over examples, in order, without augmentation; the last batch may be smaller.

    Args:
        split: Where the images are read.
        indices: `(n,)` integers: the examples of `split` to use.
        batch_size: Examples per batch.
        mean: Mean of `x / 255` per channel.
        std: Standard deviation of `x / 255` per channel.

    Returns:
        A data set of `(images (b, H, W, C) float32, labels (b,) int32)`, b <= batch_size.

    Raises:
        UserError: `batch_size` is not positive, or the indices are empty or out of range.
    """
    indices = _checked(split, indices, batch_size)
    examples, labels = _on_host(split, indices)

    def batch(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = tf.gather(examples, rows)
        return augment.normalize(split.read(chosen), mean, std), tf.gather(labels, chosen)

    rows = tf.data.Dataset.range(len(indices)).batch(batch_size)
    return _ahead(rows, batch)


def _ahead(numbers: tf.data.Dataset, batch: Callable) -> tf.data.Dataset:
    """Prepares batches some steps ahead, in order."""
    batches = numbers.map(unconverted(batch), num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
    return untuned(batches.prefetch(PARALLEL_BATCHES))


def _checked(split: Split, indices: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns the indices as int64; raises UserError if they are invalid."""
    if batch_size < 1:
        raise UserError(f"batch_size must be >= 1. Received: {batch_size}.")
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or indices.size == 0:
        raise UserError(
            "The examples of a stream must be a non-empty list of integer indices. "
            f"Received: shape {indices.shape}, dtype {indices.dtype}."
        )
    if indices.min() < 0 or indices.max() >= len(split):
        raise UserError(
            f"An index is outside of the data: expected 0 to {len(split) - 1}. "
            f"Received: {indices.min()} to {indices.max()}. Was the search split made for other data?"
        )
    return indices.astype(np.int64)


def _on_host(split: Split, indices: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the indices and all labels as eager tensors: a map's graph captures them, and does not copy them."""
    with tf.device("CPU:0"):
        return tf.constant(indices), tf.constant(split.labels, tf.int32)
