"""Resizes images to one size, from their centre or from a random window."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.system.errors import UserError

TRIES = 10  # windows that are drawn before falling back to the centre
AREA = (0.08, 1.0)  # fraction of the image that a window covers
ASPECT = (3 / 4, 4 / 3)  # width over height of a window

CropReader = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Window = Callable[[int | tf.Tensor, int | tf.Tensor], tf.Tensor]


def fit(images: tf.Tensor, image_size: int, channels: int, center_fraction: float = 1.0) -> tf.Tensor:
    """Converts images to a size and a number of channels.

    Crops the centre square, resizes it to `image_size` (bilinear, antialiased), and turns grey to RGB by repetition or
    RGB to grey by luminance. Cropping first costs less than the usual order, and no memory for very elongated images.

    Args:
        images: `(..., H, W, C)` uint8, of rank 3 or 4; C is 1 or 3 if it has to change.
        image_size: Side in pixels; 0 keeps the size.
        channels: 1 or 3; 0 keeps the channels.
        center_fraction: Side of the square over the shorter side of the image, in (0, 1].

    Returns:
        `(..., image_size, image_size, channels)` uint8.
    """
    images = _to_channels(images, channels)
    if image_size == 0:
        return images
    size = tf.shape(images)[-3:-1]
    side = tf.reduce_min(size)
    if center_fraction != 1:
        side = tf.maximum(1, tf.cast(tf.round(tf.cast(side, tf.float32) * center_fraction), tf.int32))
    top, left = tf.unstack((size - side) // 2)
    return _resize(images[..., top : top + side, left : left + side, :], (image_size, image_size))


def fit_array(images: np.ndarray, image_size: int, channels: int, center_fraction: float = 1.0) -> np.ndarray:
    """Applies `fit` to an array, a thousand images at a time.

    Args:
        images: `(N, H, W, C)` uint8.
        image_size: Side in pixels; 0 keeps the size.
        channels: 1 or 3, or C; 0 keeps the channels.
        center_fraction: Side of the square over the shorter side of the image, in (0, 1].

    Returns:
        `(N, image_size, image_size, channels)` uint8; `images` itself if nothing changes.

    Raises:
        UserError: The number of channels would have to change other than from grey to RGB or from RGB to grey.
    """
    height, width, given = images.shape[1:]
    if channels not in (0, given) and {channels, given} != {1, 3}:
        raise UserError(
            f"Images of {given} channels cannot be converted to {channels}: expected {channels} channels in the "
            f"data{', or 1 or 3' if channels in (1, 3) else ''}. Received: {given}."
        )
    same_size = image_size == 0 or image_size == height == width and center_fraction == 1
    if channels in (0, given) and same_size:
        return images
    with tf.device("CPU:0"):
        parts = [
            fit(tf.constant(images[start : start + 1000]), image_size, channels, center_fraction).numpy()
            for start in range(0, len(images), 1000)
        ]
    return np.concatenate(parts)


def crop_reader(
    fetch: Callable[[tf.Tensor], tf.Tensor],
    crop: Callable[[tf.Tensor, Window], tf.Tensor],
    image_shape: tuple[int, int, int],
) -> CropReader:
    """Makes a reader of random windows, resized: the random resized crop of ImageNet's training.

    Args:
        fetch: `(indices (B,)) -> (B,) ...`: the sources of the windows, such as the content of image files.
        crop: `(source, window) -> (h, w, C) uint8`, the pixels inside `window(height, width)`, see `crop_window`.
        image_shape: (height, width, channels) of the result.

    Returns:
        `(indices (B,) int32 or int64, seed (2,) int32 or int64) -> (B, *image_shape) uint8`, bilinear and antialiased,
        with a separate draw for each image; runs both eagerly and inside `tf.data.Dataset.map`.

    Reference: `RandomResizedCrop(224)` of the original's `train_imagenet.py`.
    """
    size, channels = image_shape[:2], image_shape[2]

    def read_crops(indices: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        indices = tf.convert_to_tensor(indices)
        uniform = tf.random.stateless_uniform((tf.shape(indices)[0], TRIES, 4), seed, dtype=tf.float64)

        def one(element):
            source, draws = element
            pixels = crop(source, lambda height, width: crop_window(height, width, draws))
            return _resize(_to_channels(pixels, channels), size)

        spec = tf.TensorSpec(image_shape, tf.uint8)
        return tf.map_fn(one, (fetch(indices), uniform), fn_output_signature=spec)

    return read_crops


def crop_window(height: int | tf.Tensor, width: int | tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Chooses the window of a random resized crop.

    Its area is uniform in `AREA` times the image's, the logarithm of its aspect ratio is uniform in that of `ASPECT`,
    and its position is uniform. The first of `TRIES` draws that fits into the image is used. If none fits, it is the
    largest centred window whose aspect ratio is within `ASPECT`.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        uniform: `(n, 4)` float64 in [0, 1): for each try the area, the aspect, the top and the left.

    Returns:
        `(4,)` int32: top, left, height, width, in pixels.

    Reference: `RandomResizedCrop.get_params` of torchvision.
    """
    height, width = (tf.cast(side, tf.float64) for side in (height, width))
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * uniform[:, 0])
    low, high = (math.log(aspect) for aspect in ASPECT)
    aspect = tf.exp(low + (high - low) * uniform[:, 1])
    rows, columns = tf.round(tf.sqrt(area / aspect)), tf.round(tf.sqrt(area * aspect))
    top, left = tf.floor(uniform[:, 2] * (height - rows + 1)), tf.floor(uniform[:, 3] * (width - columns + 1))
    drawn = tf.stack([top, left, rows, columns], axis=1)

    rows = tf.minimum(height, tf.round(width / ASPECT[0]))
    columns = tf.minimum(width, tf.round(height * ASPECT[1]))
    center = tf.stack([(height - rows) // 2, (width - columns) // 2, rows, columns])

    fits = (drawn[:, 2] >= 1) & (drawn[:, 2] <= height) & (drawn[:, 3] >= 1) & (drawn[:, 3] <= width)
    window = tf.where(tf.reduce_any(fits), tf.gather(drawn, tf.argmax(fits)), center)
    return tf.cast(window, tf.int32)


def slice_window(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Cuts a window out of an image.

    Args:
        image: `(H, W, C)`.
        window: `(4,)` integers: top, left, height, width, in pixels.

    Returns:
        `(height, width, C)`, the dtype of `image`.
    """
    top, left, height, width = tf.unstack(window)
    return image[top : top + height, left : left + width]


def _to_channels(images: tf.Tensor, channels: int) -> tf.Tensor:
    if channels == 3 and images.shape[-1] == 1:
        return tf.image.grayscale_to_rgb(images)
    if channels == 1 and images.shape[-1] == 3:
        return tf.image.rgb_to_grayscale(images)
    return images


def _resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    pixels = tf.image.resize(images, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)
