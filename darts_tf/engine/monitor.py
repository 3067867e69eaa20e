"""Distinguishes a healthy search from a collapsing one, by alphas and records. Needs no TensorFlow.

A collapsing search fills its cells with skip connections: the supernet trains faster through them, and the derived
network then has too few weights.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from darts_tf import genotypes
from darts_tf.config import Search
from darts_tf.engine import early_stop
from darts_tf.engine.early_stop import Verdict
from darts_tf.genotypes import Genotype

SKIPS = ("skip_connect", "identity")
HEALTHY_SKIPS = 1 / 4
"""Largest share of a cell's edges that may skip: P-DARTS (arXiv:1904.12760) keeps 2 of 8, DARTS+ (1909.06035) stops."""
EVERY = 2
"""Epochs from one eigenvalue to the next, as in RobustDARTS."""
PATIENCE = 3
"""Consecutive epochs before too many skips are reported: a genotype that changes back is not a collapse."""


def entropies(weights: np.ndarray) -> np.ndarray:
    """Returns each edge's entropy in nats, `(num_edges,)`: log(num_primitives) at the start, 0 once it has decided."""
    weights = np.asarray(weights, np.float64)
    return -np.sum(weights * np.log(np.where(weights > 0, weights, 1)), -1)


def gaps(weights: np.ndarray, primitives: Sequence[str], none: bool = False) -> np.ndarray:
    """Returns the margin of each edge's best operation over its second best, `(num_edges,)`.

    As in the derivation, `none` is left out unless edges may choose it. With only one operation to choose, the gap is
    its weight.
    """
    weights = np.asarray(weights, np.float64)[:, [none or name != "none" for name in primitives]]
    best = np.sort(np.pad(weights, ((0, 0), (1, 0))), -1)
    return best[:, -1] - best[:, -2]


def health(genotype: Genotype, strengths: Mapping[str, np.ndarray], primitives: Sequence[str]) -> dict[str, float]:
    """Returns the numbers of one epoch, by their names in records.

    Args:
        genotype: The genotype derived from the alphas.
        strengths: The strength of each operation of each edge, by the genotype's names for its cells, each
            `(num_edges, num_primitives)`; in DARTS the mixing weights. See `Method.strength`.
        primitives: Names of their columns.

    Returns:
        For each cell: `skip_CELL` and `pool_CELL`, the numbers of the genotype's edges that skip and pool;
        `entropy_CELL` in nats and `gap_CELL`, means over the edges of the supernet. A cell whose primitives include no
        pooling has no `pool_CELL`.
    """
    numbers: dict[str, float] = {}
    for cell, weights in strengths.items():
        operations = [operation for operation, _ in getattr(genotype, cell)]
        numbers[f"skip_{cell}"] = sum(operation in SKIPS for operation in operations)
        if any("pool" in name for name in primitives):
            numbers[f"pool_{cell}"] = sum("pool" in operation for operation in operations)
        numbers[f"entropy_{cell}"] = float(entropies(weights).mean())
        numbers[f"gap_{cell}"] = float(gaps(weights, primitives, genotype.none_allowed).mean())
    return numbers


class Monitor:
    """Adds health figures to the records of a search, warns once about each problem, and decides when to stop.

    Its state is a function of the records, so a resumed search behaves like an uninterrupted one.

    Args:
        config: The settings; `epochs`, `warmup_epochs`, `early_stop` and `eigenvalue` are used.
        eigenvalue: `() -> float`, the current dominant eigenvalue.
        say: Called with lines for the user.
    """

    def __init__(self, config: Search, eigenvalue: Callable[[], float], say: Callable[[str], None]):
        self.config, self.eigenvalue, self.say = config, eigenvalue, say
        self.records: list[Mapping] = []
        earliest = early_stop.earliest(EVERY)
        if config.early_stop == "eigenvalue" and config.epochs <= earliest:
            say(
                f"warning: early_stop=eigenvalue stops after epoch {earliest} at the earliest, never in a search of "
                f"{config.epochs} epochs; use more epochs"
            )

    def resumed(self, history: Sequence[Mapping]) -> None:
        """Receives the records of earlier epochs."""
        self.records = list(history)

    def end_epoch(
        self, epoch: int, genotype: Genotype, strengths: Mapping[str, np.ndarray], primitives: Sequence[str]
    ) -> dict[str, float]:
        """Returns what to add to the record of an epoch (from 1); see `health` for the arguments."""
        added = health(genotype, strengths, primitives)
        if epoch % EVERY == 0 and (self.config.eigenvalue or self.config.early_stop == "eigenvalue"):
            added["eigenvalue"] = self.eigenvalue()
        before = self._concerns()
        self.records.append({"epoch": epoch, "genotype": genotype.to_json(), **added})
        for earlier, line in zip(before, self._concerns(), strict=True):
            if line and not earlier:
                self.say(line)
        return added

    @property
    def verdict(self) -> Verdict | None:
        """The rule's verdict on the search so far."""
        return early_stop.verdict(self.records, self.config.epochs)

    @property
    def stopped(self) -> Verdict | None:
        """The verdict, if the settings enable it."""
        return self.verdict if self.config.early_stop == "eigenvalue" else None

    def _concerns(self) -> list[str]:
        """The problems so far: one line each, empty if there are none."""
        return [self._rising(), self._skipping()]

    def _rising(self) -> str:
        if self.stopped or not (verdict := self.verdict):
            return ""
        return (
            f"warning: the dominant eigenvalue of the validation loss in alpha has grown {verdict.ratio:.2f}-fold, "
            "which often precedes a collapse; RobustDARTS would stop here and return genotypes/epoch_"
            f"{verdict.epoch:03d}.json. Use that, or interrupt the search and resume it with early_stop=eigenvalue"
        )

    def _skipping(self) -> str:
        records = self.records[self.config.warmup_epochs :]  # before that the alphas have their initial values
        if not records:
            return ""
        genotype = genotypes.from_json(records[0]["genotype"])
        cell = next(iter(genotype.cells))  # the first; reduction cells do not collapse
        edges = len(getattr(genotype, cell))
        skips = [record.get(f"skip_{cell}", 0) for record in records]  # runs of older versions have none
        limit = HEALTHY_SKIPS * edges
        for last in range(PATIENCE - 1, len(skips)):
            if min(skips[last + 1 - PATIENCE : last + 1]) > limit:
                break
        else:
            return ""
        healthy = [record["epoch"] for record, count in zip(records[:last], skips, strict=False) if count <= limit]
        return (
            f"warning: for {PATIENCE} epochs more than {limit:g} of the {edges} edges of the {cell} cell have been "
            f"skip connections, now {skips[last]}: the search may be collapsing."
            + (f" The last genotype with fewer is genotypes/epoch_{healthy[-1]:03d}.json." if healthy else "")
            + ("" if self.config.early_stop == "eigenvalue" else " early_stop=eigenvalue stops such searches in time.")
        )
