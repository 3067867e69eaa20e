"""The model card: what a user of an exported model should know about it."""

import datetime
import json
import os
import pathlib
import platform
from importlib import metadata

from darts_tf import __version__, genotypes
from darts_tf.export.signatures import FILE_CHANNELS
from darts_tf.tasks.language_trained import LanguageModel
from darts_tf.tasks.trained import Trained

FILES = "; serving_bytes: image_bytes, JPEG, PNG, WebP, GIF or BMP files"


def card(trained: Trained, name: str, weights: str, numbers: int, checks: dict) -> dict:
    """Returns a model card.

    Args:
        trained: The network's facts.
        name: The model's name.
        weights: `best` or `last`.
        numbers: Number of values in the file's variables.
        checks: What verification and conversion found.
    """
    summary, network = trained.summary, trained.network
    return {
        **_head(trained, name),
        "classes": len(trained.class_names),
        "image_shape": list(trained.image_shape),
        "input": "serving_default: image, float32 in 0..255"
        + (
            "; serving_bytes: image_bytes, JPEG, PNG, WebP, GIF or BMP files"
            * (trained.image_shape[-1] in FILE_CHANNELS)
        ),
        "normalisation": {"of": "x / 255, inside the graph", "mean": list(trained.mean), "std": list(trained.std)},
        "weights": weights,
        "accuracy": {"accuracy_on": summary.get("selected_on"), **summary.get(weights, {})},
        "parameters": summary.get("parameters", network.parameters),
        "parameters_note": "without the auxiliary head, with batch norms; stored_numbers are what the file holds",
        "stored_numbers": numbers,
        "macs": summary.get("macs", network.macs()),
        **_tail(trained, checks),
    }


def language_card(trained: LanguageModel, name: str, numbers: int, checks: dict) -> dict:
    """Returns the model card of a language model; arguments as for `card`."""
    return {
        **_head(trained, name),
        "vocabulary": len(trained.vocabulary),
        "units": trained.network.units,
        "input": "step: tokens (batch, length), state (batch, units); score: tokens, with -1 after the last",
        "weights": trained.weights,
        "perplexity": trained.summary.get(trained.weights, {}),
        "parameters": trained.network.parameters,
        "stored_numbers": numbers,
        **_tail(trained, checks),
    }


def _head(trained, name):
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"name": name, "created": now, "dataset": trained.dataset}


def _tail(trained, checks):
    return {
        "genotype": trained.genotype.to_json(),
        "training_config": trained.config,
        "checks": checks,
        "versions": {"darts_tf": __version__, "python": platform.python_version()}
        | {package: metadata.version(package) for package in ("tensorflow", "keras", "numpy")},
    }


def write(folder: str | os.PathLike, trained: Trained | LanguageModel, contents: dict) -> None:
    """Writes `genotype.json` and `model_card.json` into a SavedModel's assets."""
    assets = pathlib.Path(folder, "assets")
    assets.mkdir(exist_ok=True)
    genotypes.save(trained.genotype, assets / "genotype.json")
    (assets / "model_card.json").write_text(json.dumps(contents, indent=2, ensure_ascii=False) + "\n", "utf-8")
