"""Images that stay encoded until they are read."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.data.dataset import Split
from darts_tf.data.resize import Window, crop_reader, fit, slice_window


def decode(data: tf.Tensor) -> tf.Tensor:
    """Decodes an image.

    Args:
        data: Scalar string: a JPEG, PNG, BMP or GIF (its first frame).

    Returns:
        `(H, W, 3)` uint8; grey is repeated.
    """
    image = tf.io.decode_image(data, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def decode_crop(data: tf.Tensor, window: Window) -> tf.Tensor:
    """Decodes a part of an image; of a JPEG little more than that part is computed.

    Args:
        data: Scalar string, as in `decode`.
        window: `(height, width) -> (4,)` int32: top, left, height and width of the part, in pixels.

    Returns:
        `(h, w, 3)` uint8.
    """

    def jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(data)
        return tf.image.decode_and_crop_jpeg(data, window(shape[0], shape[1]), channels=3)

    def other() -> tf.Tensor:
        image = decode(data)
        shape = tf.shape(image)
        return slice_window(image, window(shape[0], shape[1]))

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(data), jpeg, other), (None, None, 3))


def encoded_split(
    labels: np.ndarray,
    fetch: Callable[[tf.Tensor], tf.Tensor],
    image_size: int,
    channels: int,
    center_fraction: float,
) -> Split:
    """Returns a split whose images are decoded whenever they are read.

    Args:
        labels: `(N,)` int32.
        fetch: `(indices (B,)) -> (B,)` strings, see `decode`.
        image_size: Side in pixels, > 0.
        channels: 1 or 3.
        center_fraction: See `resize.fit`.
    """
    shape = (image_size, image_size, channels)

    def read(indices: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda data: fit(decode(data), image_size, channels, center_fraction),
            fetch(indices),
            fn_output_signature=tf.TensorSpec(shape, tf.uint8),
        )

    return Split(labels, read, crop_reader(fetch, decode_crop, shape))
