"""Loads SavedModels written by `darts-export`; anything else is reported in one line."""

import pathlib
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from darts_tf.system.errors import UserError, one_line
from darts_tf.system.types import Path

EXPECTED = "Expected the folder of a version that darts-export wrote"


def load_saved_model(folder: Path) -> Any:
    """Loads a SavedModel.

    Args:
        folder: A folder with `saved_model.pb`.

    Returns:
        The result of `tf.saved_model.load`; keep it as long as its signatures are used, since they do not hold its
        variables.

    Raises:
        UserError: The SavedModel is missing or damaged.
    """
    path = pathlib.Path(folder)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise UserError(f"{path} is not an exported model. {EXPECTED}. Received: a path that {what}.")
    if not (path / "saved_model.pb").is_file():
        names = sorted(p.name for p in path.iterdir())
        found = f"a folder with {', '.join(names[:3])}{' ...' * (len(names) > 3)}" if names else "an empty folder"
        raise UserError(f"{path} is not an exported model. {EXPECTED}, with saved_model.pb. Received: {found}.")
    try:
        return tf.saved_model.load(str(path))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:  # TensorFlow passes on whatever its protocol buffers, files and graphs raise
        raise UserError(
            f"{path} cannot be loaded. {EXPECTED}, complete; export it again. Received: {_cause(error)}."
        ) from error


def signature_of(
    loaded: Any, folder: Path, name: str, inputs: Iterable[str], outputs: Iterable[str] = ()
) -> tf.types.experimental.ConcreteFunction:
    """Returns a signature of a loaded SavedModel, after checking its inputs and outputs.

    Args:
        loaded: From `load_saved_model`.
        folder: Folder, for the message.
        name: Name of the signature.
        inputs: Names of all its inputs.
        outputs: Names of outputs that it must have.

    Raises:
        UserError: It has no such signature: it is another kind of model, or `darts-export` did not write it.
    """
    found = getattr(loaded, "signatures", {})
    if name in found:
        function = found[name]
        takes, gives = set(function.structured_input_signature[1]), set(function.structured_outputs)
        if takes == set(inputs) and gives >= set(outputs):
            return function
        has = f"{name} ({', '.join(sorted(takes))} -> {', '.join(sorted(gives))})"
    else:
        has = ", ".join(found) or "none"
    wanted = f"{name} ({', '.join(inputs)}{' -> ' * bool(outputs)}{', '.join(outputs)})"
    raise UserError(
        f"{folder} has no signature {wanted}. {EXPECTED}, from a network on images, or from a language model for a "
        f"text. Received: {has}."
    )


def _cause(error: Exception) -> str:
    line = one_line(error)
    return "saved_model.pb is damaged" if "parse" in line.lower() and "saved_model.pb" in str(error) else line
