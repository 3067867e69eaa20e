"""Images that stay encoded until they are read."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.data.files import exif
from darts_tf.data.files.headers import GREY
from darts_tf.data.images.dataset import Split, Wanted
from darts_tf.data.images.resize import CropReader, Window, crop_reader, slice_window


def decode(data: tf.Tensor, orientation: tf.Tensor | None = None) -> tf.Tensor:
    """Decodes an image and rotates it by its EXIF orientation.

    Training, evaluation and exported models all read files through this function or `decode_crop`, so they agree.
    Transparency is dropped; of 16 bits, the upper 8 are kept.

    Deviation: the original's `ImageFolder` ignores the orientation.

    Args:
        data: Scalar string: a JPEG, PNG, WebP without animation, GIF (its first frame), or a BMP without a colour
            palette.
        orientation: Scalar int32, as `exif.orientations` found it for a whole batch; None to read it here.

    Returns:
        `(H, W, 3)` uint8; grey is repeated over the channels.
    """
    data = tf.convert_to_tensor(data)
    orientation = _orientation(data) if orientation is None else orientation
    return tf.ensure_shape(exif.turn(_stored(data), orientation), (None, None, 3))


def decode_crop(data: tf.Tensor, window: Window, orientation: tf.Tensor | None = None) -> tf.Tensor:
    """Decodes a part of an image; for a JPEG, little more than that part is computed.

    Args:
        data: Scalar string, as in `decode`.
        window: `(height, width) -> (4,)` int32: top, left, height and width of the part, in pixels of the image as
            `decode` returns it.
        orientation: See `decode`.

    Returns:
        `(h, w, 3)` uint8.
    """
    data = tf.convert_to_tensor(data)
    orientation = _orientation(data) if orientation is None else orientation

    def stored(shape: tf.Tensor) -> tf.Tensor:
        size = exif.turned_size(shape[0], shape[1], orientation)
        return exif.unturned(window(*size), *size, orientation)

    def jpeg() -> tf.Tensor:
        return tf.image.decode_and_crop_jpeg(data, stored(tf.image.extract_jpeg_shape(data)), channels=3)

    def other() -> tf.Tensor:
        image = _stored(data)
        return slice_window(image, stored(tf.shape(image)))

    part = tf.ensure_shape(tf.cond(tf.io.is_jpeg(data), jpeg, other), (None, None, 3))
    return tf.ensure_shape(exif.turn(part, orientation), (None, None, 3))


def _orientation(data):
    return exif.orientations(data[tf.newaxis])[0]


def _stored(data):
    """Decodes the pixels as they are stored, `(H, W, 3)`."""

    def plain():
        return tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3))

    def checked_bmp():
        # TensorFlow's decoder would take palette indices for grey values, and does not support compression.
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 14, 20), tf.uint8), tf.int32)
        bits, header, compression = head[14], head[0], head[16]
        grey = (bits == 8) & (header == 40) & tf.equal(tf.strings.substr(data, 54, 1024), GREY)
        sound = (header >= 40) & (compression == 0) & ((bits == 24) | (bits == 32) | grey)
        with tf.control_dependencies([tf.debugging.Assert(sound, ["a BMP must have 24 or 32 bits, uncompressed"])]):
            return tf.identity(plain())

    def webp():
        # With three channels the decoder refuses transparency; on an animation it terminates the process.
        flags = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 12, 9), tf.uint8), tf.int32)
        moves = tf.equal(tf.strings.substr(data, 12, 4), b"VP8X") & (flags[8] // 2 % 2 == 1)
        with tf.control_dependencies([tf.debugging.Assert(~moves, ["a WebP must not be animated"])]):
            return tf.io.decode_webp(tf.identity(data), channels=0)[0, :, :, :3]

    start = tf.strings.substr(data, 0, 4)
    kind = tf.where(tf.equal(start, b"RIFF"), 2, tf.where(tf.equal(tf.strings.substr(start, 0, 2), b"BM"), 1, 0))
    return tf.ensure_shape(tf.switch_case(kind, [plain, checked_bmp, webp]), (None, None, 3))


def encoded_split(labels: np.ndarray, fetch: Callable[[tf.Tensor], tf.Tensor], wanted: Wanted) -> Split:
    """Returns a split whose images are decoded on every read.

    Args:
        labels: `(N,)` int32.
        fetch: `(indices (B,)) -> (B,)` strings, see `decode`.
        wanted: The size, > 0, and the channels, 1 or 3.
    """
    shape = (wanted.image_size, wanted.image_size, wanted.channels)

    def read(indices: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda file: wanted.fit(decode(*file)),
            _with_orientations(fetch(indices)),
            fn_output_signature=tf.TensorSpec(shape, tf.uint8),
        )

    return Split(labels, read, crops(fetch, shape))


def crops(fetch: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int, int, int]) -> CropReader:
    """Returns a `resize.crop_reader` of `fetch`, see `encoded_split`."""
    return crop_reader(
        lambda indices: _with_orientations(fetch(indices)),
        lambda file, window: decode_crop(file[0], window, file[1]),
        shape,
    )


def _with_orientations(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return contents, exif.orientations(contents)
