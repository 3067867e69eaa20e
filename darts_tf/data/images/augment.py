"""Image augmentation: pure functions of a batch of images and an explicit seed.

Every function is vectorised over the batch, draws separately for each image, reads no global random state, and runs
both eagerly and inside `tf.data.Dataset.map`. A seed is an int32 or int64 tensor of shape `(2,)`; the same seed gives
the same draw, and two augmentations of one batch need two seeds.

On the original's path the order is: `pad_crop` and `flip` on bytes, then `normalize`, then `cutout`. The crop's zeros
are therefore black pixels, the cutout's zeros are the mean colour. On ImageNet it is a random window (`resize.py`),
`flip` and `color_jitter` on bytes, then `normalize`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from darts_tf.system.errors import UserError

LUMINANCE = (0.2989, 0.587, 0.114)  # ITU-R BT.601, with torchvision's digits


def pad_crop(images: tf.Tensor, seed: tf.Tensor, padding: int) -> tf.Tensor:
    """Shifts each image by a random offset, filling with zeros.

    Pads by `padding` pixels on all sides and crops to the original size, at an offset uniform over
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


def cutout(images: tf.Tensor, seed: tf.Tensor, length: int, share: Any = 1.0) -> tf.Tensor:
    """Sets one square per image to zero; its centre is uniform over the pixels.

    Args:
        images: `(B, H, W, C)`, any numeric dtype; normalised, so that zero is the mean colour.
        seed: `(2,)` int32 or int64.
        length: Side of the square in pixels, >= 0; 0 returns the images.
        share: Fraction of the images that are cut, drawn independently; 1 is all.

    Returns:
        `(B, H, W, C)`, the dtype of `images`.

    Reference: DeVries and Taylor, arXiv:1708.04552; `Cutout` of the original's `utils.py`.
    """
    if length == 0:
        return images
    shape = tf.shape(images)
    some = tf.get_static_value(share) != 1
    seeds = tf.random.split(seed, 3 if some else 2)
    centers = [tf.random.stateless_uniform((shape[0],), seeds[axis], 0, shape[axis + 1], tf.int32) for axis in range(2)]
    mask = cutout_mask(tf.stack(centers, axis=1), shape[1], shape[2], length)
    if some:
        mask |= tf.random.stateless_uniform((shape[0], 1, 1, 1), seeds[2]) >= share
    return images * tf.cast(mask, images.dtype)


def cutout_mask(centers: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor, length: int) -> tf.Tensor:
    """Builds the mask of a cutout: False inside the square, True elsewhere.

    The square covers rows `y - length // 2` to `y - length // 2 + length - 1` and columns likewise, clipped at the
    borders.

    Deviation: an odd length cuts a square of exactly that side; the original's ends at `y + length // 2 - 1`, which is
    one pixel less (and nothing at all for length 1). Even lengths, including the paper's 16, are the same.

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


def color_jitter(images: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue of each image by random factors; see `adjust_color`.

    The first three factors are uniform in `1 - strength` (not below 0) to `1 + strength`; the shift of the hue is
    uniform in `-strength / 2` to `strength / 2` of the circle (half of it at most). ImageNet's strength is 0.4.

    Deviation: torchvision draws the order of the four for each image; here a batch shares one. An order per image would
    compute each of the four four times.

    Args:
        images: `(B, H, W, C)` uint8 or floating point, in 0..255. C is 1 or 3; grey images have no saturation and hue.
        seed: `(2,)` int32 or int64.
        strength: >= 0, dimensionless; 0 returns the images.

    Returns:
        `(B, H, W, C)`, the dtype of `images`, clipped to 0..255.

    Reference: `ColorJitter(0.4, 0.4, 0.4, 0.2)` of the original's `train_imagenet.py`.
    """
    if strength == 0:
        return images
    seeds = tf.random.split(seed, 2)
    order = tf.random.experimental.stateless_shuffle(tf.range(2 if images.shape[-1] == 1 else 4), seeds[0])
    hue = min(strength / 2, 0.5)
    low = tf.constant([max(0.0, 1 - strength)] * 3 + [-hue])
    high = tf.constant([1 + strength] * 3 + [hue])
    factors = low + (high - low) * tf.random.stateless_uniform((tf.shape(images)[0], 4), seeds[1])
    return adjust_color(images, order, factors)


def check_jitter(channels: int, strength: float) -> None:
    """Refuses colour jitter for images without colours.

    Args:
        channels: Channels of the images.
        strength: See `color_jitter`; 0 is always allowed.

    Raises:
        UserError: It is not 0, and the images have neither 1 nor 3 channels.
    """
    if strength and channels not in (1, 3):
        raise UserError(
            f"Colour jitter needs images of 1 or 3 channels. Received: {channels}. Switch it off: color_jitter=0."
        )


def adjust_color(images: tf.Tensor, order: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast, saturation and hue, each image by its own factors, as torchvision defines them.

    Brightness blends with black, contrast with the mean of the image's luminance, saturation with the luminance of each
    pixel: `factor * image + (1 - factor) * other`, clipped. Hue rotates the H of HSV.

    Deviation: bytes are rounded once, at the end; torchvision truncates after each of the four.

    Args:
        images: `(B, H, W, C)` uint8 or floating point, in 0..255; C is 1 or 3.
        order: `(n,)` int32, which to apply, in this order: 0 brightness, 1 contrast, and for C = 3 2 saturation, 3 hue.
        factors: `(B, 4)` float32: three factors >= 0, dimensionless, and the shift of the hue in turns.

    Returns:
        `(B, H, W, C)`, the dtype of `images`.

    Reference: `torchvision.transforms.functional.adjust_brightness` and its siblings.
    """
    changes = [_brightness, _contrast, _saturation, _hue][: 2 if images.shape[-1] == 1 else 4]
    factors = factors[:, tf.newaxis, tf.newaxis, tf.newaxis]  # (B, 1, 1, 1, 4)
    pixels = tf.cast(images, tf.float32)
    for change in tf.unstack(order):
        branches = [functools.partial(one, pixels, factors[..., column]) for column, one in enumerate(changes)]
        pixels = tf.ensure_shape(tf.switch_case(change, branches), images.shape)
    return tf.cast(pixels if images.dtype.is_floating else tf.round(pixels), images.dtype)


def _brightness(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(factor * pixels, 0, 255)


def _contrast(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(pixels, axis=(1, 2), keepdims=True)
    if pixels.shape[-1] == 3:
        mean = tf.reduce_sum(mean * tf.constant(LUMINANCE), axis=-1, keepdims=True)
    return tf.clip_by_value(factor * pixels + (1 - factor) * mean, 0, 255)


def _saturation(pixels: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    # The blend is linear in a pixel: one matrix per image takes a fifth of the time of the plain formula.
    factor = factor[:, 0]
    blend = factor * tf.eye(3) + (1 - factor) * tf.constant(LUMINANCE)[:, tf.newaxis]
    shape = tf.shape(pixels)
    blended = tf.matmul(tf.reshape(pixels, (shape[0], -1, 3)), blend)
    return tf.clip_by_value(tf.reshape(blended, shape), 0, 255)


def _hue(pixels: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    hue, saturation, value = tf.split(tf.image.rgb_to_hsv(pixels / 255.0), 3, axis=-1)
    return tf.image.hsv_to_rgb(tf.concat([tf.math.floormod(hue + shift, 1.0), saturation, value], axis=-1)) * 255.0


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
