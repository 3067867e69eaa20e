"""What is random in a step on images, as inputs of a network: factors of drop path, and seeds of what layers draw."""

from typing import Any

import tensorflow as tf


def draw_drop_factors(count: int, batch_size: Any, probability: Any, seed: tf.Tensor, dtype: str) -> tf.Tensor:
    """Draws factors of drop path: 0 with some probability, else `1 / (1 - probability)`.

    Args:
        count: Rows.
        batch_size: N, an integer or a scalar tensor.
        probability: Of something to be dropped for an image, a scalar in [0, 1).
        seed: `(2,)` integers; the same seed draws the same.
        dtype: Of the factors.

    Returns:
        `(count, N)`.

    Source: `drop_path` in `cnn/utils.py`.
    """
    # A cast of a Python number would go through float32.
    keep = 1 - (tf.cast(probability, dtype) if tf.is_tensor(probability) else tf.constant(probability, dtype))
    kept = tf.random.stateless_uniform((count, batch_size), seed, dtype=dtype) < keep
    return tf.cast(kept, dtype) / keep


def draw_keys(batch_size: Any, seed: tf.Tensor) -> tf.Tensor:
    """Draws a seed for each example, `(N, 2)` integers: a part of a batch takes that of its first example.

    So no two parts of a batch draw the same numbers, wherever and in whatever order they are computed.
    """
    return tf.random.stateless_uniform((batch_size, 2), seed, None, None, tf.int32)


def unpacked(inputs: Any) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """Returns `(images, factors of drop path or None, seed or None)` of a network's inputs in a step.

    Args:
        inputs: Images; or a tuple of images, factors or None, and perhaps keys, see `draw_keys`.
    """
    images, drop, keys = (*inputs, None, None)[:3] if isinstance(inputs, tuple) else (inputs, None, None)
    return images, drop, None if keys is None else keys[0]
