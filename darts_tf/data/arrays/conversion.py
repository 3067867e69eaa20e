"""Arrays of what people pass from Python: lists, tensors, arrays of objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.system.errors import UserError, one_line

WHERE = "the data given"


def array_of(name: str, values: Any) -> np.ndarray:
    """Returns an array of anything that holds numbers or names.

    Args:
        name: What it is, for messages.
        values: An array, tensor or list.

    Raises:
        UserError: It is ragged, masked, no array, or has names and something else.
    """
    if isinstance(values, tf.RaggedTensor):
        raise _ragged(name, "a ragged tensor")
    if np.ma.is_masked(values):
        raise UserError(f"{name} of {WHERE} has masked values: expected a value for each. Fill them: x.filled(0).")
    if isinstance(values, list | tuple):
        _check_names(name, values)
    try:
        found = np.asarray(values.numpy() if isinstance(values, tf.Tensor | tf.Variable) else values)
    except (ValueError, TypeError) as error:  # images of different sizes
        raise _ragged(name, one_line(error)) from None
    if found.dtype.kind == "O":
        texts = found.reshape(-1).tolist()
        _check_names(name, texts)
        if texts and all(isinstance(each, int | float | np.number) for each in texts):
            return np.array(texts).reshape(found.shape)
        if found.ndim == 0 or any(each is None for each in texts):
            raise UserError(
                f"{name} of {WHERE} is no array: expected numbers, or names of classes. Received: "
                f"{type(values).__name__}. Pass a NumPy array; tf.sparse.to_dense converts sparse tensors."
            )
        if not all(isinstance(each, str | bytes) for each in texts):
            raise _ragged(name, f"{type(values).__name__} of {type(texts[0]).__name__}")
        found = found.astype("S" if isinstance(texts[0], bytes) else "U") if texts else np.zeros(0)
    return found


def _check_names(name: str, values: Sequence[Any]) -> None:
    """Refuses names among which something else is, such as the nan of a missing one."""
    others = [index for index, value in enumerate(values) if not isinstance(value, str | bytes)]
    if others and len(others) < len(values):
        raise UserError(
            f"{name} of {WHERE} has names and other values: expected the name of a class for each image. Received: "
            f"{len(others):,} others, the first {values[others[0]]!r:.40} at index {others[0]}. Remove those images, "
            "or give them a class."
        )


def _ragged(name: str, received: str) -> UserError:
    return UserError(
        f"{name} of {WHERE} is ragged: expected images of one size, or labels of one form. Received: {received}. "
        "Resize the images, or use dataset=folder, which does."
    )
