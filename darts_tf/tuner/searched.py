"""The alphas of a search, read from its work directory and interpreted by the search's method."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from darts_tf.config import SearchConfig
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
    search = _search(path)
    if search is None:
        return None  # a training or something else
    config, method = search
    genotype, stopped = KINDS[config.space], None
    if config.early_stop == "eigenvalue":
        stopped = verdict(read_metrics(path / "metrics.jsonl"), config.epochs)
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
    concat = genotype.output_nodes(config.num_nodes, config.concat)
    space = Space.of(config.space, config.num_nodes, config.primitives, [concat] * len(genotype.cells))
    return Found(space, dict(zip(genotype.cells, found, strict=True)), strength, method.selection(selection.select))


def _as_they_are(strengths):
    return strengths


def _search(path):
    """The settings and the method of the search in a work directory; None if it holds no search."""
    file = path / "config.json"
    try:
        found = parse_json(file.read_bytes())
        settings = _SEARCHES.get(str(found.get("kind", SearchConfig.kind))) if isinstance(found, dict) else None
        if settings is None or found.get("space", settings.space) not in KINDS:
            return None
        from darts_tf import methods  # here, because priors without a search need no TensorFlow

        known = {field.name for field in dataclasses.fields(settings)}  # a later version may have more
        config = settings.from_json({name: value for name, value in found.items() if name in known})
        return config, methods.make(config)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be used: {error}. Expected a file written by darts-search.") from error


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
