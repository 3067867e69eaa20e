"""What travels with a forward pass while it is built: its type, what it recomputes, its replicas, its statistics.

Layers read it by `now`; whoever builds a pass says it once, by `within`. Outside of that a pass is the plain one:
float32, nothing recomputed, alone, and batch norms write their moving statistics.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from darts_tf.system.types import Tensor


@dataclasses.dataclass(frozen=True)
class Pass:
    """How the pass that is being built is computed.

    Attributes:
        narrow: Type of activations and products, a `tf.DType`; None leaves them as they are. See `precision`.
        recompute: How parts are recomputed in the backward pass, see `recomputation`; None keeps what that needs.
        replicas: How many replicas compute the batch together.
        mean: Turns a list of tensors into that of their means over the replicas; differentiable, as often as the pass.
        statistics: Where batch norms in training put their batch's statistics, by the `id` of the variable of the
            moving one; None has them move the variables.
        seed: `(2,)` integers of the step and of this part of its batch, for what layers draw; None outside of steps.
    """

    narrow: Any = None
    recompute: str | None = None
    replicas: int = 1
    mean: Callable[[list], list] = list
    statistics: dict[int, Any] | None = None
    seed: Any = None

    def mean_of(self, tensor: Tensor) -> Tensor:
        """Returns a tensor's mean over the replicas, which all of them get."""
        return self.mean([tensor])[0]


_PLAIN = Pass()
_now = contextvars.ContextVar("the pass that is being built", default=_PLAIN)


def now() -> Pass:
    """Returns how the present pass is computed."""
    return _now.get()


@contextlib.contextmanager
def within(**changes: Any) -> Iterator[Pass]:
    """Inside it, this thread builds a pass that differs from the present one in what is given; see `Pass`."""
    token = _now.set(dataclasses.replace(_now.get(), **changes))
    try:
        yield _now.get()
    finally:
        _now.reset(token)
