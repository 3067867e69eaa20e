"""The randomness of a step on images, as inputs of a network: drop path factors, and seeds for the layers' draws."""

from typing import Any

import tensorflow as tf


def draw_drop_factors(count: int, batch_size: Any, probability: Any, seed: tf.Tensor, dtype: str) -> tf.Tensor:
    """Draws drop path factors: 0 with some probability, otherwise `1 / (1 - probability)`.

    Args:
        count: Number of rows.
        batch_size: N, an integer or a scalar tensor.
        probability: Probability of being dropped for an image, a scalar in [0, 1).
        seed: `(2,)` integers; equal seeds give equal factors.
        dtype: Dtype of the factors.

    Returns:
        `(count, N)`.

    Source: `drop_path` in `cnn/utils.py`.
    """
    # Casting a Python number would go through float32.
    keep = 1 - (tf.cast(probability, dtype) if tf.is_tensor(probability) else tf.constant(probability, dtype))
    kept = tf.random.stateless_uniform((count, batch_size), seed, dtype=dtype) < keep
    return tf.cast(kept, dtype) / keep


def draw_keys(batch_size: Any, seed: tf.Tensor) -> tf.Tensor:
    """Draws a seed for each example, `(N, 2)` integers: a part of a batch uses that of its first example.

    So no two parts of a batch draw the same numbers, wherever and in whatever order they are computed.
    """
    return tf.random.stateless_uniform((batch_size, 2), seed, None, None, tf.int32)


def unpacked(inputs: Any) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """Returns `(images, drop path factors or None, seed or None)` from a network's inputs in a step.

    Args:
        inputs: Images; or a tuple of images, factors or None, and optionally keys, see `draw_keys`.
    """
    images, drop, keys = (*inputs, None, None)[:3] if isinstance(inputs, tuple) else (inputs, None, None)
    return images, drop, None if keys is None else keys[0]
