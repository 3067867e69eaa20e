"""A run's TensorBoard event files: curves, which are rewritten when it resumes, and pictures, which stay."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_CURVES, _PICTURES = ".v2", ".pictures.v2"  # suffixes of the file names; TensorFlow's own is the first
_CELL_PIXELS = 24  # side of one mixing weight in the heat map


class Events:
    """Writes event files. They must not end a run: if one cannot be written, one warning says so and writing stops.

    Pictures have separate files, which are not rewritten: if a kill interrupts an epoch between its pictures and its
    checkpoint, the epoch runs again and its pictures appear twice.

    Args:
        directory: Directory of the files; created with the first one.
        enabled: False writes nothing.
        message: Called with the warning, as a line.
    """

    def __init__(self, directory: pathlib.Path, enabled: bool, message: Callable[[str], None]):
        self._directory, self._enabled, self._message = directory, enabled, message
        self._writers: dict[str, Any] = {}  # by file suffix, opened by the first summary

    def close(self) -> None:
        """Closes the files; later events open new ones."""
        while self._writers:
            self._writers.popitem()[1].close()

    def rewrite(self, curves: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Writes the curves of a run into a fresh file and removes all earlier ones.

        A kill in between leaves both until the run is started again. Timestamps are those of the rewriting.

        Args:
            curves: Epochs, from 1, each with its numbers by name.

        Raises:
            OSError: An earlier file cannot be removed.
        """
        if not self._enabled:
            return
        self.close()
        earlier = [path for path in self._directory.glob("*.tfevents.*") if not path.name.endswith(_PICTURES)]
        for epoch, numbers in curves:
            self.scalars(epoch, numbers)
        for path in earlier if self._enabled else ():
            path.unlink(missing_ok=True)

    def scalars(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Writes a point of each curve.

        Args:
            epoch: Epoch, from 1.
            numbers: Numbers by the curve's name.
        """

        def write(summary: Any) -> None:
            for name, value in numbers.items():
                with np.errstate(over="ignore"):  # TensorBoard's numbers are float32, and larger ones cause an error
                    summary.scalar(name, np.float32(value))

        self._write(epoch, _CURVES, write)

    def weights(
        self, epoch: int, name: str, weights: np.ndarray, row_labels: Sequence[str], column_labels: Sequence[str]
    ) -> None:
        """Shows mixing weights as a heat map and a histogram; for the arguments see `Reporter.alphas`."""
        legend = (
            f"Rows from the top: {', '.join(row_labels)}. Columns from the left: {', '.join(column_labels)}. "
            "White is 0, dark blue is 1; the depth of the colour is the square root of the weight."
        )

        def write(summary: Any) -> None:
            summary.image(f"{name}/mixing_weights", heat_map(weights)[None], description=legend)
            summary.histogram(f"{name}/mixing_weights_histogram", weights)

        self._write(epoch, _PICTURES, write)

    def drawing(self, epoch: int, name: str, png_path: str | os.PathLike) -> None:
        """Shows a drawing of a cell; for the arguments see `Reporter.drawing`."""
        if not self._enabled:
            return
        import tensorflow as tf

        picture = tf.io.decode_png(pathlib.Path(png_path).read_bytes(), channels=3)
        self._write(epoch, _PICTURES, lambda summary: summary.image(f"{name}/cell", picture[None]))

    def graph(self, graph: Any) -> None:
        """Shows a `tf.Graph`. It lies with the curves, since TensorBoard expects a single one in a run's directory."""
        self._write(0, _CURVES, lambda summary: summary.graph(graph))

    def _write(self, epoch: int, ending: str, write: Callable[[Any], None]) -> None:
        """Calls `write(tf.summary)` with the file open and the epoch as the step."""
        if not self._enabled:
            return
        import tensorflow as tf  # here, since console and metrics.jsonl do not need it

        errors = tf.errors
        try:
            if ending not in self._writers:
                self._writers[ending] = tf.summary.create_file_writer(str(self._directory), filename_suffix=ending)
            writer = self._writers[ending]
            with writer.as_default(step=epoch):
                try:
                    write(tf.summary)
                    writer.flush()
                except errors.OpError:
                    # Leaving the context flushes again unless the writer is closed; if that fails, it would remain
                    # TensorFlow's default writer for all summaries of this process.
                    with contextlib.suppress(errors.OpError):
                        writer.close()
                    raise
        except (errors.ResourceExhaustedError, errors.PermissionDeniedError, errors.NotFoundError) as error:
            self._enabled = False
            self._writers.clear()
            reason = str(error).split("\n")[0]
            self._message(f"warning: continuing without TensorBoard; its files cannot be written: {reason}")


def heat_map(weights: np.ndarray) -> np.ndarray:
    """A picture of numbers from 0 (white) to 1 (dark blue), with the square root as colour depth.

    The scale is fixed, so that epochs can be compared; the root makes 1/8 distinguishable from 0.

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
