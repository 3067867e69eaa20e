"""Dropout whose masks are tensors: constant over time, drawn from a seed, passed to a network like any other input.

Both probes of the finite difference, and all passes of a search step, see the same masks because they get the same
tensors, whatever the state of a random generator.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Masks(NamedTuple):
    """Factors of inverted dropout, 0 or 1 / keep probability; None if nothing is dropped.

    Attributes:
        embedding: For whole words, `(vocabulary_size, 1)`.
        input: For the embedded words, `(batch, units)`.
        x: For the same again, inside the cell, `(batch, units)`.
        hidden: For every state that is multiplied by a matrix, `(batch, units)`: the same for all nodes.
        output: For the decoder's input, `(batch, units)`.

    Source: `embed_regularize.py`, `locked_dropout.py` and `model.py` in `rnn/`.
    """

    embedding: tf.Tensor | None = None
    input: tf.Tensor | None = None
    x: tf.Tensor | None = None
    hidden: tf.Tensor | None = None
    output: tf.Tensor | None = None


def draw(
    seed: tf.Tensor, rates: Masks, batch_size: Any, units: int, vocabulary_size: int, dtype: Any = "float32"
) -> Masks:
    """Draws masks.

    Args:
        seed: `(2,)` integers; equal seeds give equal masks.
        rates: The dropout probability of each, Python numbers in [0, 1); None or 0 for no dropout.
        batch_size: Rows of the batch, an integer or a scalar tensor.
        units: Width of words and states.
        vocabulary_size: Number of words.
        dtype: Dtype of the masks.

    Returns:
        Masks; None for a rate of zero.
    """
    shapes = Masks((vocabulary_size, 1), *[(batch_size, units)] * 4)

    def one(index, rate, shape):
        if not rate:
            return None
        own = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int64), index)
        kept = tf.random.stateless_uniform(shape, own) >= rate
        return tf.cast(kept, dtype) / (1 - rate)

    return Masks(*[one(index, *pair) for index, pair in enumerate(zip(rates, shapes, strict=True))])


def masked(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Returns `x * mask` in the dtype of x, or x if the mask is None."""
    return x if mask is None else x * tf.cast(mask, x.dtype)
