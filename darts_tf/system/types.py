"""Types that signatures share and no library names.

TensorFlow and Keras ship none that a checker reads, so to it whatever comes from them is `Any`. Signatures say
`tf.Tensor` all the same, and where TensorFlow is not imported, `Tensor`.
"""

import os
from typing import Any

Path = str | os.PathLike
"""A path as users give it."""

Tensor = Any
"""A `tf.Tensor`, eager or symbolic, or what TensorFlow turns into one, such as a variable or an array."""

Tensors = Any
"""Tensors in tuples, lists and dictionaries, as `tf.nest` takes them apart."""

Variable = Any
"""A `keras.Variable` or a `tf.Variable`."""
