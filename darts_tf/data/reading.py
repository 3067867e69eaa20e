"""Names an image that can no longer be read in one line, in place of TensorFlow's message."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from darts_tf.system.errors import UserError

_WHERE = re.compile(r"\{\{.*?\}\} ?|Error in user-defined function passed to .*? with iterator: \S+: | \[Op:\w+\]")
_OTHERS = (
    tf.errors.ResourceExhaustedError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.UnavailableError,
)


@contextlib.contextmanager
def reading(*splits: Any) -> Iterator[None]:
    """Names the image that was damaged, removed or replaced since the start, if TensorFlow fails to read it.

    Args:
        *splits: Every `Split` that may be read inside; None for a missing one.

    Raises:
        UserError: An image of these can no longer be read. Any other error is passed on unchanged.
    """
    try:
        yield
    except _OTHERS:  # out of memory, or from other processes
        raise
    except tf.errors.OpError as error:
        for split in splits:
            line = split.unreadable() if split is not None else None
            if line:
                raise UserError(line) from error
        raise


def reason(error: Exception) -> str:
    """Returns why an operation failed, without the location, which pipelines report at length."""
    return _WHERE.sub("", getattr(error, "message", str(error))).removeprefix("ValueError: ")
