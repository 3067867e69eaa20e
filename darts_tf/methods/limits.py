"""Limits on skip connections, or all operations without weights, in the normal cell: collapsed cells are full of these.

Reference: Chen et al., P-DARTS, arXiv:1904.12760, section 3.3; `train_search.py` of chenxin061/pdarts. The lower limit
is ours.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from darts_tf.genotypes import selection
from darts_tf.genotypes.topology import Topology
from darts_tf.methods.method import Method
from darts_tf.system.errors import UserError, some_of

SKIP = "skip_connect"
SKIPS = frozenset({SKIP})
FREE = frozenset({SKIP, "max_pool_3x3", "avg_pool_3x3"})
UNLIMITED_CELL = "reduce"  # as in the original, which limits the normal cell
REMOVED = -0.5  # a strength below that of any candidate, even if it underflows, and above that of no candidate, -1


class Limits(Method):
    """While the cell has too many, the weakest one is removed from its edge, and the cell is chosen again.

    Deviation: `min_skips` is a lower limit. While the cell has too few, a skip connection takes the edge where it is
    closest to the operation that was chosen. Short searches hardly tell operations apart, and by chance some end
    without any.
    """

    def check(self, relaxation: Method) -> None:
        """Refuses limits that the cells cannot meet: before the search, not after its first epoch."""
        select = self.selection(selection.select)
        for cell in self.cells:
            equal = np.ones((self.topology.num_edges, len(self.config.primitives)))
            select(np.where(self.masks.get(cell, True), equal, -1), self.topology, self.config.primitives, cell)

    def selection(self, usual: Callable[..., list]) -> Callable[..., list]:
        """Returns `usual` with the limits of the config."""
        if self.config.min_skips > 0:
            usual = with_skips(usual, self.config.min_skips)
        for setting, names in (("max_skips", SKIPS), ("max_parameter_free", FREE)):
            limit = getattr(self.config, setting)
            if limit >= 0:
                usual = limited(usual, names, limit, setting, self.config.min_skips)
        return usual


def limited(
    usual: Callable[..., list], names: frozenset, limit: int, setting: str, least: int = 0
) -> Callable[..., list]:
    """Returns a function like `selection.select` whose cells hold at most `limit` of some operations.

    Args:
        usual: Chooses without a limit.
        names: Names of the operations that count.
        limit: How many of these a cell may have.
        setting: Name of the limit in the error message.
        least: How many skip connections the cell must keep, at most `limit`.

    Raises:
        UserError: An edge has no other operation to choose.
    """

    def select(strength: np.ndarray, topology: Topology, primitives: Sequence[str], cell: str = "") -> list[Any]:
        strength = np.array(strength)
        while True:
            pairs = usual(strength, topology, primitives, cell)
            places = _places(pairs, topology, primitives)
            counted = [place for place, (name, _) in zip(places, pairs, strict=True) if name in names]
            if cell == UNLIMITED_CELL or len(counted) <= limit:
                return pairs
            kept = sum(name == SKIP for name, _ in pairs) <= least
            removable = [
                place for place in counted if strength[place] != REMOVED and not (kept and primitives[place[1]] == SKIP)
            ]
            if not removable:
                raise UserError(
                    f"{setting}: the cell has no other operations left to choose; it needs {len(counted)} of "
                    f"{some_of(sorted(names & set(primitives)))}. Received: {setting}={limit}."
                )
            strength[min(removable, key=lambda place: strength[place])] = REMOVED

    return select


def with_skips(usual: Callable[..., list], least: int) -> Callable[..., list]:
    """Returns a function like `selection.select` whose cells hold at least `least` skip connections.

    Args:
        usual: Chooses without a limit.
        least: How many of these a cell must have.

    Raises:
        UserError: Too few edges may have one.
    """

    def select(strength: np.ndarray, topology: Topology, primitives: Sequence[str], cell: str = "") -> list[Any]:
        if SKIP not in primitives:
            raise UserError(
                f"min_skips: {SKIP} is not among the primitives; add it, or set 0. Received: min_skips={least}."
            )
        strength, skip = np.array(strength), primitives.index(SKIP)
        while True:
            pairs = usual(strength, topology, primitives, cell)
            missing = least - sum(name == SKIP for name, _ in pairs)
            if cell == UNLIMITED_CELL or missing <= 0:
                return pairs
            chosen = {
                row: strength[row, column]
                for row, column in _places(pairs, topology, primitives)
                if column != skip and strength[row, skip] >= 0
            }
            if not chosen:
                raise UserError(
                    f"min_skips: only {least - missing} edges of the {cell} cell may have {SKIP}; lower it. "
                    f"Received: min_skips={least}."
                )
            closest = min(chosen, key=lambda row: chosen[row] - strength[row, skip])
            # Just above the operation chosen before, so that the edges keep their order.
            strength[closest, skip] = np.nextafter(chosen[closest], np.inf)

    return select


def _places(pairs, topology, primitives):
    """The row and column of each pair in the array of strengths."""
    return [
        (topology.row(source, topology.edge_of(index)), primitives.index(name))
        for index, (name, source) in enumerate(pairs)
    ]
