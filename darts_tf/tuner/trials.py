"""The trials of a tuning, and the file that records their outcomes. Needs no TensorFlow."""

import dataclasses
import itertools
import math
import pathlib
from typing import Any

from darts_tf import genotypes
from darts_tf.config.tuning import LanguageTuneConfig, TuneConfig
from darts_tf.runs import scores
from darts_tf.runs.workdir import write_json
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import parse_json

MAX_FAILURES = 3  # this many failed trials in a row end a tuning
RUNNING, COMPLETED, FAILED = "running", "completed", "failed"


@dataclasses.dataclass
class Trials:
    """The state of a tuning.

    Attributes:
        config: Its settings.
        digest: Digest of its prior.
        path: Path of `trials.json`.
        trials: Trials in the order of their starts, as described in `tuning.tune`. A trial has the status running from
            the start of its training to the end, also after a kill; `epochs` is then the number of epochs to train to.
        ended: `[number, status]` of each training that has ended, in that order.
    """

    config: TuneConfig | LanguageTuneConfig
    digest: str
    path: pathlib.Path
    trials: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    ended: list[list[Any]] = dataclasses.field(default_factory=list)

    def those(self, status: str) -> list[dict[str, Any]]:
        """Returns the trials with a status."""
        return [trial for trial in self.trials if trial["status"] == status]

    def failed_last(self) -> list[dict[str, Any]]:
        """Returns the trials that failed in a row and ended last, the last one first."""
        failed = itertools.takewhile(lambda each: each[1] == FAILED, reversed(self.ended))
        return [self.trials[number - 1] for number, _ in failed]

    def scores(self) -> list[list[float | None]]:
        """Returns the scores for `halving.next_job`."""
        sign = 1 if self.config.better == "higher" else -1
        return [
            [sign * value for _, value in trial["rungs"]] + ([None] if trial["status"] == FAILED else [])
            for trial in self.trials
        ]

    def best(self) -> dict[str, Any] | None:
        """Returns the best of the trials that were trained longest; None if none has succeeded."""
        done = self.those(COMPLETED)
        done = [trial for trial in done if trial["epochs"] == max(each["epochs"] for each in done)]
        return done[scores.best([each[self.config.objective] for each in done], self.config.better)] if done else None

    def add(self, genotype: genotypes.Genotype) -> None:
        """Adds a trial, whose training is due."""
        number = len(self.trials)
        figures = dict.fromkeys((self.config.objective, "parameters", "macs", "seconds"))
        trial = {"trial": number + 1, "status": RUNNING, **figures, "genotype": genotype.to_json()}
        self.trials.append(trial | {"workdir": f"trials/{number:03d}", "epochs": 0, "rungs": []})

    def write(self) -> None:
        """Writes the file; after a crash it is the old one or the new one."""
        write_json(self.path, {"prior": self.digest, "trials": self.trials, "ended": self.ended})

    def read(self) -> None:
        """Reads the file, if there is one; failures that ended the tuning run again, since their cause may be fixed.

        Raises:
            UserError: The file is damaged, or its trials were proposed from another prior; one line.
        """
        if not self.path.exists():
            return
        try:
            state = parse_json(self.path.read_bytes())
            self.trials = state["trials"]
            for number, trial in enumerate(self.trials):
                self._check(number, trial)
            self.ended = state["ended"]
            if any(not 1 <= number <= len(self.trials) or not isinstance(status, str) for number, status in self.ended):
                raise ValueError("its list of finished trials is damaged")
            same = state["prior"] == self.digest
            wrong = None if same else "its trials were proposed from another prior than prior.npz"
        except (ValueError, KeyError, TypeError) as error:
            wrong = one_line(error)
        if wrong:
            raise UserError(
                f"{self.path} cannot be resumed: {wrong}. Expected files written by darts-tune. Restore both files "
                "from a copy, or choose another work directory"
            )
        if len(failed := self.failed_last()) >= MAX_FAILURES:
            self.ended = self.ended[: -len(failed)]
            for trial in failed:
                trial["status"] = RUNNING
                trial.pop("message", None)

    def _check(self, number, trial):
        """Raises for a damaged trial."""
        genotypes.from_json(trial["genotype"])
        done = trial["status"] == COMPLETED
        figures = [trial[name] for name in ((self.config.objective, "parameters", "seconds") if done else ())]
        figures += [trial["epochs"], *itertools.chain.from_iterable(trial["rungs"])]
        if (
            trial["trial"] != number + 1
            or trial["workdir"] != f"trials/{number:03d}"
            or trial["status"] not in (RUNNING, COMPLETED, FAILED)
            or not all(math.isfinite(each) for each in figures)
            or not 1 <= trial["epochs"] <= self.config.epochs
        ):
            raise ValueError(f"trial {number + 1} of it is damaged")
