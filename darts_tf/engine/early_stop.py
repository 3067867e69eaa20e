"""When a search should have ended: RobustDARTS' rule on the dominant eigenvalue. Needs no TensorFlow."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A verdict of the rule.

    Attributes:
        epoch: The epoch whose genotype is the result.
        seen: The epoch after which this was known.
        ratio: Factor by which the averaged eigenvalue has grown between the two.
    """

    epoch: int
    seen: int
    ratio: float


@dataclasses.dataclass(frozen=True)
class EigenvalueRule:
    """Ends a search when the averaged eigenvalue is more than `factor` times what it was `delta` measurements before.

    The average is over `window` measurements and is assigned to the middle one. The result is the genotype of the epoch
    to which the earlier average belongs: after it the eigenvalue rose, and cells became worse with it.

    Attributes:
        window: Odd number of measurements in an average; fewer at the start.
        delta: Measurements between the two averages.
        factor: The ratio above which the search ends.
        start: First epoch that may be the result.

    Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, arXiv:1909.09656,
        section 4.3; `EVLocalAvg` in `src/utils.py` of automl/RobustDARTS, which measures every 2 epochs.
    """

    window: int = 5
    delta: int = 4
    factor: float = 1.3
    start: int = 10

    def earliest(self, every: int) -> int:
        """Returns the first epoch with a possible verdict, if epochs `every`, `2 * every` ... are measured."""
        return every * (math.ceil(self.start / every) + self.delta + self.window // 2)

    def verdict(self, measured: Iterable[tuple[int, float]]) -> Verdict | None:
        """Returns the rule's verdict, once there is one.

        A pure function, so that a resumed run needs only its records.

        Args:
            measured: `(epoch, eigenvalue)` in the order of the epochs, at equal intervals.

        Returns:
            The first verdict, or None while the search continues.
        """
        measured = list(measured)
        epochs = [epoch for epoch, _ in measured]
        values = np.array([value for _, value in measured])
        middle = self.window // 2
        for now in range(middle + self.delta, len(values)):
            epoch = epochs[now - middle - self.delta]
            before = self._average(values, now - self.delta)
            # With other signs the ratio is meaningless; at a minimum in the alphas the largest eigenvalue is positive.
            if epoch < self.start or before <= 0:
                continue
            ratio = self._average(values, now) / before
            if ratio > self.factor:
                return Verdict(epoch, epochs[now], float(ratio))
        return None

    def _average(self, values, last):
        return values[max(0, last - self.window + 1) : last + 1].mean()
