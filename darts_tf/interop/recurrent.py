"""The locations of the arrays of the original's recurrent networks in ours; `interop` reads and writes them."""

import dataclasses
from typing import Any

import numpy as np

from darts_tf.interop.slot import Slot
from darts_tf.spaces.recurrent.networks import RecurrentNetwork, RecurrentSupernet
from darts_tf.system.errors import UserError

NETWORKS = (RecurrentNetwork, RecurrentSupernet)
_TIED = ("encoder.weight", "decoder.weight")


@dataclasses.dataclass(frozen=True)
class StatisticSlot(Slot):
    """A moving statistic, of which the original has one and we may have one per node.

    Then each node gets the original's, which leaves inference unchanged, and the original gets the nodes' mean.

    Attributes:
        row: 0 for the mean, 1 for the variance.
    """

    row: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Slot`."""
        return tuple(self.variable.shape[2:])

    def read(self, array: Any) -> np.ndarray:
        """See `Slot`."""
        return np.asarray(array)[self.row].mean(0)

    def write(self, array: np.ndarray, theirs: Any) -> None:
        """See `Slot`."""
        array[self.row] = theirs


def slots(network: RecurrentNetwork | RecurrentSupernet) -> list[Slot]:
    """Returns the location of each array of the original, in its order.

    Args:
        network: A `RecurrentSupernet` or a `RecurrentNetwork`.

    Source: the names of `state_dict()` in `rnn/model_search.py` and `rnn/model.py`.
    """
    found = [Slot(_TIED[0], network.embedding, (0, 1)), Slot("rnns.0._W0", network.cell.start, (0, 1))]
    found += [Slot(f"rnns.0._Ws.{index}", matrix, (0, 1)) for index, matrix in enumerate(network.cell.nodes)]
    found.append(Slot("decoder.bias", network.bias, (0,)))
    if isinstance(network, RecurrentSupernet):
        moving = network.cell.norm.moving
        for row, name in enumerate(("mean", "var")):
            found.append(StatisticSlot(f"rnns.0.bn.running_{name}", moving, (0,), row=row))
    return found


def untied(arrays: dict) -> dict:
    """Returns the arrays without the decoder's matrix, which a state dict names a second time.

    Raises:
        UserError: It differs from the embedding's.
    """
    embedding, decoder = (arrays.get(name) for name in _TIED)
    if decoder is None:
        return arrays
    if embedding is None or not np.array_equal(embedding, decoder):
        raise UserError(
            f"{_TIED[1]} must be the same matrix as {_TIED[0]}: the networks tie the two. Received: a different one."
        )
    return {name: array for name, array in arrays.items() if name != _TIED[1]}
