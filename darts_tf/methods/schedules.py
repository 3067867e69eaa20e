"""How a setting changes with the epoch."""

import math
from typing import Any


def linear(start: float, end: float, epoch: Any, epochs: int) -> Any:
    """Returns a value that moves linearly from `start` in epoch 0 to `end` in the last epoch, `epochs - 1`.

    Args:
        start: Value in the first epoch.
        end: Value in the last.
        epoch: Epoch, from 0, a number or a scalar tensor.
        epochs: Number of epochs of the search, including warm-up.
    """
    return start + (end - start) * epoch / max(1, epochs - 1)


def cosine(start: float, end: float, epoch: int, epochs: int) -> float:
    """Returns a value that falls along half a cosine, from `start` in epoch 0 towards `end` in epoch `epochs`.

    Source: `CosineAnnealingLR` as stepped by the original: epoch 49 of 50 from 0.025 to 0.001 has 1.023679e-3.
    """
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2
