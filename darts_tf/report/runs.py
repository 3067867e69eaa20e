"""The contents of work directories as values; a run may be of any kind, unfinished, or consist of other runs."""

import dataclasses
import itertools
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from darts_tf import genotypes
from darts_tf.report.tables import is_number, words
from darts_tf.runs.metrics import read_metrics
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, user_path

# The expected contents of JSON files, in words and as a check.
_OBJECT = "an object", lambda value: isinstance(value, dict)
_OBJECTS = "a list of objects", lambda value: isinstance(value, list) and all(isinstance(x, dict) for x in value)
_COUNT = "a whole number", lambda value: type(value) is int and 0 <= value < 2**31
_FINITE = "a finite number", lambda value: abs(value) < 1e300
_PROTOCOL = {"searches": _OBJECTS, "random": _OBJECTS, "table": _OBJECTS, "selected": _OBJECT}
_PROTOCOL["evaluations"] = (
    "an object with lists of objects",
    lambda value: isinstance(value, dict) and all(_OBJECTS[1](entries or []) for entries in value.values()),
)

_COMPARISON = {"table": _OBJECTS, "random": _OBJECTS}

PROTOCOL, COMPARISON, TUNINGS = "protocol", "comparison", ("tune", "language_tune")
STAGES = ("searches/*", "retrain/search_*", "retrain/random_*", "evaluate/search/*", "evaluate/random/*")


@dataclasses.dataclass(frozen=True)
class Weights:
    """The mixing weights of one cell over the epochs.

    Attributes:
        epochs: Their epochs, ascending.
        edges: Names of the edges.
        primitives: Names of the operations.
        values: `(epochs, edges, primitives)`.
    """

    epochs: list[int]
    edges: list[str]
    primitives: list[str]
    values: np.ndarray


@dataclasses.dataclass
class Run:
    """One work directory.

    Attributes:
        name: Its name on the page.
        path: The directory.
        kind: The kind in its `config.json`, or `protocol`; empty if nothing could be read.
        config: The settings.
        history: One record for each epoch.
        genotypes: `(epoch, genotype)`, ascending.
        genotype: The result, or None.
        weights: Mixing weights by the names of the cells.
        summary: The results of a finished training or tuning, or of a protocol.
        parts: The runs of which it consists.
        problem: Why it is empty, for a part that cannot be read.
    """

    name: str
    path: pathlib.Path
    kind: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    history: list[dict] = dataclasses.field(default_factory=list)
    genotypes: list[tuple[int, Any]] = dataclasses.field(default_factory=list)
    genotype: Any = None
    weights: dict[str, Weights] = dataclasses.field(default_factory=dict)
    summary: dict = dataclasses.field(default_factory=dict)
    parts: list["Run"] = dataclasses.field(default_factory=list)
    problem: str = ""

    @property
    def latest(self) -> Any:
        """The genotype of the last epoch; None before the end of the first."""
        return self.genotypes[-1][1] if self.genotypes else None

    def called(self, key: str) -> str:
        """A key of the records in words; what a search measures is its supernet, not the network of its result."""
        supernet = self.genotypes and key.endswith(("accuracy", "perplexity", "loss"))
        return ("supernet " if supernet else "") + re.sub("^valid ", "validation ", words(key))

    @property
    def seconds(self) -> float | None:
        """Seconds of the completed epochs, including its parts'; None if there are none."""
        every = [record.get("seconds") for record in self.history] + [each.seconds for each in self.parts]
        known = [each for each in every if is_number(each)]
        return math.fsum(known) if known else None


def read(path: pathlib.Path, name: str) -> Run:
    """Reads a work directory; of a search in stages, that of the last stage that has begun.

    Raises:
        UserError: It is not a work directory, or one of its files is damaged; one line.
    """
    path = WorkDir(user_path(path, "workdir")).stages[-1].path
    if (path / "protocol.json").is_file():
        return _protocol(path, name)
    config = _json(path / "config.json")
    if config is None:
        what = "no such directory" if not path.is_dir() else "it has neither config.json nor protocol.json"
        raise UserError(
            f"{path} is not a work directory: {what}. Expected one written by darts-search, darts-train, darts-tune "
            "or darts-protocol"
        )
    _check(path / "config.json", config, {"epochs": _COUNT})
    run = Run(name, path, str(config.get("kind", "search")), config)  # older files lack it; those were searches
    run.history = _history(path / "metrics.jsonl")
    run.summary = _json(path / "summary.json") or {}
    _check(path / "summary.json", run.summary, {"trials": _OBJECTS, "best": _OBJECT})
    if (path / "genotype.json").is_file():
        run.genotype = genotypes.load(path / "genotype.json")
    epochs = {record.get("epoch") for record in run.history}  # a resumed run may have files of later epochs
    run.genotypes = [(n, genotypes.load(file)) for n, file in _by_epoch(path / "genotypes") if n in epochs]
    for folder in sorted(path.glob("alphas/*")):
        if found := [(n, _json(file)) for n, file in _by_epoch(folder) if n in epochs]:
            run.weights[folder.name] = _weights(found, folder)
    if run.kind == PROTOCOL:  # whose table does not exist yet
        below = [each for stage in STAGES for each in sorted(path.glob(stage), key=lambda each: (len(each.name), each))]
        run.parts = [part(each, each.relative_to(path).as_posix()) for each in below if each.is_dir()]
    if run.kind == COMPARISON:
        run.summary = _json(path / "comparison.json") or {}
        _check(path / "comparison.json", run.summary, _COMPARISON)
        below = [each for each in sorted(path.glob("searches/*/*")) if each.is_dir()]
        run.parts = [part(each, each.relative_to(path / "searches").as_posix()) for each in below]
    if run.kind in TUNINGS:
        run.parts = [part(each, f"trial {int(each.name) + 1}") for each in sorted(path.glob("trials/[0-9]*"))]
    return run


def part(path: pathlib.Path, name: str) -> Run:
    """Reads a run that is part of another; if it cannot be read, its `problem` says why."""
    try:
        if (path / "protocol.json").is_file():
            raise UserError(f"{path} is itself a protocol")
        return read(path, name)
    except UserError as error:
        return Run(name, path, problem=str(error))


def names(paths: Sequence[pathlib.Path]) -> list[str]:
    """The shortest distinct endings of some paths."""
    parts = [user_path(path, "workdir").resolve().parts for path in paths]
    found = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        found.append(pathlib.PurePath(*own[-length:]).as_posix())
    return found


def _protocol(path, name):
    found = _json(path / "protocol.json") or {}
    _check(path / "protocol.json", found, _PROTOCOL)
    run = Run(name, path, PROTOCOL, _json(path / "config.json") or {}, summary=found)
    stages = [found.get("searches"), found.get("random"), *(found.get("evaluations") or {}).values()]
    for entry in itertools.chain.from_iterable(entries or [] for entries in stages):
        folders = [entry[key] for key in ("workdir", "retrain") if isinstance(entry.get(key), str)]
        run.parts += [part(path / folder, folder) for folder in folders]
    return run


def _history(path):
    """The records of the epochs, with numbers that a chart can show."""
    history = read_metrics(path)
    for record in history:
        _check(path, record, {"epoch": _COUNT} | {k: _FINITE for k, v in record.items() if isinstance(v, int | float)})
    return history


def _check(path, found, shapes):
    """Refuses a JSON file that is not in the form a run writes, which the page could not show."""
    for key, (form, holds) in shapes.items():
        if found.get(key) is not None and not holds(found[key]):
            raise UserError(
                f"{path} is damaged. Expected {form} as {key!r}. Received: {repr(found[key])[:80]}. Fix or restore it"
            )


def _json(path):
    """The object in a file, or None if there is no file."""
    try:
        found = parse_json(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged. Expected a JSON object. Received: {error}") from error
    return found


def _by_epoch(folder):
    for file in sorted(folder.glob("epoch_*.json")):
        number = file.stem.removeprefix("epoch_")
        if number.isdecimal():
            yield int(number), file


def _weights(found, folder):
    first = found[0][1]
    try:
        values = np.array([data["mixing_weights"] for _, data in found], np.float64)
        if values.shape[1:] != (len(first["edges"]), len(first["primitives"])):
            raise ValueError(f"weights of shape {values.shape[1:]}")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder} is damaged. Expected the same cells in all epochs. Received: {error}") from error
    return Weights(
        [n for n, _ in found], [str(e) for e in first["edges"]], [str(p) for p in first["primitives"]], values
    )
