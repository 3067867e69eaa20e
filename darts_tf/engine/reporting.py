"""The reports of a run: progress on the console, `metrics.jsonl`, TensorBoard."""

import collections
import contextlib
import json
import math
import os
import pathlib
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TextIO

import numpy as np

from darts_tf.engine import console, repeats
from darts_tf.engine.console import Console
from darts_tf.engine.monitor import entropies, gaps
from darts_tf.runs.workdir import WorkDir, remove_temporaries, write_json
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, sync_file, write_atomically

_LABELS = {f"train_{what}": f"training {what}" for what in ("accuracy", "loss", "perplexity")}

_MEASURES = ("loss", "accuracy", "top5_accuracy", "perplexity", "bits_per_character")

_SHORT = {f"{part}{what}": what for part in ("train_", "") for what in ("loss", "accuracy", "perplexity")}  # in a bar
# In metrics.jsonl and TensorBoard only.
_SILENT = re.compile("epoch|step|gradient_norm|learning_rate|skip_reduce|(pool|entropy|gap)_.*")

_CELL_PIXELS = 24  # side of one mixing weight in the heat map


class Reporter:
    """Console, `metrics.jsonl` and TensorBoard of one run. Epochs are counted from 1 in everything that is shown.

    Call `resume` before the first epoch, with nothing for a new run, and `close` at the end (or use `with`).

    Args:
        workdir: Where `metrics.jsonl` and `tensorboard/` go.
        total_steps: Steps of the whole run, for the bar and the time left.
        tensorboard: False writes no event files.
        out: The console; a terminal or not.
        clock: Seconds, ascending; tests pass their own.
        held_out: What `valid_accuracy` and `valid_loss` are measured on. People take the supernet's accuracy for the
            result of the search; the derived network's is another number.
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
        self._tensorboard, self._keeps_weights = tensorboard, True
        self._writer = None  # opened by the first summary, after `resume` has been through the files

    def __enter__(self) -> Self:
        """Nothing."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes."""
        self.close()

    def close(self) -> None:
        """Ends the progress bar and the event file."""
        self._console.stop()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def message(self, text: str) -> None:
        """One line for the user; a warning, which begins with "warning: ", is printed once per run, see `repeats`."""
        self._message(text)

    @contextlib.contextmanager
    def working(self, text: str, done: str | None = None) -> Iterator[None]:
        """Shows that something long is running, with its seconds, then a line with the time it took.

        Args:
            text: Such as "building the graph".
            done: Such as "graph built", which gives "graph built in 12.3 s"; `text` if not given.
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
        step: int | None = None,
    ) -> None:
        """Shows where the run is; cheap enough for each loop of steps.

        Args:
            epoch: From 1.
            epochs: Of the whole run.
            step_in_epoch: Steps done in this epoch.
            steps_per_epoch: Steps of this whole epoch.
            metrics: Training metrics, such as `loss` (nats) and `accuracy` (0 to 1).
            step: Steps done in total; not given if all epochs are equally long.
        """
        now, step = self._clock(), (epoch - 1) * steps_per_epoch + step_in_epoch if step is None else step
        self._recent.append((now, step))
        if self._start is None:
            self._start = now, step
        terminal = self._console.terminal
        words = _SHORT if terminal else {name: self._words(name) for name in metrics}
        facts = []
        if rate := _rate(self._recent[0], (now, step)):
            facts.append(f"{rate:.3g} steps/s")
        facts += [f"{words[name]} {_format(name, value)}" for name, value in metrics.items() if name in words]
        # The time left counts validation and drawing too, the rate does not.
        if overall := _rate(self._start, (now, step)):
            facts.append(f"{_duration((self._total_steps - step) / overall)} left")
        where = f"epoch {epoch}/{epochs}"
        if terminal:
            self._console.bar(where, step, self._total_steps, "  ".join(facts))
        elif now >= self._next_line:
            self._next_line = now + console.PLAIN_SECONDS
            self._console.line("  ".join([where, f"step {step_in_epoch}/{steps_per_epoch}", *facts]))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Writes an epoch's record: a line of `metrics.jsonl` that has reached the disk, scalars, a printed line.

        Args:
            record: `epoch` (from 1) and whatever else is worth keeping. Every number becomes a scalar; what is not
                finite becomes null in the JSON.

        Raises:
            UserError: `metrics.jsonl` cannot be written.
        """
        numbers = {name: value for name, value in record.items() if name != "epoch" and _is_number(value)}

        def write(summary: Any) -> None:
            for name, value in numbers.items():
                with np.errstate(over="ignore"):  # TensorBoard's numbers are float32, and larger ones an error
                    summary.scalar(self._labels.get(name, name), np.float32(value))

        # Before the record: whoever resumes writes both again where there is no record.
        self._summarise(int(record["epoch"]), write)
        path = self._workdir.metrics
        try:
            with open(path, "ab") as file:
                file.write(_line(record))
                file.flush()
                sync_file(file.fileno())
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror or error}") from error
        facts = [
            f"{self._words(name)} {_format(name, value)}"
            for name, value in numbers.items()
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

        The file has each edge's entropy and gap, too, see `monitor`; records have their means.

        Args:
            epoch: From 1.
            name: Such as "normal".
            mixing_weights: `(num_edges, num_primitives)`, each from 0 to 1.
            row_labels: One for each edge.
            column_labels: One for each primitive, its name.

        Raises:
            ValueError: The labels do not fit the weights.
        """
        weights = np.asarray(mixing_weights, np.float32)
        if weights.shape != (len(row_labels), len(column_labels)):
            raise ValueError(
                "mixing_weights must have a row for each row label and a column for each column label. Received: "
                f"shape {weights.shape}, {len(row_labels)} row labels, {len(column_labels)} column labels"
            )
        self._keep_weights(self._workdir.alphas / name / f"epoch_{epoch:03d}.json", weights, row_labels, column_labels)
        legend = (
            f"Rows from the top: {', '.join(row_labels)}. Columns from the left: {', '.join(column_labels)}. "
            "White is 0, dark blue is 1; the depth of the colour is the square root of the weight."
        )

        def write(summary: Any) -> None:
            summary.image(f"{name}/mixing_weights", heat_map(weights)[None], description=legend)
            summary.histogram(f"{name}/mixing_weights_histogram", weights)

        self._summarise(epoch, write)

    def _keep_weights(self, path, weights, rows, columns) -> None:
        if not self._keeps_weights:
            return
        try:
            content = {"edges": list(rows), "primitives": list(columns), "mixing_weights": weights.tolist()}
            each_edge = {"entropy": entropies(weights).tolist(), "gap": gaps(weights, columns).tolist()}
            write_json(path, content | each_edge)
        except OSError as error:  # no search needs them
            self._keeps_weights = False
            self.message(f"warning: continuing without {self._workdir.alphas}: {error.strerror or error}")

    def drawing(self, epoch: int, name: str, png_path: str | os.PathLike | None) -> None:
        """Shows a drawing of a cell in TensorBoard; does nothing when there is none.

        Args:
            epoch: From 1.
            name: Such as "normal".
            png_path: A PNG file, or None if nothing could draw it.
        """
        if png_path is None or not self._tensorboard:
            return
        import tensorflow as tf

        picture = tf.io.decode_png(pathlib.Path(png_path).read_bytes(), channels=3)
        self._summarise(epoch, lambda summary: summary.image(f"{name}/cell", picture[None]))

    def resume(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Forgets what an interrupted run wrote after the checkpoint that it goes on from, and what was damaged since.

        Args:
            records: Of the epochs completed in that checkpoint; none for a new run.

        Returns:
            How many of them, from the first one on, `metrics.jsonl` still has; the others are for `epoch` to write.

        Raises:
            UserError: A file cannot be read or written.
        """
        path, epoch, count = self._workdir.metrics, len(records), 0
        try:
            if path.exists():
                lines = [_line(record) for record in records]
                there = path.read_bytes().splitlines(keepends=True)
                while count < min(len(lines), len(there)) and lines[count] == there[count]:
                    count += 1
                write_atomically(path, b"".join(lines[:count]))
            if self._workdir.tensorboard.is_dir():
                remove_temporaries(self._workdir.tensorboard)
                for path in sorted(self._workdir.tensorboard.glob("events.out.tfevents.*")):
                    _forget_events(path, epoch)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror or error}") from error
        return count

    def _words(self, name: str) -> str:
        return self._labels.get(name, name.replace("_", " "))

    def _summarise(self, epoch: int, write: Callable[[Any], None]) -> None:
        """Calls `write(tf.summary)` with the event file open and the epoch as the step.

        A failure does not stop the run: if event files cannot be written, this is reported once and the run continues.
        """
        if not self._tensorboard:
            return
        import tensorflow as tf  # here, since console and metrics.jsonl do without

        errors = tf.errors
        try:
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._workdir.tensorboard))
            with self._writer.as_default(step=epoch):
                try:
                    write(tf.summary)
                    self._writer.flush()
                except errors.OpError:
                    # Leaving the context flushes once more unless the writer is closed; where that fails, it would stay
                    # TensorFlow's default one, for whoever writes summaries in this process.
                    with contextlib.suppress(errors.OpError):
                        self._writer.close()
                    raise
        except (errors.ResourceExhaustedError, errors.PermissionDeniedError, errors.NotFoundError) as error:
            self._tensorboard, self._writer = False, None
            reason = str(error).split("\n")[0]
            self.message(f"warning: continuing without TensorBoard; its files cannot be written: {reason}")


def _line(record: Mapping[str, Any]) -> bytes:
    """An epoch's record as it stands in `metrics.jsonl`."""
    return json.dumps(_jsonable(record), allow_nan=False).encode() + b"\n"


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, oldest first; none where there is no file.

    A last line that a killed process left half written is ignored.

    Raises:
        UserError: An earlier line is damaged, or the file cannot be read.
    """
    try:
        lines = pathlib.Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and number < len(lines):  # the last of the parts has no newline: half written
            records.append(record)
        elif number < len(lines) - 1:
            raise UserError(
                f"{path} is damaged. Expected one JSON object per line. Received in line {number}: {line[:40]!r}; "
                "delete that line to continue without it"
            )
    return records


def _forget_events(path: pathlib.Path, epoch: int) -> None:
    """Removes the events of later epochs, and a torn end, from an event file.

    A SessionLog.START would be the other way, but not every reader heeds it (`EventAccumulator` keeps tensors).
    The format is that of TFRecord: length (8 bytes), its checksum (4), data, their checksum (4).
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    data = path.read_bytes()
    kept, start = [], 0
    while start + 12 <= len(data):
        end = start + 12 + struct.unpack_from("<Q", data, start)[0] + 4
        try:
            step = Event.FromString(data[start + 12 : end - 4]).step
        except DecodeError:
            break
        if end > len(data):
            break
        if step <= epoch:
            kept.append(data[start:end])
        start = end
    if (remaining := b"".join(kept)) != data:
        write_atomically(path, remaining)


def heat_map(weights: np.ndarray) -> np.ndarray:
    """A picture of numbers from 0 (white) to 1 (dark blue), the square root deciding the depth.

    The scale is fixed, so that epochs can be compared; the root keeps 1/8 apart from 0.

    Args:
        weights: `(rows, columns)`.

    Returns:
        `(24 * rows + 1, 24 * columns + 1, 3)`, uint8, with grey lines between the cells.
    """
    depth = np.sqrt(np.clip(np.nan_to_num(weights), 0, 1))[..., None]
    colours = (255 + depth * (np.array([8, 48, 107]) - 255)).round().astype(np.uint8)
    picture = np.pad(colours.repeat(_CELL_PIXELS, axis=0).repeat(_CELL_PIXELS, axis=1), ((0, 1), (0, 1), (0, 0)))
    picture[::_CELL_PIXELS] = 200
    picture[:, ::_CELL_PIXELS] = 200
    return picture


def _rate(earlier: tuple[float, int], later: tuple[float, int]) -> float:
    """Steps per second between two `(time, step)`; 0 if unknown."""
    seconds, steps = later[0] - earlier[0], later[1] - earlier[1]
    return steps / seconds if seconds > 0 and steps > 0 else 0.0


def _duration(seconds: float) -> str:
    """Time as text, in the two largest units."""
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _jsonable(value: Any) -> Any:
    """The value in JSON's types; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
