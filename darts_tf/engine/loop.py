"""The epoch loop that every kind of training shares: steps in the graph, everything else in plain Python.

A task defines one step; the loop restores the newest checkpoint, runs N steps at a time, reports, checkpoints and stops
cleanly on Ctrl-C and SIGTERM. On a CPU a resumed run equals an uninterrupted one bit for bit.
"""

import contextlib
import math
import time
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from darts_tf.cluster import agreement
from darts_tf.cluster.distribution import Distribution, peers
from darts_tf.config import Run
from darts_tf.data.reading import reading
from darts_tf.engine.callbacks import Callbacks
from darts_tf.engine.reporting import Reporter
from darts_tf.engine.state import restore, snapshot
from darts_tf.passes.loss_scale import HOPELESS, SKIPPED
from darts_tf.runs.checkpoint import Checkpoint, Checkpoints, from_bytes, to_bytes
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.system.signals import stopping

NOTICE = "stopping: saving after the current steps; a second signal stops immediately"
LOOP_SECONDS = 1.0  # how long the graph runs between two updates of the metrics, unless set


class Task(Protocol):
    """What the loop needs from a kind of training.

    Attributes:
        epoch_steps: Steps of each epoch.
        variables: Everything that a step writes, as lists of variables by name: the content of a checkpoint.
        max_rollbacks: How often a non-finite number may send the run back to its last checkpoint.
        rollbacks: How often that has happened; the loop sets it before `start`. The task must then behave differently.
        splits: Parts of the data whose reading may fail, see `data.reading`.
    """

    epoch_steps: list[int]
    variables: dict[str, list]
    max_rollbacks: int
    rollbacks: int
    splits: tuple

    @property
    def finished(self) -> bool:
        """Whether it ends before its last epoch; between epochs, a function of what `resumed` and `end_epoch` saw."""

    def describe_data(self) -> dict:
        """Returns numbers and words that identify the data; the processes of a cluster compare them."""

    def start(self, step: int) -> None:
        """Opens the data at a global step."""

    def resumed(self, history: list[dict]) -> None:
        """Receives the records of earlier epochs; an empty list in a new run."""

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes `count` steps of an epoch (from 0); returns `(count,)` numbers by name, including `loss`.

        If steps may be undone, `loss_scale.SKIPPED` says which; their other numbers are zeros.
        """

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """Turns sums over the steps of (a part of) an epoch into metrics; `steps` is one of the sums."""

    def end_epoch(self, epoch: int) -> dict:
        """Evaluates after an epoch (from 0); returns what to add to its record."""


class Diverged(UserError):
    """A number that is not finite."""


class Loop:
    """Runs a task's epochs.

    Args:
        task: What to run.
        workdir: An opened `WorkDir`.
        config: The settings; `checkpoint_minutes`, `keep_checkpoints` and `steps_per_loop` are used.
        reporter: A `Reporter`.
        distribution: A `Distribution` of the steps; None for one device. All processes take the same steps and stop
            after the same one; the chief writes the checkpoints.
        callbacks: The user's callbacks.
    """

    def __init__(
        self,
        task: Task,
        workdir: WorkDir,
        config: Run,
        reporter: Reporter,
        distribution: Distribution | None = None,
        callbacks: Callbacks | None = None,
    ):
        self.task, self.config, self.reporter, self.peers = task, config, reporter, peers(distribution)
        self.callbacks = callbacks or Callbacks()
        self.checkpoints = Checkpoints(workdir.checkpoints, config.keep_checkpoints, warn=reporter.message)
        self.step = 0
        self.sums: dict[str, float] = {}
        self.history: list[dict[str, Any]] = []
        self.saved_at, self.per_loop = time.monotonic(), config.steps_per_loop or 1
        self.ends = np.cumsum(task.epoch_steps)  # global steps after which epochs end
        self.stopped: list[int] = []  # the signal that was received

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return int(self.ends[-1])

    @property
    def epoch(self) -> int:
        """The current epoch, from 0; at its end already the next."""
        return int(np.searchsorted(self.ends, self.step, "right"))

    @property
    def _over(self) -> bool:
        between_epochs = self.step == 0 or self.step in self.ends
        return self.step >= self.total or (between_epochs and (self.task.finished or self.callbacks.stopped))

    def run(self) -> bool:
        """Runs until the end, or until a signal stops it; returns whether it reached the end.

        Raises:
            UserError: The loss is not finite, a checkpoint cannot be written, or processes differ in their settings.
        """
        if self.peers is not None:
            with self._together():
                agreement.check(self.peers, self.config, self.task)
        self._resume()
        with stopping(NOTICE, self.stopped.append):
            while not self._over:
                try:
                    if not self._advance():
                        return False
                except Diverged as error:
                    self._roll_back(error)
        return True

    def _advance(self) -> bool:
        """Takes some steps and does what is due after them; returns whether to continue."""
        epoch = self.epoch
        self._steps(epoch, min(self.per_loop, int(self.ends[epoch]) - self.step))
        if self.step == self.ends[epoch]:
            self._end_epoch(epoch)
        stop, save = self._decisions()
        if stop and not self._over:
            self._save()
            return False
        if save:
            self._save()
        return True

    def _decisions(self) -> tuple[bool, bool]:
        """Returns whether to stop and whether to save now: the same in all processes."""
        stop, save = bool(self.stopped), time.monotonic() - self.saved_at > 60 * self.config.checkpoint_minutes
        if self.peers is not None:
            with self._together():
                stop, save, self.per_loop = self.peers.agree(stop, save, self.per_loop)
        return stop, save

    @contextlib.contextmanager
    def _together(self):
        """Reports in one line if another process was lost while this one waited for it."""
        try:
            yield
        except tf.errors.OpError as error:
            if self.peers is None or isinstance(error, tf.errors.ResourceExhaustedError):  # its own memory ran out
                raise
            raise self.peers.lost(error, self._kept()) from error

    def _roll_back(self, error):
        """Returns to the last checkpoint; raises the error if the limit is reached."""
        task = self.task
        if task.rollbacks >= task.max_rollbacks:
            if not task.max_rollbacks:
                raise error
            raise UserError(f"{error} The run was rolled back {task.rollbacks} times before.") from error
        count = task.rollbacks + 1
        self._restore(self._newest())
        task.rollbacks = count  # not in the checkpoint: a run that is resumed from it gets here again
        self.reporter.message(
            f"{str(error).split('. ')[0]}; roll-back {count} of at most {task.max_rollbacks}: continuing from step "
            f"{self.step}"
        )
        self._begin()

    def _resume(self):
        found = self._newest()
        if found is not None:
            self._restore(found)
        if self.step:
            self.reporter.message(
                f"resuming at step {self.step} of {self.total} from {self.checkpoints.path(self.step)}"
            )
        elif self.task.max_rollbacks:
            self._save()  # for a roll-back in the first epoch
        self._begin()

    def _newest(self) -> Checkpoint | None:
        """Returns the newest checkpoint; in several processes the chief's, or its initial state."""
        found = self.checkpoints.restore()
        if self.peers is None:
            return found
        data = b""
        if self._chief:
            data = to_bytes(found or Checkpoint(0, snapshot(self.task.variables), {"sums": {}, "history": []}))
        with self._together():
            return from_bytes(self.peers.share(data))

    @property
    def _chief(self) -> bool:
        return self.peers is None or self.peers.worker == 0

    def _restore(self, found):
        restore(self.task.variables, found.arrays)
        self.step, self.sums, self.history = found.step, found.metadata["sums"], found.metadata["history"]
        self.task.rollbacks = found.metadata.get("rollbacks", 0)

    def _begin(self):
        for record in self.history[self.reporter.resume(self.history) :]:  # lost in a kill, or damaged
            self.reporter.epoch(record)
        self.task.resumed(self.history)
        self.callbacks.replay(self.history)
        self.task.start(self.step)

    def _steps(self, epoch, count):
        begin = time.monotonic()
        with self._together(), reading(*self.task.splits):
            values = self.task.run(epoch, count)
        seconds = time.monotonic() - begin
        first, self.step = self.step, self.step + count
        self._check_finite(values, first)
        skipped = int(np.count_nonzero(values.get(SKIPPED, ())))
        # Summed one by one in float64: the sum does not depend on how the steps were grouped.
        for name, numbers in values.items():
            for number in numbers:
                self.sums[name] = self.sums.get(name, 0.0) + float(number)
        self.sums["steps"] = self.sums.get("steps", 0) + count - skipped
        if not self.config.steps_per_loop:
            self.per_loop = max(1, min(round(count * LOOP_SECONDS / max(seconds, 1e-3)), 2 * self.per_loop))
        steps, metrics = self.task.epoch_steps[epoch], self._summary()
        done = steps - (int(self.ends[epoch]) - self.step)
        self.reporter.progress(epoch + 1, len(self.ends), done, steps, metrics, self.step)

    def _summary(self):
        metrics = self.task.summarise(self.sums) if self.sums["steps"] else {}  # all steps of an epoch may be skipped
        return metrics | ({"skipped_steps": int(self.sums[SKIPPED])} if SKIPPED in self.sums else {})

    def _check_finite(self, values, first):
        for name, numbers in values.items():
            bad = np.flatnonzero(~np.isfinite(numbers))
            if bad.size:
                raise Diverged(
                    f"{name} is not finite ({numbers[bad[0]]}) at step {first + int(bad[0]) + 1}. {self._advice()}"
                )
        hopeless = np.flatnonzero(values.get(SKIPPED, np.zeros(0)) == HOPELESS)
        if hopeless.size:
            raise Diverged(
                f"step {first + int(hopeless[0]) + 1} overflows float16 even with the loss unscaled, and so did all "
                f"steps while the scale was being lowered. {self._advice()} Or use precision=bfloat16."
            )

    def _kept(self):
        if not self._chief:
            return "The chief has the checkpoints"
        saved = self.checkpoints.steps()
        return f"The last good checkpoint is {self.checkpoints.path(saved[-1])}" if saved else "No checkpoint yet"

    def _advice(self):
        return f"{self._kept()}; try a lower learning rate in a new work directory."

    def _end_epoch(self, epoch):
        record = {"epoch": epoch + 1, "step": self.step, **self._summary()}
        with self._together():
            record |= self.task.end_epoch(epoch)
        self.sums = {}
        self.history.append({k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in record.items()})
        self._save()
        self.reporter.epoch(record)
        self.callbacks.epoch(self.history[-1])

    def _save(self):
        arrays = snapshot(self.task.variables)
        for name, array in arrays.items():  # the loss shows ruined weights one step late
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise Diverged(f"{name} is not finite after step {self.step}. {self._advice()}")
        if self._chief:
            self.checkpoints.save(
                self.step, arrays, {"sums": self.sums, "history": self.history, "rollbacks": self.task.rollbacks}
            )
        self.saved_at = time.monotonic()
