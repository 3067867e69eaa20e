"""What a keras-tuner chief and its workers need: a lock that is always released, and reports of whom they wait for."""

import functools
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from darts_tf.system import streams
from darts_tf.system.errors import some_of

SECONDS = 10.0  # between two checks of the chief
PATIENCE = 5.0  # timeout of one check
IDLE_SECONDS = 0.2  # before a worker that has to wait may ask again

Method = TypeVar("Method", bound=Callable)


def say(line: str) -> None:
    """Prints a line on stderr."""
    streams.err(f"darts_tf: {line}")


def is_chief() -> bool:
    """Whether this process serves the oracle to workers."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def is_worker() -> bool:
    """Whether this process asks a chief for its trials."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not is_chief()


def watch_chief() -> None:
    """Reports from a thread when a worker's chief is gone or back, since the worker itself waits silently."""
    address = os.environ["KERASTUNER_ORACLE_IP"], int(os.environ.get("KERASTUNER_ORACLE_PORT", 0))

    def watch():
        there = True
        while True:
            time.sleep(SECONDS)
            before = there
            try:
                socket.create_connection(address, PATIENCE).close()
                there = True
            except OSError:
                there = False
            if before and not there:
                say(
                    f"the chief at {':'.join(map(str, address))} does not respond. If there are trials left, restart "
                    "it, and this worker continues"
                )
            elif there and not before:
                say("the chief responds again")

    threading.Thread(target=watch, name="chief watch", daemon=True).start()


def _say_who_is_awaited(ongoing, before, status):
    awaited = tuple(f"trial {trial.trial_id} of {name}" for name, trial in sorted(ongoing.items()))
    if awaited and awaited != before:
        say(
            f"no {'further trials' if status == TrialStatus.STOPPED else 'promotion is due'}; waiting for "
            f"{some_of(awaited)}. If that process has died, restart it with the same KERASTUNER_TUNER_ID, or stop "
            "this one too and restart all of them"
        )
    return awaited


def releasing(method: Method) -> Method:
    """Like `keras_tuner.synchronized`, which never releases an oracle's lock if the guarded method raises."""

    @keras_tuner.synchronized
    def held(*arguments, **named):
        try:
            return method(*arguments, **named), None
        except BaseException as error:  # noqa: B036 (raised again, outside the lock)
            return None, error

    def guarded(*arguments, **named):
        result, error = held(*arguments, **named)
        if error is not None:
            raise error
        return result

    found: Any = functools.wraps(method)(guarded)
    return found


class SharedOracle(keras_tuner.Oracle):
    """An oracle that may serve workers, none of which waits forever, whatever happens to another one.

    Attributes:
        stopped_because: Why there are no further trials.
    """

    _retry_queue: list[str]
    ongoing_trials: dict[str, Trial]
    stopped_because: str | None = None
    _awaited: tuple[str, ...] = ()

    def create_trial(self, tuner_id: str) -> Trial:
        """See the base class; the lock is free afterwards whatever happens."""
        trial = self._create_trial(tuner_id)
        if trial.status == TrialStatus.IDLE:
            time.sleep(IDLE_SECONDS)  # the worker asks again immediately
        return trial

    @releasing
    def _create_trial(self, tuner_id):
        trial = super().create_trial(tuner_id)
        if trial.status in (TrialStatus.STOPPED, TrialStatus.IDLE) and is_chief():
            self._awaited = _say_who_is_awaited(self.ongoing_trials, self._awaited, trial.status)
        return trial

    @releasing
    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Trial:
        """See the base class; the lock is free afterwards whatever happens."""
        return super().update_trial(trial_id, metrics, step)

    @releasing
    def end_trial(self, trial: Trial) -> None:
        """See the base class. A trial whose end raises is no longer ongoing: a chief would wait for it forever.

        A trial that ends twice counts once: a restarted chief had also given it to another worker.
        """
        name = trial.trial_id
        try:
            if name not in self.end_order:
                super().end_trial(trial)
        finally:
            self._save_trial(self.trials[name])
            if name in self.end_order:
                self._retry_queue = [each for each in self._retry_queue if each != name]
            self.ongoing_trials = {k: t for k, t in self.ongoing_trials.items() if t.trial_id != name}
            self.save()  # the base class saves while the trial is still ongoing

    def _failed_last(self):
        """The names of the trials that failed in a row and ended last."""
        failed = itertools.takewhile(lambda n: self.trials[n].status == TrialStatus.FAILED, reversed(self.end_order))
        return [*failed][::-1]

    def _too_many_failures(self):
        """Returns a line that says so, or None."""
        failed = self._failed_last()
        if len(failed) < self.max_consecutive_failed_trials:
            return None
        lines = (self.trials[failed[-1]].message or "no message; see the worker's output").strip().splitlines()
        return f"{len(failed)} trials in a row failed; the last one: {lines[-1]}"

    def _check_consecutive_failures(self):
        # A chief must not raise: the reply would crash its worker, and the chief would wait for it forever.
        if "KERASTUNER_ORACLE_IP" not in os.environ and (reason := self._too_many_failures()):
            self.stopped_because = reason
            raise RuntimeError(reason)
