"""Halving in keras-tuner's form: a promotion is a separate trial, which names the trial that it continues.

The names are those of `keras_tuner.Hyperband`, so that programs that read its trials can read ours.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_tuner.engine.trial import Trial, TrialStatus

from darts_tf.config.tuning import ALGORITHMS, IN_FULL, check_rungs, rung_epochs
from darts_tf.system.errors import UserError
from darts_tf.tuner.halving import Job, next_job

EPOCHS, INITIAL_EPOCH, ROUND, TRIAL = "tuner/epochs", "tuner/initial_epoch", "tuner/round", "tuner/trial_id"
FIRST = "darts/first_trial"
"""Names of values: last and first epoch; the rung; the trial that is continued; the first trial of the chain."""


def chains(trials: Mapping[str, Trial], order: Sequence[str]) -> list[list[str]]:
    """The trials of each architecture, each followed by the one that continues it.

    Args:
        trials: Trials by name.
        order: Their names in the order in which they were started.
    """
    found: dict[str, list[str]] = {}
    for name in order:
        first = trials[name].hyperparameters.values.get(FIRST, name)
        found.setdefault(first, []).append(name)
    return [*found.values()]


@dataclasses.dataclass(frozen=True)
class Rungs:
    """Decides what an oracle trains next; the fields are those of `DartsOracle`.

    Raises:
        UserError: The algorithm is unknown, or settings contradict each other.
    """

    algorithm: str
    max_epochs: int | None
    max_trials: int
    reduction_factor: int
    rungs: int

    def __post_init__(self):
        """Checks the settings."""
        if self.algorithm not in ALGORITHMS:
            raise UserError(
                f"algorithm must be one of {', '.join(ALGORITHMS)}. Received: algorithm={self.algorithm!r}."
            )
        if self.in_full:
            return
        if self.max_epochs is None:
            raise UserError(
                f"max_epochs must be a trial's final number of epochs with algorithm={self.algorithm}. Received: "
                "max_epochs=None."
            )
        check_rungs(self.algorithm, self.max_epochs, self.max_trials, self.reduction_factor, self.rungs)

    @property
    def in_full(self) -> bool:
        """Whether every trial is trained in full at once."""
        return self.algorithm in IN_FULL

    def job(self, trials: Mapping[str, Trial], own: Sequence[Sequence[str]], sign: int, limit: int) -> Job | None:
        """Returns the training that is due, see `halving.next_job`.

        Args:
            trials: Trials by name.
            own: The result of `chains`.
            sign: 1 if higher scores are better, -1 if lower scores are.
            limit: Maximum number of architectures.
        """
        ended = {TrialStatus.COMPLETED, TrialStatus.FAILED}
        scores = [
            [
                sign * trials[name].score if trials[name].status == TrialStatus.COMPLETED else None
                for name in chain
                if trials[name].status in ended
            ]
            for chain in own
        ]
        running = {index for index, chain in enumerate(own) if trials[chain[-1]].status not in ended}
        return next_job(self.algorithm, limit, self.reduction_factor, self.rungs, scores, running)

    def values(self, job: Job, trial_id: str, before: Trial | None = None) -> dict[str, Any]:
        """Returns the values that say how a trial is trained.

        Args:
            job: A job other than `WAIT`.
            trial_id: ID of the trial.
            before: The trial that it continues, if any.
        """
        if self.in_full or self.max_epochs is None:
            return {}
        epochs = rung_epochs(self.max_epochs, self.reduction_factor, self.rungs)[job.rung]
        found = {EPOCHS: epochs, INITIAL_EPOCH: 0, ROUND: job.rung, FIRST: trial_id}
        if before is not None:
            values = before.hyperparameters.values
            found |= {INITIAL_EPOCH: values[EPOCHS], TRIAL: before.trial_id, FIRST: values[FIRST]}
        return found
