"""How a method's setting changes with the epoch."""

import math
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


def cosine(start: float, end: float, epoch: int, epochs: int) -> float:
    """Returns a value that falls along half a cosine, from `start` in epoch 0 towards `end` in epoch `epochs`."""
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2
