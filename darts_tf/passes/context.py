"""The context of a forward pass while it is built: its dtype, recomputation, replicas and statistics.

Layers read it with `now`; the builder of a pass sets it once, with `within`. Otherwise a pass is plain: float32,
without recomputation, on one replica, and batch norms write their moving statistics.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from darts_tf.system.types import Tensor


@dataclasses.dataclass(frozen=True)
class Pass:
    """The settings of the pass that is being built.

    Attributes:
        narrow: Dtype of activations and products, a `tf.DType`; None leaves them unchanged. See `precision`.
        recompute: How parts are recomputed in the backward pass, see `recomputation`; None keeps what that needs.
        replicas: Number of replicas that compute the batch together.
        mean: Maps a list of tensors to their means over the replicas; as often differentiable as the pass.
        statistics: Where batch norms in training store their batch's statistics, by the `id` of the moving statistic's
            variable; None makes them update the variables.
        sparse: Whether candidate operations whose mixing weight is 0 on every edge are left out, not multiplied by 0.
        seed: `(2,)` integers of the step and of this part of its batch, for the layers' draws; None outside of steps.
    """

    narrow: Any = None
    recompute: str | None = None
    replicas: int = 1
    mean: Callable[[list], list] = list
    statistics: dict[int, Any] | None = None
    sparse: bool = False
    seed: Any = None

    def mean_of(self, tensor: Tensor) -> Tensor:
        """Returns a tensor's mean over the replicas, on all of them."""
        return self.mean([tensor])[0]


_PLAIN = Pass()
_now = contextvars.ContextVar("the pass that is being built", default=_PLAIN)


def now() -> Pass:
    """Returns the settings of the current pass."""
    return _now.get()


@contextlib.contextmanager
def within(**changes: Any) -> Iterator[Pass]:
    """A context in which this thread builds a pass with the given changes to the current one; see `Pass`."""
    token = _now.set(dataclasses.replace(_now.get(), **changes))
    try:
        yield _now.get()
    finally:
        _now.reset(token)
