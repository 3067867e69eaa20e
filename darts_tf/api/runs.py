"""Searches, trainings and evaluations as functions, on data from anywhere."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from darts_tf.api.results import SearchResult, TrainResult
from darts_tf.config import Config, Search, SearchConfig, TrainConfig, presets
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.genotypes import Genotype
from darts_tf.system import streams
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json, user_path
from darts_tf.system.types import Path
from darts_tf.tasks import evaluate as evaluation
from darts_tf.tasks import search as searching
from darts_tf.tasks import train as training

SEARCHES, TRAININGS = (SearchConfig, LanguageSearchConfig), (TrainConfig, LanguageTrainConfig)
PRINT: Any = object()
"""Stands for the current standard output: in a notebook each cell has its own."""


def search(
    config: Search | str,
    workdir: Path,
    data: Any = None,
    callbacks: Iterable[Any] = (),
    out: TextIO | None = PRINT,
    **settings: Any,
) -> SearchResult:
    """Searches cells; the same call resumes an interrupted search in the same work directory.

    Ctrl-C, or interrupting the notebook kernel, stops it after the current steps and saves everything.

    Args:
        config: A `SearchConfig` for images, a `LanguageSearchConfig` for a text, or the name of a preset.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        data: Data to search on, instead of the data that `config` names. For images `(x, y)`, a `tf.data.Dataset` or a
            Keras `PyDataset`; a pair of them, `(training, validation)`; or a dict with `train`, and optionally
            `validation` and `class_names`: see `data.arrays.memory.load_memory`. For a text a list of strings or of
            token numbers, see `data.text.memory.load_memory`. Without validation data, a part of the training data is
            held out for the alphas.
        callbacks: Keras callbacks; they are called at the end of each epoch, see `engine.callbacks.Callbacks`.
        out: Stream for progress lines; standard output by default, None for no output.
        **settings: Settings to change, such as `epochs=10` or `tensorboard=False`.

    Returns:
        The result; `interrupted` says whether it is complete.

    Raises:
        UserError: Bad settings, data or work directory, a failed callback, a full disk, or a loss that is not finite;
            one line.

    Example:
        >>> import darts_tf, numpy as np
        >>> x, y = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), np.uint8), np.arange(200) % 4
        >>> found = darts_tf.search("smoke", "runs/own", data=(x, y), order="first", epochs=1, out=None)
        >>> len(found.genotype.normal)
        4
    """
    found = searching.search(of_preset(config, SEARCHES, settings), workdir, stream_of(out), data, callbacks)
    return SearchResult(workdir, interrupted=found is None)


def train(
    config: TrainConfig | LanguageTrainConfig | str,
    workdir: Path,
    data: Any = None,
    genotype: SearchResult | TrainResult | Genotype | str | None = None,
    callbacks: Iterable[Any] = (),
    out: TextIO | None = PRINT,
    **settings: Any,
) -> TrainResult:
    """Trains a derived network from scratch; the same call resumes an interrupted training.

    Args:
        config: A `TrainConfig` for images, a `LanguageTrainConfig` for a text, or the name of a preset.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        data: Data to train on, as in `search`; a dict may also hold `test`.
        genotype: The cells: the result of a search or of another training, a genotype, or any value of
            `config.genotype`, which it replaces.
        callbacks: See `search`.
        out: See `search`.
        **settings: Settings to change.

    Returns:
        The result: the network, its history, and as a mapping the contents of `summary.json`, see `tasks.train.train`.

    Raises:
        UserError: As in `search`, or a genotype that cannot be used.

    Example:
        >>> import darts_tf
        >>> trained = darts_tf.train("smoke_train", "runs/trained", genotype="DARTS_V1", epochs=1, out=None)
        >>> trained.network.num_classes, 0 <= trained["test_accuracy"] <= 1
        (10, True)
    """
    if genotype is not None:
        settings["genotype"] = _text(genotype)
    own = of_preset(config, TRAININGS, settings)
    summary = training.train(own, workdir, stream_of(out), data=data, callbacks=callbacks)
    return TrainResult(workdir, summary)


def evaluate(
    workdir: Path = "", data: Any = None, model: Path = "", out: TextIO | None = PRINT, **asked: Any
) -> dict[str, Any]:
    """Evaluates a trained network, from a work directory or exported.

    Args:
        workdir: Work directory of a training, or what `train` has returned.
        data: Test data: images with labels, or a text, as in `search`. None for the run's own.
        model: Instead of `workdir`: a `.keras` file, or the folder of a SavedModel.
        out: See `search`.
        **asked: Fields of `tasks.evaluate.Asked`, such as `split="valid"`, `max_examples`, `batch_size`; and `weights`.

    Returns:
        `dataset`, `split`, `source`, `accuracy` and `loss`, or `perplexity`, and the throughput.

    Raises:
        UserError: There is no such model or data, or the two do not fit together; one line.

    Example:
        >>> import darts_tf
        >>> trained = darts_tf.train("smoke_train", "runs/trained", genotype="DARTS_V1", epochs=1, out=None)
        >>> darts_tf.evaluate(trained, out=None)["accuracy"] == trained["test_accuracy"]
        True
    """
    for name, value in (("workdir", workdir), ("model", model)):
        if value and not isinstance(value, str | os.PathLike):
            raise UserError(
                f"{name} must be a path, or for workdir the result of train. Received: {type(value).__name__}. A Keras "
                "model in memory has an evaluate of its own."
            )
    check_words("evaluate", asked, {*evaluation.Asked._fields, "weights"} - {"data"})
    return evaluation.evaluate(os.fspath(workdir), os.fspath(model), say=say_to(out), data=data, **asked)


def load(workdir: Path) -> SearchResult | TrainResult:
    """Reads the results of a search or a training from its work directory; the run may still be in progress.

    Raises:
        UserError: It is not the work directory of a search or training, or a file is damaged; one line.

    Example:
        >>> import darts_tf
        >>> found = darts_tf.search("smoke", "runs/found", order="first", epochs=1, out=None)
        >>> darts_tf.load("runs/found").genotype == found.genotype
        True
    """
    path = user_path(workdir, "workdir")
    try:
        kind = parse_json((path / "config.json").read_bytes()).get("kind")
    except (OSError, ValueError, AttributeError):
        kind = None
    if kind in [each.kind for each in SEARCHES]:
        return SearchResult(path, interrupted=not (path / "genotype.json").is_file())
    if kind in [each.kind for each in TRAININGS]:
        summary = path / "summary.json"
        return TrainResult(path, parse_json(summary.read_bytes()) if summary.is_file() else None)
    raise UserError(
        f"{path} holds neither a search nor a training run: expected the work directory of one. Received: "
        f"{'a run of the kind ' + str(kind) if kind else 'no config.json that can be read'}."
    )


def of_preset(config: Any, kinds: tuple[type[Config], ...], settings: dict[str, Any]) -> Any:
    """Returns settings, given as a config or by the name of a preset, with changes applied.

    Raises:
        UserError: The settings are for another kind of run, or one is wrong; one line.
    """
    config = presets.get(config, kinds).config if isinstance(config, str) else config
    if not isinstance(config, kinds):
        raise UserError(
            f"config must be for {some_of((kind.title for kind in kinds), separator=' or ')}: expected the name of a "
            f"preset, or its settings. Received: {getattr(config, 'title', type(config).__name__)}."
        )
    return config.replace(**settings)


def check_words(call: str, asked: dict[str, Any], known: Iterable[str]) -> None:
    """Raises UserError if a call was given a keyword that it does not take."""
    names = sorted(known)
    for name in asked:
        if name not in names:
            raise UserError(f"{call} takes {', '.join(names)}. Received: {name}={asked[name]!r:.40}.")


def _text(genotype: Any) -> str:
    if isinstance(genotype, SearchResult):
        if genotype.genotype is None:
            raise UserError(
                f"The search in {genotype.path} was interrupted, so it has no genotype yet: expected a finished "
                "search. Call search again to resume it, or pass its `latest`."
            )
    if isinstance(genotype, SearchResult | TrainResult):
        genotype = genotype.genotype
    return genotype.to_text() if isinstance(genotype, Genotype) else str(genotype)


class _Nowhere:
    """Discards what is printed."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def stream_of(out: Any) -> Any:
    """Returns the stream for `out`, which is `PRINT`, None for no output, or a stream."""
    if out is PRINT or out is None:
        return sys.stdout if out is PRINT else _Nowhere()
    if not hasattr(out, "write"):
        raise UserError(f"out must be a stream, or None for no output. Received: {out!r:.40}.")
    return out


def say_to(out: Any) -> Callable[[str], None]:
    """Returns a function that prints a line to such a stream."""
    stream = stream_of(out)
    return lambda line: streams.say(line, stream)
