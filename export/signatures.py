"""The signatures of a served model: images, or the content of image files, to logits, probabilities, classes."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from darts_tf.data.files import exif
from darts_tf.data.files.encoded import decode
from darts_tf.data.images.augment import normalize
from darts_tf.data.images.resize import fit

FILE_CHANNELS = (1, 3)  # channels of networks for which image files can be decoded
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8")  # formats that `decode` reads


def trace(
    network: Callable,
    image_shape: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    class_names: Sequence[str],
    center_fraction: float = 1.0,
) -> dict:
    """Traces a network with its preprocessing.

    Args:
        network: Maps normalised images `(N, H, W, C)` to logits `(N, classes)`; called with `training=False`.
        image_shape: (H, W, C).
        mean: Mean of `x / 255` per channel.
        std: Standard deviation of `x / 255` per channel.
        class_names: One name per class.
        center_fraction: Fraction of the shorter side of an encoded image to crop to, see `resize.fit`.

    Returns:
        Concrete functions by the name of their signature. `serving_default` takes `image`, `(N, H, W, C)` float32 in
        0..255, and returns `logits` and `probabilities`, `(N, classes)` float32, and `classes`, `(N,)` int32; it
        contains no operation that TFLite or OpenVINO lack. `serving_bytes` takes `image_bytes`, `(N,)` strings, the
        content of image files, and returns `labels`, `(N,)` strings, too; it exists for C in `FILE_CHANNELS`. Every
        output has the batch axis first, as batching servers require.
    """
    shape, names = tuple(image_shape), tuple(class_names)

    def of_images(image):
        # A session feeds any input, and the network would accept any size.
        image = tf.ensure_shape(image, (None, *shape))
        logits = tf.cast(network(normalize(image, mean, std), training=False), tf.float32)
        classes = tf.argmax(logits, axis=-1, output_type=tf.int32)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits), "classes": classes}

    default = tf.function(of_images, autograph=False).get_concrete_function(
        tf.TensorSpec((None, *shape), tf.float32, name="image")
    )
    if shape[-1] not in FILE_CHANNELS:
        return {"serving_default": default}

    def of_bytes(image_bytes):
        positions = tf.range(tf.size(image_bytes))
        image = tf.map_fn(
            lambda element: to_image(element[0], element[1], shape, center_fraction, element[2]),
            (image_bytes, positions, exif.orientations(image_bytes)),
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        outputs = default(image=image)  # so that the file contains the network once
        return outputs | {"labels": tf.gather(tf.constant(names), outputs["classes"])}

    encoded = tf.function(of_bytes, autograph=False).get_concrete_function(
        tf.TensorSpec((None,), tf.string, name="image_bytes")
    )
    return {"serving_default": default, "serving_bytes": encoded}


def to_image(
    data: tf.Tensor,
    position: tf.Tensor,
    shape: Sequence[int],
    center_fraction: float = 1.0,
    orientation: tf.Tensor | None = None,
) -> tf.Tensor:
    """Decodes, crops and resizes an image as in evaluation.

    Args:
        data: Scalar string, the content of an image file.
        position: Scalar integer, for the error message.
        shape: (H, W, C).
        center_fraction: See `resize.fit`.
        orientation: See `encoded.decode`.

    Returns:
        `shape` float32, whole numbers in 0..255.

    Raises:
        tf.errors.InvalidArgumentError: The content is not an image, or is damaged.
    """
    known = [tf.equal(tf.strings.substr(data, 0, len(magic)), magic) for magic in _MAGIC]
    webp = tf.strings.substr(data, tf.minimum(8, tf.strings.length(data)), 4)
    known.append(tf.equal(tf.strings.substr(data, 0, 4), b"RIFF") & tf.equal(webp, b"WEBP"))
    message = ["image_bytes must hold JPEG or PNG files. Received something else at position", position]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_any(known), message)]):
        image = decode(tf.identity(data), orientation)
    height, width, channels = shape
    if height == width:
        return tf.cast(fit(image, height, channels, center_fraction), tf.float32)
    # Networks for non-square images come from data that were not resized; an image of another size is stretched.
    pixels = tf.image.resize(fit(image, 0, channels), (height, width), antialias=True)
    return tf.clip_by_value(tf.round(pixels), 0.0, 255.0)
