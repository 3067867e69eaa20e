"""The EXIF orientation of JPEG, PNG and WebP files, in TensorFlow operations only: a server's graph has no Python.

A camera writes the pixels in sensor order, with an orientation from 1 to 8 that says how to rotate or mirror them.
Anything unreadable counts as 1, unchanged.
"""

import numpy as np
import tensorflow as tf

_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4  # a tag, and the possible types of its value
_TAGS = 128  # entries of a directory that are examined; this tag is among the first
_MOST = 2**14  # segments of a file that are examined
_FAR = 2**30  # a length that is beyond any file
_FLIPS = [[False, False]] * 2 + [[False, True], [True, True], [True, False]]  # by orientation: up-down, left-right
_FLIPS += [[False, False], [False, True], [True, True], [True, False]]


def orientations(data: tf.Tensor) -> tf.Tensor:
    """Reads the orientation of image files.

    It works on a whole batch: one by one, these operations would take as long as decoding a small image.

    Args:
        data: `(B,)` strings, the contents of the files.

    Returns:
        `(B,)` int32, 1 to 8; 1 if a file has no orientation, or a damaged one.
    """
    data = tf.convert_to_tensor(data)
    start = tf.strings.substr(data, 0, 8)
    jpeg = tf.equal(tf.strings.substr(start, 0, 3), b"\xff\xd8\xff")
    png = tf.equal(start, b"\x89PNG\r\n\x1a\n")
    webp = tf.equal(tf.strings.substr(start, 0, 4), b"RIFF") & tf.equal(_text(data, 12, 4), b"VP8X")
    block = tf.zeros_like(tf.strings.length(data))
    for files, first, step, inside in ((jpeg, 2, _jpeg, 10), (png, 8, _png, 8), (webp, 12, _webp, 8)):
        position = _walk(data, tf.where(files, first, 0), step)
        block += tf.where(position > 0, position + inside, 0)

    def tags():
        held = _text(data, block, tf.where(block > 0, 2**16, 0))
        prefix = tf.equal(tf.strings.substr(held, 0, 6), b"Exif\0\0")  # some programs write it in WebP as in JPEG
        return _tag(_text(held, tf.where(prefix, 6, 0), 2**16))

    return tf.cond(tf.reduce_any(block > 0), tags, lambda: tf.ones_like(block))


def turn(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors the pixels of a file by its orientation.

    Args:
        image: `(H, W, C)`, as decoded.
        orientation: Scalar int32, 1 to 8.

    Returns:
        `(H, W, C)`, or `(W, H, C)` from orientation 5 on; the dtype of `image`.

    Reference: `PIL.ImageOps.exif_transpose`.
    """

    def turned():
        upright = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: tf.identity(image))
        return tf.reverse(upright, tf.boolean_mask(tf.constant([0, 1]), _flips(orientation)))

    return tf.cond(orientation > 1, turned, lambda: tf.identity(image))


def turned_size(height: tf.Tensor, width: tf.Tensor, orientation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the height and width of an image after `turn`, from those before."""
    lies = orientation >= 5
    return tf.where(lies, width, height), tf.where(lies, height, width)


def unturned(window: tf.Tensor, height: tf.Tensor, width: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Finds a window of the turned image in the image as it is stored.

    Args:
        window: `(4,)` int32: top, left, height, width in pixels of the turned image.
        height: Rows of the turned image.
        width: Columns of the turned image.
        orientation: Scalar int32, 1 to 8.

    Returns:
        `(4,)` int32, the same pixels before `turn`.
    """
    lies, flips = orientation >= 5, _flips(orientation)
    top, left, rows, columns = tf.unstack(window)
    top = tf.where(flips[0], height - top - rows, top)
    left = tf.where(flips[1], width - left - columns, left)
    return tf.gather(tf.stack([top, left, rows, columns]), tf.where(lies, [1, 0, 3, 2], [0, 1, 2, 3]))


def _flips(orientation):
    return tf.gather(tf.constant(_FLIPS), orientation)


def _walk(data, start, step):
    """Walks over the segments of files whose `start` is not 0; returns the start of EXIF's, or 0, `(B,)` int32."""
    size = tf.strings.length(data)

    def going(position):
        return (position > 0) & (position < size)

    (end,) = tf.while_loop(
        lambda position: tf.reduce_any(going(position)),
        lambda position: (tf.where(going(position), step(data, position), position),),
        (start,),
        maximum_iterations=_MOST,
    )
    return tf.maximum(-end, 0)


# Each of these returns the positions of the next segments, or the negative current position if that is EXIF.


def _jpeg(data, position):
    head = _bytes(data, position, 10)
    first, marker, high, low = (head[:, column] for column in range(4))
    found = (marker == 0xE1) & tf.reduce_all(head[:, 4:] == tf.constant(list(b"Exif\0\0")), axis=1)
    add, use = tf.unstack(tf.gather(tf.constant(_MARKERS), marker), axis=1)
    ahead = tf.where(first == 0xFF, add + use * (256 * high + low), 1)
    return tf.where(found, -position, position + ahead)


def _png(data, position):
    length = _number(_bytes(data, position, 4), tf.constant(True))
    found = tf.equal(_text(data, position + 4, 4), b"eXIf")
    return tf.where(found, -position, tf.where(length == _FAR, _FAR, position + 12 + length))


def _webp(data, position):
    length = _number(_bytes(data, position + 4, 4), tf.constant(False))
    found = tf.equal(_text(data, position, 4), b"EXIF")
    return tf.where(found, -position, tf.where(length == _FAR, _FAR, position + 8 + length + length % 2))


def _markers():
    """How each JPEG marker advances the position: by a number, plus the length of its segment if it has one."""
    add, use = np.full(256, 2), np.ones(256)
    use[[0x00, 0x01, *range(0xD0, 0xD9)]] = 0  # these stand alone
    over = [0xD9, 0xDA, *(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))]
    add[over], use[over] = _FAR, 0  # only pixels follow
    add[0xFF], use[0xFF] = 1, 0  # any number of these may precede a marker
    return np.stack([add, use], 1).astype(np.int32)


_MARKERS = _markers()


def _tag(block):
    """Returns the orientations in the first directories of TIFF headers; data after the block do no harm."""
    head = _bytes(block, 0, 8)
    big = head[:, 0] == ord("M")
    sound = (head[:, 0] == head[:, 1]) & (big | (head[:, 0] == ord("I")))
    start = _number(head[:, 4:], big)
    count = tf.minimum(_number(_bytes(block, start, 2), big), _TAGS)
    entries = tf.reshape(_bytes(block, start + 2, 12 * _TAGS), (-1, _TAGS, 12))
    lowest = tf.where(big, _ORIENTATION % 256, _ORIENTATION // 256)[:, tf.newaxis]
    tags = (entries[..., 0] == _ORIENTATION // 256 + _ORIENTATION % 256 - lowest) & (entries[..., 1] == lowest)
    row = tf.argmax(tags, axis=1, output_type=tf.int32)  # the first, or 0
    entry = tf.gather(entries, row, batch_dims=1)
    kind = _number(entry[:, 2:4], big)
    value = tf.where(kind == _SHORT, _number(entry[:, 8:10], big), _number(entry[:, 8:12], big))
    sound &= (row < count) & (_number(entry[:, :2], big) == _ORIENTATION) & ((kind == _SHORT) | (kind == _LONG))
    sound &= (_number(entry[:, 4:8], big) == 1) & (value >= 1) & (value <= 8)
    return tf.where(sound, value, 1)


def _text(data, position, length):
    """Returns bytes of strings, or fewer if they end earlier."""
    position = tf.minimum(position, tf.strings.length(data))
    return tf.strings.substr(data, position, tf.broadcast_to(length, tf.shape(data)))


def _bytes(data, position, count):
    """Returns `(B, count)` int32, with zeros after the end."""
    digits = tf.io.decode_raw(_text(data, position, count), tf.uint8, fixed_length=count)
    return tf.cast(tf.ensure_shape(digits, (None, count)), tf.int32)


def _number(digits, big):
    """Returns the numbers encoded by bytes along the last axis; at most `_FAR`, so that small sums stay int32."""
    digits = tf.cast(tf.where(big[..., tf.newaxis], digits, tf.reverse(digits, [-1])), tf.int64)
    places = tf.constant([256**place for place in reversed(range(digits.shape[-1]))], tf.int64)
    return tf.cast(tf.minimum(tf.reduce_sum(digits * places, axis=-1), _FAR), tf.int32)
