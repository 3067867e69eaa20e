"""When a search should have ended: RobustDARTS' rule on the dominant eigenvalue. Needs no TensorFlow.

A search ends when the averaged eigenvalue is more than `FACTOR` times what it was `DELTA` measurements before. The
average is over `WINDOW` measurements and is assigned to the middle one. The result is the genotype of the epoch to
which the earlier average belongs: after it the eigenvalue rose, and cells became worse with it.

Reference: Zela et al., Understanding and Robustifying Differentiable Architecture Search, arXiv:1909.09656, section
4.3; `EVLocalAvg` in `src/utils.py` of automl/RobustDARTS, which measures every 2 epochs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

WINDOW = 5  # an odd number of measurements in an average; fewer at the start
DELTA = 4  # measurements between the two averages
FACTOR = 1.3  # the ratio above which the search ends
START = 10  # the first epoch that may be the result


class Verdict(NamedTuple):
    """A verdict of the rule.

    Attributes:
        epoch: The epoch whose genotype is the result.
        seen: The epoch after which this was known.
        ratio: Factor by which the averaged eigenvalue has grown between the two.
    """

    epoch: int
    seen: int
    ratio: float


def earliest(every: int) -> int:
    """Returns the first epoch with a possible verdict, if epochs `every`, `2 * every` ... are measured."""
    return every * (math.ceil(START / every) + DELTA + WINDOW // 2)


def verdict(records: Sequence[Mapping], epochs: float) -> Verdict | None:
    """Returns the first verdict on a search's records, or None while there is none.

    Args:
        records: In the order of the epochs; those without a finite `eigenvalue` are ignored.
        epochs: Number of epochs that the search has, or would have; as in RobustDARTS, the last one does not count.
    """

    def known(value):  # numbers that are not finite become None when records are saved
        return isinstance(value, int | float) and math.isfinite(value)

    measured = [each for each in records if known(each.get("eigenvalue")) and each["epoch"] < epochs]
    values = np.array([each["eigenvalue"] for each in measured])

    def average(last):
        return values[max(0, last - WINDOW + 1) : last + 1].mean()

    for now in range(WINDOW // 2 + DELTA, len(values)):
        epoch, before = measured[now - WINDOW // 2 - DELTA]["epoch"], average(now - DELTA)
        # With other signs the ratio is meaningless; at a minimum in the alphas the largest eigenvalue is positive.
        if epoch >= START and before > 0 and (ratio := average(now) / before) > FACTOR:
            return Verdict(epoch, measured[now]["epoch"], float(ratio))
    return None
