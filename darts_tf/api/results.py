"""Results of searches and trainings, as objects that a notebook shows; made from the work directory alone."""

import functools
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from darts_tf import genotypes
from darts_tf.api.pictures import Picture, picture
from darts_tf.config.fields import joined
from darts_tf.data.arrays import pixels
from darts_tf.genotypes import Genotype
from darts_tf.genotypes.selection import softmax
from darts_tf.report import runs, write_report
from darts_tf.report.runs import Run
from darts_tf.system import npz
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path
from darts_tf.system.types import Path
from darts_tf.tasks import trained


class Result(os.PathLike):
    """The results of a run so far; accepted wherever the path of a work directory is.

    Attributes:
        path: The work directory.
        interrupted: Whether the run was interrupted; the same call resumes it.
    """

    def __init__(self, workdir: Path, interrupted: bool = False):
        self.path, self.interrupted = user_path(workdir, "workdir"), interrupted

    def __fspath__(self) -> str:
        """Returns the path of the work directory."""
        return str(self.path)

    @functools.cached_property
    def run(self) -> Run:
        """The run as the report reads it; for a run in stages, the last stage that has begun."""
        return runs.read(self.path, self.path.name)

    @property
    def config(self) -> dict[str, Any]:
        """The settings."""
        return self.run.config

    @functools.cached_property
    def history(self) -> dict[str, list]:
        """Measurements after each epoch, as lists by name, such as `train_loss`; None if an epoch lacks one."""
        records = self.run.history
        names = dict.fromkeys(name for record in records for name in record if name != "genotype")
        return {name: [record.get(name) for record in records] for name in names}

    def frame(self) -> Any:
        """Returns `history` as a pandas `DataFrame`, a row for each epoch. Raises ImportError without pandas."""
        import pandas  # not a dependency: whoever wants a frame has it

        return pandas.DataFrame(self.history).set_index("epoch") if self.history else pandas.DataFrame()

    def report(self, path: Path) -> pathlib.Path:
        """Writes the page about this run, see `darts_tf.report`; returns its path."""
        return write_report([self.path], path)

    def _repr_html_(self) -> str:
        return str(picture(self.run))

    def __repr__(self) -> str:
        """Describes the result in one line."""
        state = ", interrupted" if self.interrupted else ""
        return f"<{type(self).__name__} of {self.path}: {len(self.run.history)} epochs{state}>"


class SearchResult(Result):
    """The result of a search.

    Example:
        >>> import darts_tf
        >>> found = darts_tf.search("smoke", "runs/found", order="first", epochs=1, out=None)
        >>> found.interrupted, len(found.history["train_loss"]), sorted(found.alphas)
        (False, 1, ['normal', 'reduce'])
    """

    @functools.cached_property
    def genotype(self) -> Genotype | None:
        """The cells; None while the search is interrupted: `latest` then has those of the last epoch."""
        path = self.path / "genotype.json"
        return genotypes.load(path) if path.is_file() and not self.interrupted else None

    @property
    def latest(self) -> Genotype | None:
        """The cells of the last epoch; None before the end of the first."""
        return self.run.latest

    @functools.cached_property
    def alphas(self) -> dict[str, np.ndarray]:
        """The architecture variables after the last epoch by name, for each cell `(edges, operations)` float32.

        Empty before the end of the first epoch.
        """
        path = self.run.path / "alphas.npz"
        return npz.read(path) if path.is_file() else {}

    @functools.cached_property
    def mixing_weights(self) -> dict[str, np.ndarray]:
        """For each cell, the strength of each operation, `(epochs, edges, operations)`."""
        names = self.latest.names if self.latest else {}
        return {cell: self.run.weights[name].values for cell, name in names.items() if name in self.run.weights}

    def plot(self, path: Path | None = None) -> Picture:
        """Returns the cells found and the mixing weights over the epochs, as a notebook shows them.

        Args:
            path: Path of an HTML file to write as well.
        """
        found = picture(self.run)
        if path is not None:
            found.save(path)
        return found


class TrainResult(Result, Mapping[str, Any]):
    """The result of a training; as a mapping it holds `summary.json`, and is empty while the training is interrupted.

    Example:
        >>> import darts_tf
        >>> trained = darts_tf.train("smoke_train", "runs/trained", genotype="DARTS_V1", epochs=1, out=None)
        >>> trained.test["accuracy"] == trained["test_accuracy"], trained.genotype == darts_tf.genotype.load("DARTS_V1")
        (True, True)
    """

    def __init__(self, workdir: Path, summary: Mapping[str, Any] | None):
        super().__init__(workdir, summary is None)
        self.summary = dict(summary or {})

    def __getitem__(self, name: str) -> Any:
        """Returns a value of the summary."""
        return self.summary[name]

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names of the summary."""
        return iter(self.summary)

    def __len__(self) -> int:
        """Returns how many values the summary has."""
        return len(self.summary)

    @property
    def network(self) -> Any:
        """The trained network with the recommended weights, a `keras.Model`.

        It maps images `(N, H, W, C)`, normalised as in training, to logits `(N, classes)`; `predict` does that, too.
        For language models see `trained.Trained`.
        """
        return self._trained.network

    @functools.cached_property
    def _trained(self):
        return trained.load(self.path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, of an image network."""
        return self._trained.facts.class_names

    def predict(self, images: Any, value_range: Any = None, batch_size: int = 96) -> np.ndarray:
        """Returns the probabilities `(N, classes)` of images, which it normalises as in training.

        Args:
            images: `(N, H, W, C)`, or `(N, H, W)` for one channel, of the network's size, with values as in training.
            value_range: The values of black and white, see `TrainConfig`; by default those of the run.
            batch_size: Images at a time.

        Raises:
            UserError: It is a language model, or the images have another form or an ambiguous scale.
        """
        facts = self._trained.facts
        if not isinstance(facts, trained.ImageFacts):
            raise UserError("predict is for networks on images, but this is a language model: export it.")
        values, shape, where = np.asarray(images), facts.image_shape, "The array of images"
        height, width, channels = shape
        if values.shape[1:] not in (shape, *([shape[:2]] if channels == 1 else [])):
            raise UserError(f"images must have the shape (N, {height}, {width}, {channels}). Received: {values.shape}.")
        if not len(values):
            return np.zeros((0, len(facts.class_names)), np.float32)
        asked = joined(value_range) or self._trained.config["value_range"]
        found = pixels.to_bytes(values, *pixels.choose_range(where, pixels.measure(where, values), asked))
        return softmax(facts.logits(self.network, found, batch_size), np.float32)

    @property
    def genotype(self) -> Genotype | None:
        """The cells."""
        return self.run.genotype

    @property
    def test(self) -> dict[str, float]:
        """Measurements on the test data, by name; empty if there are no test data."""
        found = {name.removeprefix("test_"): value for name, value in self.summary.items() if name.startswith("test_")}
        return {name: value for name, value in found.items() if value is not None}
