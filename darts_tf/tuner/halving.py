"""Successive halving, Hyperband and ASHA as pure rules: which trial is trained next, and how far. Needs no TensorFlow.

A *rung* is a number of epochs at which trials are compared; the last one is the full training. A promoted trial
continues from its own checkpoint.

References: Jamieson and Talwalkar, arXiv:1502.07943 (successive halving); Li et al., arXiv:1603.06560 (Hyperband); Li
et al., arXiv:1810.05934 (ASHA); Li and Talwalkar, arXiv:1902.07638 (random search with it, as a baseline for DARTS).
"""

import itertools
from collections.abc import Collection, Sequence
from typing import NamedTuple

from darts_tf.config.tuning import IN_FULL

Scores = Sequence[Sequence[float | None]]
"""For each trial, in the order of their starts, its score at each rung that it has reached; higher is better.

None for a training that failed there.
"""


class Job(NamedTuple):
    """A training that is due.

    Attributes:
        trial: Index of the trial; for a new one the number of trials so far.
        rung: The rung to which it is trained.
    """

    trial: int
    rung: int


WAIT = Job(-1, -1)
"""No training is due before a running one has ended."""


def sizes(trials: int, factor: int, rungs: int) -> tuple[int, ...]:
    """How many of the trials reach each rung: one in `factor`, rounded down, but at least one."""
    return tuple(max(1, trials // factor**rung) for rung in range(rungs))


def brackets(factor: int, rungs: int) -> list[tuple[int, tuple[int, ...]]]:
    """The brackets of one pass of Hyperband, the one with the most trials first; each costs about the same.

    A bracket is one successive halving: its first rung, and how many trials reach each rung from there on.

    Deviation: the number of trials is that of the paper's table 1, floor((s_max + 1) / (s + 1)) * eta^s; its Algorithm
    1 rounds up after the product (34 instead of 27 for R = 81, eta = 3, s = 3).
    """
    return [(rungs - 1 - s, sizes(rungs // (s + 1) * factor**s, factor, s + 1)) for s in reversed(range(rungs))]


def next_job(
    algorithm: str, trials: int, factor: int, rungs: int, scores: Scores, running: Collection[int] = ()
) -> Job | None:
    """Returns the training that is due; a function of the measurements, so a resumed tuning continues in the same way.

    Args:
        algorithm: One of `config.tuning.ALGORITHMS`.
        trials: Maximum number of trials.
        factor: One trial in this many is promoted, at least 2.
        rungs: Number of rungs.
        scores: Scores of the trials so far. In Hyperband a trial's first score is at the first rung of its bracket.
        running: Indices of trials that are currently being trained.

    Returns:
        A job; `WAIT`; or None if everything is done.
    """
    if algorithm == "asha":
        return _asynchronous(trials, factor, rungs, scores, running)
    if algorithm == "hyperband":
        return _hyperband(trials, factor, rungs, scores, running)
    return _synchronous(sizes(trials, factor, 1 if algorithm in IN_FULL else rungs), scores, running)


def _best(members, scores, rung, count):
    """The best of some trials at a rung, best first; ties go to the earlier one."""
    found = [each for each in members if len(scores[each]) > rung and scores[each][rung] is not None]
    return sorted(found, key=lambda each: -scores[each][rung])[:count]


def _synchronous(sizes, scores, running):
    """Successive halving: a rung begins when the previous one is complete."""
    if len(scores) < sizes[0]:
        return Job(len(scores), 0)
    members: Sequence[int] = range(len(scores))
    for rung, size in enumerate(sizes):
        if rung:
            members = _best(members, scores, rung - 1, size)
        missing = [each for each in members if len(scores[each]) <= rung]
        if due := [each for each in missing if each not in running]:
            return Job(due[0], rung)
        if missing:
            return WAIT
    return None


def _hyperband(trials, factor, rungs, scores, running):
    """One bracket after the other, and again from the first, until there are enough trials; truncates the last."""
    begin, waits = 0, False
    for first, reached in itertools.cycle(brackets(factor, rungs)):
        if begin >= trials:
            return WAIT if waits else None
        count = min(reached[0], trials - begin)
        own, at = scores[begin : begin + count], {each - begin for each in running}
        job = _synchronous(sizes(count, factor, len(reached)), own, at)
        if job is not None and job != WAIT:
            return Job(begin + job.trial, first + job.rung)
        waits |= job == WAIT
        begin += count


def _asynchronous(trials, factor, rungs, scores, running):
    """ASHA's `get_job`, Algorithm 2: the highest promotion due, otherwise a new trial, without waiting for a rung."""
    for rung in reversed(range(rungs - 1)):
        ended = [each for each, own in enumerate(scores) if len(own) > rung]
        for each in _best(ended, scores, rung, len(ended) // factor):
            if len(scores[each]) == rung + 1 and each not in running:
                return Job(each, rung + 1)
    if len(scores) < trials:
        return Job(len(scores), 0)
    return WAIT if running else None


def from_prior(trial: int, random_share: float) -> bool:
    """Whether a trial, by its index, is proposed from the prior, not at random; random cells are spread evenly."""
    return int((trial + 1) * random_share + 1e-9) == int(trial * random_share + 1e-9)
