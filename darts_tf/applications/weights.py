"""Weight files for a network that is already built: from Keras, from `darts-train`, or from the original in PyTorch."""

from collections.abc import Callable
from typing import Any

import h5py

from darts_tf.system.keras_settings import keras
from darts_tf.interop import load_arrays, slots, state_dicts, to_arrays
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import user_path
from darts_tf.system.types import Path

_EXPECTED = "Expected a .keras or .weights.h5 file of such a network, or a .pt, .pth or .npz file of the original"
_OPTIONAL = ("auxiliary_head.", "classifier.")


def load_weights(network: Any, path: Path, build: Callable[..., Any]) -> None:
    """Loads a file's weights into a network; nothing is written unless all of them fit.

    A classifier or auxiliary head that the network lacks is skipped; an auxiliary head that the file lacks keeps its
    initial values.

    Args:
        network: A `FittedNetwork` or `FittedImageNetNetwork`.
        path: A `.keras` file of any network with the same cells, such as `best.keras` of a training; a `.weights.h5`
            file of one that `darts_tf.build` made; or a state dict of the original, see `interop`.
        build: Builds such a network again: `(num_classes or None for no classifier, auxiliary)`.

    Raises:
        UserError: The file does not exist, is damaged or has another format, or its weights do not fit.
    """
    file = user_path(path, "weights")
    if not file.is_file():
        raise UserError(f"There is no file of weights {file}; none come with the package. {_EXPECTED}.")
    if file.name.endswith((".pt", ".pth", ".npz")):
        arrays = state_dicts.read(file)
    elif file.suffix == ".keras":
        arrays = to_arrays(_read(file, lambda: keras.models.load_model(file, compile=False)))
    elif file.name.endswith(".weights.h5"):
        arrays = to_arrays(_read(file, lambda: _like(file, build)))
    else:
        raise UserError(f"The name of {file} does not tell its format. {_EXPECTED}.")
    try:
        load_arrays(network, _as_in(network, arrays))
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _like(file, build):
    """Returns a network built like the one that wrote a `.weights.h5` file, with its weights."""
    with h5py.File(file) as groups:
        own = sorted(groups["vars"]) if "vars" in groups else []  # the network's own variables: those of the classifier
        classes = groups["vars"][own[-1]].shape[-1] if own else None
        network = build(classes, "auxiliary_head" in groups)
    try:
        network.load_weights(file)
    except ValueError as error:
        raise UserError(
            f"{file} holds the weights of another network. Expected those of the same cells, channels and number of "
            "cells, and of the network for images of this size; a .keras file says which these are."
        ) from error
    return network


def _read(file, load):
    try:
        return load()
    except UserError:
        raise
    except Exception as error:  # Keras lets through whatever its archive, its JSON or our constructors raise
        raise UserError(f"Cannot read the weights in {file}: {one_line(error)}. {_EXPECTED}.") from error


def _as_in(network, arrays):
    """Returns arrays under the original's names, as the network has them; a missing head is the network's own."""
    wanted = slots(network)
    arrays = state_dicts.unwrapped(arrays, wanted)
    lacking = tuple(part for part in _OPTIONAL if not any(name.startswith(part) for name in wanted))
    arrays = {name: array for name, array in arrays.items() if not name.startswith(lacking)}
    if any(name.startswith("auxiliary_head.") for name in arrays):
        return arrays
    return {name: a for name, a in to_arrays(network).items() if name.startswith("auxiliary_head.")} | arrays
