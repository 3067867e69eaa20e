"""The reports of a run: progress on the console, `metrics.jsonl`, TensorBoard."""

import collections
import contextlib
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from darts_tf.engine import console, repeats
from darts_tf.engine.console import Console
from darts_tf.engine.monitor import entropies, gaps
from darts_tf.engine.tensorboard import Events
from darts_tf.runs import metrics as metrics_file
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system.errors import UserError

_LABELS = {f"train_{what}": f"training {what}" for what in ("accuracy", "loss", "perplexity")}

_MEASURES = ("loss", "accuracy", "top5_accuracy", "perplexity", "bits_per_character")

_SHORT = {f"{part}{what}": what for part in ("train_", "") for what in ("loss", "accuracy", "perplexity")}  # in a bar
# In metrics.jsonl and TensorBoard only.
_SILENT = re.compile("epoch|step|gradient_norm|learning_rate|skip_reduce|(pool|entropy|gap)_.*")


class Reporter(contextlib.AbstractContextManager):
    """Console, `metrics.jsonl` and TensorBoard of one run. Epochs are shown counted from 1.

    Use it in a `with` statement, and call `resume` before the first epoch, with no records for a new run.

    Args:
        workdir: Directory of `metrics.jsonl` and `tensorboard/`.
        total_steps: Steps of the whole run, for the bar and the time left.
        tensorboard: False writes no event files.
        out: The console; a terminal or not.
        clock: Seconds, ascending; tests pass their own.
        held_out: The data on which `valid_accuracy` and `valid_loss` are measured. Users may take the supernet's
            accuracy for the result of the search; the derived network's accuracy is a different number.
    """

    def __init__(
        self,
        workdir: WorkDir,
        total_steps: int,
        tensorboard: bool,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        held_out: str = "supernet validation",
    ):
        held_out_labels = {f"valid_{what}": f"{held_out} {what.replace('_', ' ')}" for what in _MEASURES}
        self._labels = _LABELS | held_out_labels
        self._workdir = workdir
        self._total_steps = total_steps
        self._console = Console(sys.stdout if out is None else out)
        self._message = repeats.once(self._console.line)
        self._clock = clock
        self._start: tuple[float, int] | None = None  # time and step of the first progress
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=20)
        self._next_line = -math.inf
        self._events = Events(workdir.tensorboard, tensorboard, self._message)
        self._keeps_weights, self._graph_shown = True, False

    def __exit__(self, *exception: object) -> None:
        """Ends the progress bar and the event files."""
        self._console.stop()
        self._events.close()

    def message(self, text: str) -> None:
        """Prints one line; a warning, which begins with "warning: ", is printed once per run, see `repeats`."""
        self._message(text)

    @contextlib.contextmanager
    def working(self, text: str, done: str | None = None) -> Iterator[None]:
        """Shows that something long is running, with the elapsed seconds, then a line with the time it took.

        Args:
            text: Description, such as "building the graph".
            done: Such as "graph built", which prints "graph built in 12.3 s"; `text` if not given.
        """
        start = self._clock()
        with self._console.busy(text, lambda: self._clock() - start):
            yield
        self._console.line(f"{done or text} in {self._clock() - start:.1f} s")

    def progress(
        self,
        epoch: int,
        epochs: int,
        step_in_epoch: int,
        steps_per_epoch: int,
        metrics: Mapping[str, float],
        step: int,
    ) -> None:
        """Shows the run's progress; cheap enough for each loop of steps.

        Args:
            epoch: Epoch, from 1.
            epochs: Number of epochs of the run.
            step_in_epoch: Steps done in this epoch.
            steps_per_epoch: Total steps of this epoch.
            metrics: Training metrics, such as `loss` (nats) and `accuracy` (0 to 1).
            step: Steps done in total.
        """
        now = self._clock()
        self._recent.append((now, step))
        if self._start is None:
            self._start = now, step
        has_bar = self._console.has_bar
        words = _SHORT if has_bar else {name: self._words(name) for name in metrics}
        facts = []
        if rate := _rate(self._recent[0], (now, step)):
            facts.append(f"{rate:.3g} steps/s")
        facts += [f"{words[name]} {_format(name, value)}" for name, value in metrics.items() if name in words]
        # The time left includes validation and drawing, the rate does not.
        if overall := _rate(self._start, (now, step)):
            facts.append(f"{_duration((self._total_steps - step) / overall)} left")
        where = f"epoch {epoch}/{epochs}"
        if has_bar:
            self._console.bar(where, step, self._total_steps, "  ".join(facts))
        elif now >= self._next_line:
            self._next_line = now + console.PLAIN_SECONDS
            self._console.line("  ".join([where, f"step {step_in_epoch}/{steps_per_epoch}", *facts]))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Writes an epoch's record: a line of `metrics.jsonl`, flushed to disk, scalars, a printed line.

        Args:
            record: `epoch` (from 1) and anything else worth keeping. Every number becomes a scalar; numbers that are
                not finite become null in the JSON.

        Raises:
            UserError: `metrics.jsonl` cannot be written.
        """
        # Before the record: a resumed run writes both again if there is no record.
        self._events.scalars(*self._curves(record))
        metrics_file.append(self._workdir.metrics, record)
        facts = [
            f"{self._words(name)} {_format(name, value)}"
            for name, value in _numbers(record).items()
            if not _SILENT.fullmatch(name)
        ]
        self._console.line("  ".join([f"epoch {record['epoch']} done", *facts]))
        self._recent.clear()
        self._next_line = self._clock() + console.PLAIN_SECONDS

    def alphas(
        self,
        epoch: int,
        name: str,
        mixing_weights: np.ndarray,
        row_labels: Sequence[str],
        column_labels: Sequence[str],
    ) -> None:
        """Writes a cell's mixing weights as `alphas/NAME/epoch_NNN.json`, and to TensorBoard as a heat map.

        The file also has each edge's entropy and gap, see `monitor`; records have their means.

        Args:
            epoch: Epoch, from 1.
            name: Name of the cell, such as "normal".
            mixing_weights: `(num_edges, num_primitives)`, each from 0 to 1.
            row_labels: One label per edge.
            column_labels: The names of the primitives.

        Raises:
            ValueError: The labels do not fit the weights.
        """
        weights = np.asarray(mixing_weights, np.float32)
        if weights.shape != (len(row_labels), len(column_labels)):
            raise ValueError(
                "mixing_weights must have a row for each row label and a column for each column label. Received: "
                f"shape {weights.shape}, {len(row_labels)} row labels, {len(column_labels)} column labels"
            )
        content = {
            "edges": list(row_labels),
            "primitives": list(column_labels),
            "mixing_weights": weights.tolist(),
            "entropy": entropies(weights).tolist(),
            "gap": gaps(weights, column_labels).tolist(),
        }
        if self._keeps_weights:
            try:
                write_json(self._workdir.alphas / name / f"epoch_{epoch:03d}.json", content)
            except OSError as error:  # not needed by any search
                self._keeps_weights = False
                self.message(f"warning: continuing without {self._workdir.alphas}: {error.strerror or error}")
        self._events.weights(epoch, name, weights, row_labels, column_labels)

    def drawing(self, epoch: int, name: str, png_path: str | os.PathLike | None) -> None:
        """Shows a drawing of a cell in TensorBoard; does nothing if there is none.

        Args:
            epoch: Epoch, from 1.
            name: Name of the cell, such as "normal".
            png_path: A PNG file, or None if nothing could draw it.
        """
        if png_path is not None:
            self._events.drawing(epoch, name, png_path)

    def graph(self, graph: Any) -> None:
        """Shows the graph of a network in TensorBoard, the first that is given; later ones are left out."""
        if not self._graph_shown:
            self._graph_shown = True
            self._events.graph(graph)

    def resume(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Discards what an interrupted run wrote after the checkpoint it resumes from, and what was damaged since.

        TensorBoard's curves are rewritten from the remaining records.

        Args:
            records: Records of the epochs completed in that checkpoint; none for a new run.

        Returns:
            How many of them, starting from the first, `metrics.jsonl` still has; the others must be written by `epoch`.

        Raises:
            UserError: A file cannot be read or written.
        """
        count = metrics_file.keep(self._workdir.metrics, records)
        try:
            self._events.rewrite(map(self._curves, records[:count]))
        except OSError as error:
            raise UserError(f"Cannot write {self._workdir.tensorboard}: {error.strerror or error}") from error
        return count

    def _curves(self, record: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
        return int(record["epoch"]), {self._labels.get(name, name): v for name, v in _numbers(record).items()}

    def _words(self, name: str) -> str:
        return self._labels.get(name, name.replace("_", " "))


def _rate(earlier: tuple[float, int], later: tuple[float, int]) -> float:
    """Steps per second between two `(time, step)`; 0 if unknown."""
    seconds, steps = later[0] - earlier[0], later[1] - earlier[1]
    return steps / seconds if seconds > 0 and steps > 0 else 0.0


def _duration(seconds: float) -> str:
    """A duration as text, in the two largest units."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _format(name: str, value: Any) -> str:
    value = float(value)
    if name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if name.endswith("seconds"):
        return f"{value:.1f}"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record except for the epoch's."""
    types: Any = int | float | np.integer | np.floating
    return {n: v for n, v in record.items() if n != "epoch" and isinstance(v, types) and not isinstance(v, bool)}
