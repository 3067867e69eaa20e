"""The alphas that a search has found, read from its work directory."""

import pathlib
from collections.abc import Callable

import numpy as np

from darts_tf.config import Search, SearchConfig
from darts_tf.config.fields import named
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.engine.monitor import verdict
from darts_tf.genotypes import KINDS
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.runs.metrics import read_metrics
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json
from darts_tf.tuner.space import Space

_SPACES = {each.kind: each.space for each in (SearchConfig, LanguageSearchConfig)}  # where config.json names none


def found_alphas(path: pathlib.Path, say: Callable[[str], None]) -> tuple[Space, dict[str, np.ndarray]] | None:
    """Finds the alphas that belong to a search's result.

    They are those of the newest checkpoint, or, where the search was stopped early and its result is the genotype of an
    earlier epoch, the mixing weights of that epoch.

    Args:
        path: Of a work directory.
        say: Is called with a line where it is an earlier epoch.

    Returns:
        The space of the search, and for each cell `(edges, primitives)` logits; None where there are no alphas but
        perhaps a genotype.

    Raises:
        UserError: A file is damaged; one line.
    """
    config = _config(path)
    kind = str(config.get("space") or _SPACES.get(str(config.get("kind", SearchConfig.kind))))
    if kind not in KINDS or not {"primitives", "num_nodes"} <= config.keys():
        return None  # a training or anything else
    genotype = KINDS[kind]
    stopped = None
    if config.get("early_stop") == "eigenvalue":
        stopped = verdict(read_metrics(path / "metrics.jsonl"), config.get("epochs", 0))
    alphas = _newest(path, genotype) if stopped is None else _of_epoch(path, genotype, stopped.epoch)
    if alphas is None:
        return None
    if stopped is not None:
        say(
            f"the search in {path} was stopped early: the prior is the mixing weights after epoch {stopped.epoch}, "
            "whose genotype is its result"
        )
    nodes = config["num_nodes"]
    concat = genotype.output_nodes(nodes, config.get("concat", 0))
    return Space.of(kind, nodes, config["primitives"], [concat] * len(genotype.cells)), alphas


def _config(path):
    try:
        config = parse_json((path / "config.json").read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / 'config.json'} cannot be read: {error}. Expected what darts-search writes."
        ) from error
    if not isinstance(config, dict):
        return {}
    for name, holds in _FIELDS.items():
        if name in config and not holds(config[name]):
            raise UserError(
                f"{path / 'config.json'} is damaged at {name!r}. Expected what darts-search writes. "
                f"Received: {str(config[name])[:80]}."
            )
    return config


def _count(value):
    return type(value) is int and 0 <= value < 10**6


# What is read of a search's settings, of either kind.
_FIELDS = {"num_nodes": lambda value: _count(value) and 1 <= value <= 100, "concat": _count, "epochs": _count}
_FIELDS["primitives"] = lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value)
named(_FIELDS, Search)


def _newest(path, genotype):
    """The alphas of the newest checkpoint, in which those of the cells come first; None where there is none."""
    found = Checkpoints(path / "checkpoints", read_only=True).restore()
    tables = [array for name, array in sorted(found.arrays.items()) if name.startswith("alphas/")] if found else []
    if 0 < len(tables) < len(genotype.cells):
        raise UserError(
            f"The newest checkpoint in {path} lacks alphas. Expected those of {', '.join(genotype.cells)}, as "
            f"{path / 'config.json'} says. Received: {len(tables)} table(s)."
        )
    return dict(zip(genotype.cells, tables, strict=False)) if tables else None


def _of_epoch(path, genotype, epoch):
    """The logarithms of an epoch's mixing weights, whose softmax they are; None where they were not kept."""
    alphas = {}
    for cell, name in genotype.names.items():
        file = path / "alphas" / name / f"epoch_{epoch:03d}.json"
        try:
            weights = np.array(parse_json(file.read_bytes())["mixing_weights"], np.float64)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} cannot be read: {error}. Expected what darts-search writes.") from error
        alphas[cell] = np.log(np.maximum(weights, np.finfo(np.float32).tiny))  # a float32 softmax may have zeros
    return alphas
