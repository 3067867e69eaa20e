"""Limits on skip connections, or all operations without weights, in the normal cell: collapsed cells are full of these.

Reference: Chen et al., P-DARTS, arXiv:1904.12760, section 3.3; `train_search.py` of chenxin061/pdarts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from darts_tf.genotypes.topology import Topology
from darts_tf.methods.method import Method
from darts_tf.system.errors import UserError, some_of

SKIPS = frozenset({"skip_connect"})
FREE = frozenset({"skip_connect", "max_pool_3x3", "avg_pool_3x3"})
UNLIMITED_CELL = "reduce"  # as in the original, which limits the normal cell


class Limits(Method):
    """While the cell has too many, the weakest one is removed from its edge, and the cell is chosen again."""

    def selection(self, usual: Callable[..., list]) -> Callable[..., list]:
        """Returns `usual` with the limits of the config."""
        for setting, names in (("max_skips", SKIPS), ("max_parameter_free", FREE)):
            limit = getattr(self.config, setting)
            if limit >= 0:
                usual = limited(usual, names, limit, setting)
        return usual


def limited(usual: Callable[..., list], names: frozenset, limit: int, setting: str) -> Callable[..., list]:
    """Returns a function like `selection.select` whose cells hold at most `limit` of some operations.

    Args:
        usual: Chooses without a limit.
        names: Names of the operations that count.
        limit: How many of these a cell may have.
        setting: Name of the limit in the error message.

    Raises:
        UserError: An edge has no other operation to choose.
    """

    def select(strength: np.ndarray, topology: Topology, primitives: Sequence[str], cell: str = "") -> list[Any]:
        strength = np.array(strength)
        while True:
            pairs = usual(strength, topology, primitives, cell)
            places = [
                (topology.row(source, topology.edge_of(index)), primitives.index(name))
                for index, (name, source) in enumerate(pairs)
            ]
            counted = [place for place, (name, _) in zip(places, pairs, strict=True) if name in names]
            if cell == UNLIMITED_CELL or len(counted) <= limit:
                return pairs
            weakest = min(counted, key=lambda place: strength[place])
            if strength[weakest] == 0:
                raise UserError(
                    f"{setting}: the cell has no other operations left to choose; it needs {len(counted)} of "
                    f"{some_of(sorted(names & set(primitives)))}. Received: {setting}={limit}."
                )
            strength[weakest] = 0

    return select
