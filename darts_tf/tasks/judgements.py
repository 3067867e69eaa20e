"""A method's questions to the trained supernet after the last epoch, each answered once: the answers survive a kill."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from darts_tf.cluster.distribution import same
from darts_tf.engine.console import PLAIN_SECONDS
from darts_tf.methods.method import Mixing
from darts_tf.runs.workdir import write_json
from darts_tf.system.files import parse_json
from darts_tf.system.signals import stopping
from darts_tf.tasks.training import Training

FILE = "judgements.json"
NOTICE = "stopping: saving the judgements so far; a second signal stops immediately"
SAVE_SECONDS = 1.0  # a cheap judgement may be one of a thousand
_NUMBER = (int, float, type(None))
_FIELDS = {"what": (str,), "loss": _NUMBER, "error": _NUMBER}

Found = TypeVar("Found")


class _Stopped(Exception):
    """A signal was received."""


class Judgements:
    """A `methods.method.Judge` whose answers are stored in a file, in the order of the questions.

    A method that chooses cells is a pure function of the answers. So a resumed search asks the same questions again,
    gets the stored answers, and continues where these end.

    Args:
        task: A `search.SearchTask` whose search is complete. In several processes all use the chief's numbers, and
            stop when it does.
        measure: `(relaxed, batches) -> (loss, error)`.

    Attributes:
        path: Path of the JSON file: what was judged, loss and error; null for a number that is not finite.
    """

    def __init__(self, task: Any, measure: Callable[[Mixing, int], tuple[float, float]]):
        self.task, self.measure, self.training = task, measure, Training(task)
        self.path, self.say = task.workdir.path / FILE, task.reporter.message
        self.kept: list[Any] = []
        self.stopped: list[int] = []  # the signal that was received
        self._asked, self._saved_at, self._said_at = 0, -math.inf, time.monotonic()

    def of(self, choose: Callable[[], Found]) -> Found | None:
        """Returns the choice of a function that asks this judge; None if a signal has stopped it."""
        self.kept = same(self.task.distribution, {"kept": self._read()})["kept"]
        self._asked = 0
        self.training.resume(len(self.kept))
        if self.kept:
            self.say(f"resuming after {len(self.kept)} judgements of the supernet, from {self.path}")
        with stopping(NOTICE, self.stopped.append):
            try:
                found = choose()
            except _Stopped:
                self._save()
                self.say(f"stopped; the same command or call resumes from {self.path}")
                return None
        self._save()
        self.say(f"chosen by {len(self.kept)} judgements of the supernet, see {self.path}")
        return found

    def __call__(self, relaxed: Mixing, what: str, batches: int = 0) -> tuple[float, float]:
        """See `Judge`."""
        self._asked += 1
        if self._asked > len(self.kept) or self.kept[self._asked - 1]["what"] != what:
            del self.kept[self._asked - 1 :]  # from another version of the method
            self._judge(relaxed, what, batches)
        found = self.kept[self._asked - 1]
        loss, error = (math.inf if found[name] is None else found[name] for name in ("loss", "error"))
        return loss, error

    def train(self, number: int, rates: Sequence[float]) -> Mapping[str, np.ndarray]:
        """See `Judge`; an interrupted training is restarted."""
        self._save()  # a checkpoint must not be ahead of the file
        self.training.run(number, rates, self._asked, self._tell)
        return self.task.relaxed()

    def _tell(self, text):
        """Reports the progress of long work now and then; stops it after a signal."""
        self._say_now_and_then(text)
        if self.stopped:
            raise _Stopped

    def _say_now_and_then(self, text):
        now = time.monotonic()
        if now - self._said_at > PLAIN_SECONDS:
            self._said_at = now
            self.say(text)

    def _judge(self, relaxed, what, batches):
        loss, error = (each if math.isfinite(each) else None for each in self.measure(relaxed, batches))
        told = same(self.task.distribution, {"loss": loss, "error": error, "stop": bool(self.stopped)})
        stop = told.pop("stop")
        self.kept.append({"what": what, **told})
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save()
        self._say_now_and_then(f"judging the supernet: {what}, {len(self.kept)} judgements so far")
        if stop:
            raise _Stopped

    def _save(self):
        write_json(self.path, self.kept)
        self._saved_at = time.monotonic()

    def _read(self) -> list[Mapping[str, Any]]:
        """Returns the stored answers; none if the file is missing or damaged."""
        try:
            kept = parse_json(self.path.read_bytes())
            if all(type(each[name]) in types for each in kept for name, types in _FIELDS.items()):
                return list(kept)
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, LookupError):
            pass
        self.say(f"warning: {self.path} is damaged; judging again")
        return []
