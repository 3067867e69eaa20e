"""Exported models, as run by an evaluation."""

import pathlib

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.arrays.class_labels import Classes
from darts_tf.runs.saved_model import load_saved_model, signature_of
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import parse_json, user_path
from darts_tf.tasks.language_data import load_vocabulary


def newest_version(folder: str) -> pathlib.Path:
    """Returns the folder of an exported model's newest version; a version's folder, or a file, is returned as is."""
    path = user_path(folder, "model")
    if not path.is_dir() or (path / "saved_model.pb").exists():
        return path
    versions = sorted((p for p in path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    return versions[-1] if versions else path


def of_images(path: pathlib.Path) -> tuple:
    """Returns `(forward, image shape, number of classes, Classes or None)` for a version of an exported model."""
    loaded = load_saved_model(path)
    signature = signature_of(loaded, path, "serving_default", ["image"], ["logits"])
    images, logits = (
        signature.structured_input_signature[1]["image"].shape,
        signature.structured_outputs["logits"].shape,
    )
    if images.rank != 4 or not images[1:].is_fully_defined() or logits.rank != 2 or logits[1] is None:
        raise UserError(
            f"{path} is not an exported model: expected images of a known size and logits of a known number of "
            f"classes, as darts-export writes them. Received: images of shape {images}, logits of shape {logits}."
        )
    known = _classes(path / "assets", logits[1])
    return (lambda batch, keep=loaded: signature(image=batch)["logits"]), tuple(images[1:]), logits[1], known


def _classes(assets, count):
    """What an exported model says of its classes, whose numbers may be unknown; None without names."""
    labels = assets / "labels.txt"
    names = labels.read_text("utf-8").splitlines() if labels.is_file() else []
    try:
        values: np.ndarray = np.array(parse_json((assets / "model_card.json").read_bytes())["label_values"], np.int64)
    except (OSError, LookupError, ValueError, TypeError):  # of another version
        values = np.zeros(0)
    return Classes(values, tuple(names)) if len(names) == count and len(values) in (0, count) else None


def of_text(path: pathlib.Path) -> tuple:
    """Returns `(config, vocabulary, forward, initial state)` for a version of an exported language model."""
    loaded = load_saved_model(path)
    step = signature_of(loaded, path, "step", ["tokens", "state"], ["logits", "state"])
    units = step.structured_input_signature[1]["state"].shape[-1]
    card, vocabulary = path / "assets" / "model_card.json", load_vocabulary(path / "assets")
    try:
        config = LanguageTrainConfig.from_json(parse_json(card.read_bytes())["training_config"]).to_json()
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise UserError(
            f"{card} cannot be read: expected a file written by darts-export; export the model again. Received: "
            f"{one_line(error)}."
        ) from error

    def forward(tokens, state, keep=loaded):
        def one(before, words):
            outputs = step(tokens=words[:, None], state=before[1])
            return tf.ensure_shape(outputs["logits"], shape), tf.ensure_shape(outputs["state"], state.shape)

        shape = (tokens.shape[1], len(vocabulary))
        logits, states = tf.scan(one, tokens, (tf.zeros(shape), state))
        return logits, states[-1]

    return config, vocabulary, forward, lambda batch: tf.zeros((batch, units))
