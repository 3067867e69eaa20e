"""How a method's setting changes with the epoch."""

from typing import Any


def linear(start: float, end: float, epoch: Any, epochs: int) -> Any:
    """Returns a value that moves linearly from `start` in epoch 0 to `end` in the last epoch, `epochs - 1`.

    Args:
        start: In the first epoch.
        end: In the last.
        epoch: From 0, a number or a scalar tensor.
        epochs: Of the search, warm-up included.
    """
    return start + (end - start) * epoch / max(1, epochs - 1)
