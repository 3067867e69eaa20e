"""Image augmentation: pure functions of a batch of images and an explicit seed.

Every function is vectorised over the batch, gives each image its own draw, reads no global random state, and runs
eagerly and inside `tf.data.Dataset.map` alike. A seed is an int32 or int64 tensor of shape `(2,)`; the same seed gives
the same draw, and two augmentations of one batch need two seeds.

On the original's path the order is: `pad_crop` and `flip` on bytes, then `normalize`, then `cutout`. The crop's zeros
are therefore black pixels, the cutout's zeros are the mean colour.
"""

from collections.abc import Sequence

import tensorflow as tf


def pad_crop(images: tf.Tensor, seed: tf.Tensor, padding: int) -> tf.Tensor:
    """Shifts each image by a random offset, with zeros where it leaves the frame.

    Pads by `padding` pixels on all sides and crops the first size back, at an offset uniform over
    `{0, ..., 2 * padding}` in each direction.

    Args:
        images: `(B, H, W, C)`, any numeric dtype; bytes on the original's path.
        seed: `(2,)` int32 or int64.
        padding: Pixels per side, >= 0; 0 returns the images.

    Returns:
        `(B, H, W, C)`, the dtype of `images`.

    Reference: `RandomCrop(32, padding=4)` of the original's `utils.py`.
    """
    if padding == 0:
        return images
    shape = tf.shape(images)
    offsets = tf.random.stateless_uniform((shape[0], 2), seed, 0, 2 * padding + 1, tf.int32)
    padded = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    rows = offsets[:, :1] + tf.range(shape[1])
    columns = offsets[:, 1:] + tf.range(shape[2])
    cropped = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, images.shape)


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each image left to right with probability 1/2.

    Args:
        images: `(B, H, W, C)`, any dtype.
        seed: `(2,)` int32 or int64.

    Returns:
        `(B, H, W, C)`, the dtype of `images`.

    Reference: `RandomHorizontalFlip` of the original's `utils.py`.
    """
    mirrored = tf.random.stateless_uniform((tf.shape(images)[0], 1, 1, 1), seed, 0, 2, tf.int32) == 1
    return tf.where(mirrored, images[:, :, ::-1], images)


def cutout(images: tf.Tensor, seed: tf.Tensor, length: int) -> tf.Tensor:
    """Sets one square per image to zero; its centre is uniform over the pixels.

    Args:
        images: `(B, H, W, C)`, any numeric dtype; normalised, so that zero is the mean colour.
        seed: `(2,)` int32 or int64.
        length: Side of the square in pixels, >= 0; 0 returns the images.

    Returns:
        `(B, H, W, C)`, the dtype of `images`.

    Reference: DeVries and Taylor, arXiv:1708.04552; `Cutout` of the original's `utils.py`.
    """
    if length == 0:
        return images
    shape = tf.shape(images)
    seeds = tf.random.split(seed, 2)
    centers = [tf.random.stateless_uniform((shape[0],), seeds[axis], 0, shape[axis + 1], tf.int32) for axis in range(2)]
    mask = cutout_mask(tf.stack(centers, axis=1), shape[1], shape[2], length)
    return images * tf.cast(mask, images.dtype)


def cutout_mask(centers: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor, length: int) -> tf.Tensor:
    """Builds the mask of a cutout: False inside the square, True elsewhere.

    The square covers rows `y - length // 2` to `y - length // 2 + length - 1` and columns likewise, clipped at the
    borders.

    Deviation: an odd length cuts a square of exactly that side; the original's ends at `y + length // 2 - 1`, which
    is one pixel less (and nothing at all for length 1). Even lengths, the paper's 16 among them, are the same.

    Args:
        centers: `(B, 2)` int32 or int64, (y, x) in pixels.
        height: Rows of the images.
        width: Columns of the images.
        length: Side of the square in pixels.

    Returns:
        `(B, height, width, 1)` bool.
    """
    first = centers - length // 2

    def outside(axis: int, size: int | tf.Tensor) -> tf.Tensor:
        start = first[:, axis : axis + 1]
        pixels = tf.range(tf.cast(size, start.dtype))
        return (pixels < start) | (pixels >= start + length)

    return (outside(0, height)[:, :, tf.newaxis] | outside(1, width)[:, tf.newaxis, :])[..., tf.newaxis]


def normalize(images: tf.Tensor, mean: Sequence[float], std: Sequence[float]) -> tf.Tensor:
    """Maps bytes to `(x / 255 - mean) / std`.

    Args:
        images: `(..., C)`, uint8 or any numeric dtype, in 0..255.
        mean: Mean of `x / 255` per channel, C numbers.
        std: Standard deviation of `x / 255` per channel, C numbers > 0.

    Returns:
        `(..., C)` float32.
    """
    mean, std = (tf.constant(values, tf.float32) for values in (mean, std))
    return (tf.cast(images, tf.float32) / 255.0 - mean) / std
