"""Types that signatures share and that no library defines.

TensorFlow and Keras ship no types for checkers, which treat their objects as `Any`. Signatures still say `tf.Tensor`,
or `Tensor` where TensorFlow is not imported.
"""

import os
from collections.abc import Sequence
from typing import Any

Path = str | os.PathLike
"""A path as given by users."""

Tensor = Any
"""A `tf.Tensor`, eager or symbolic, or anything that TensorFlow converts to one, such as a variable or an array."""

Tensors = Sequence[Tensor]
"""A list of tensors: weights, alphas, gradients, or a vector of these."""

Structure = Any
"""Tensors in tuples, lists and dictionaries, as flattened by `tf.nest`."""

Variable = Any
"""A `keras.Variable` or a `tf.Variable`."""
