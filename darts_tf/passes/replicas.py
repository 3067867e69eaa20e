"""Means over the replicas that compute one batch together, for what has to see all of it: batch norm.

A pass knows nothing of devices. Whoever runs it on several says so by `together`; alone, a mean is what it was.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import NamedTuple

from darts_tf.system.types import Tensor


class _Replicas(NamedTuple):
    number: int
    means: Callable[[list], list]


_ALONE = _Replicas(1, lambda tensors: tensors)
_present = contextvars.ContextVar("the replicas of the pass that is being traced", default=_ALONE)


@contextlib.contextmanager
def together(count: int, mean: Callable[[list], list]) -> Iterator[None]:
    """Inside it, this thread traces one of `count` replicas.

    Args:
        count: How many.
        mean: Turns a list of tensors into that of their means over all replicas; differentiable, as often as the pass.
    """
    token = _present.set(_Replicas(count, mean))
    try:
        yield
    finally:
        _present.reset(token)


def count() -> int:
    """Returns how many replicas share the batch."""
    return _present.get().number


def mean(tensor: Tensor) -> Tensor:
    """Returns a tensor's mean over the replicas, which all of them get."""
    return _present.get().means([tensor])[0]
