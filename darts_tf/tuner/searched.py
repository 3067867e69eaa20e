"""The alphas of a search, read from its work directory and interpreted by the search's method."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from darts_tf.config import Search, SearchConfig
from darts_tf.config.fields import named
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.engine.early_stop import verdict
from darts_tf.genotypes import KINDS, selection
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.runs.metrics import read_metrics
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json
from darts_tf.tuner.space import Space

_SEARCHES: dict[str, Any] = {each.kind: each for each in (SearchConfig, LanguageSearchConfig)}


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        space: Space of the search.
        alphas: For each cell the argument of `strength`, `(edges, primitives)`.
        strength: `Method.strength` of the search's method; the identity if the alphas are already strengths.
        select: Chooses the pairs of a cell, see `Method.selection`.
    """

    space: Space
    alphas: dict[str, np.ndarray]
    strength: Callable[..., dict[str, np.ndarray]]
    select: Callable[..., list[tuple[str, int]]]


def found_alphas(path: pathlib.Path, say: Callable[[str], None]) -> Found | None:
    """Finds the alphas that belong to a search's result.

    They are those of the newest checkpoint. If the search was stopped early and its result is the genotype of an
    earlier epoch, they are the strengths of that epoch; if the method has its own variables, which a checkpoint does
    not name, they are those of the newest epoch. Those of a search in stages are the last stage's.

    Args:
        path: Path of a work directory.
        say: Called with a line if it is an earlier epoch.

    Returns:
        The result; None if there are no alphas (there may be a genotype).

    Raises:
        UserError: A file is damaged; one line.
    """
    path = WorkDir(path).stages[-1].path
    config = _config(path)
    settings = _SEARCHES.get(str(config.get("kind", SearchConfig.kind)))
    kind = str(config.get("space") or (settings and settings.space))
    if kind not in KINDS or not {"primitives", "num_nodes"} <= config.keys():
        return None  # a training or something else
    genotype = KINDS[kind]
    stopped = None
    if config.get("early_stop") == "eigenvalue":
        stopped = verdict(read_metrics(path / "metrics.jsonl"), config.get("epochs", 0))
    method = _method(path, config, settings or SearchConfig)
    found: Any = _newest(path, genotype) if stopped is None else _of_epoch(path, genotype, stopped.epoch)
    if found is None:
        return None
    strength = method.strength if stopped is None else _as_they_are
    if len(found) > len(genotype.cells):
        epochs = [record["epoch"] for record in read_metrics(path / "metrics.jsonl") if "epoch" in record]
        found, strength = _of_epoch(path, genotype, max(epochs, default=0)), _as_they_are
        if found is None:
            return None
    if stopped is not None:
        say(
            f"the search in {path} was stopped early: the prior is the mixing weights after epoch {stopped.epoch}, "
            "whose genotype is its result"
        )
    nodes = config["num_nodes"]
    concat = genotype.output_nodes(nodes, config.get("concat", 0))
    space = Space.of(kind, nodes, config["primitives"], [concat] * len(genotype.cells))
    return Found(space, dict(zip(genotype.cells, found, strict=True)), strength, method.selection(selection.select))


def _as_they_are(strengths):
    return strengths


def _method(path, config, settings):
    from darts_tf import methods  # here, because priors without a search need no TensorFlow

    known = {field.name for field in dataclasses.fields(settings)}  # a later version may have more
    try:
        return methods.make(settings.from_json({name: value for name, value in config.items() if name in known}))
    except UserError as error:
        raise UserError(f"The settings in {path / 'config.json'} cannot be used: {error}") from error


def _config(path):
    try:
        config = parse_json((path / "config.json").read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / 'config.json'} cannot be read: {error}. Expected a file written by darts-search."
        ) from error
    if not isinstance(config, dict):
        return {}
    for name, holds in _FIELDS.items():
        if name in config and not holds(config[name]):
            raise UserError(
                f"{path / 'config.json'} is damaged at {name!r}. Expected a file written by darts-search. Received: "
                f"{str(config[name])[:80]}."
            )
    return config


def _count(value):
    return type(value) is int and 0 <= value < 10**6


# The settings that are read from a search of either kind.
_FIELDS = {"num_nodes": lambda value: _count(value) and 1 <= value <= 100, "concat": _count, "epochs": _count}
_FIELDS["primitives"] = lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value)
named(_FIELDS, Search)


def _newest(path, genotype):
    """The alphas of the newest checkpoint, in which those of the cells come first; None if there is none."""
    found = Checkpoints(path / "checkpoints", read_only=True).restore()
    tables = [array for name, array in sorted(found.arrays.items()) if name.startswith("alphas/")] if found else []
    if 0 < len(tables) < len(genotype.cells):
        raise UserError(
            f"The newest checkpoint in {path} lacks alphas. Expected those of {', '.join(genotype.cells)}, as "
            f"{path / 'config.json'} says. Received: {len(tables)} table(s)."
        )
    return tables or None


def _of_epoch(path, genotype, epoch):
    """The method's strengths of the operations after an epoch; None if they were not saved."""
    strengths = []
    for name in genotype.names.values():
        file = path / "alphas" / name / f"epoch_{epoch:03d}.json"
        try:
            strengths.append(np.array(parse_json(file.read_bytes())["mixing_weights"], np.float64))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} cannot be read: {error}. Expected a file written by darts-search.") from error
    return strengths
