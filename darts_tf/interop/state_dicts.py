"""State dicts of PyTorch networks: reading them, and removing what wrappers and training scripts add."""

import pickle
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from darts_tf.system import npz
from darts_tf.system.errors import UserError, one_line, some_of
from darts_tf.system.files import user_path
from darts_tf.system.types import Path

NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
"""Keys under which checkpoints of training scripts store the state dict, next to the epoch and the optimizer."""
_WRAPPERS = ("module", "_orig_mod")  # added to names by DataParallel and torch.compile; the original has neither


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch-style state dict: an `.npz` of named arrays, or a `.pt` if torch is installed.

    Args:
        path: The file. A checkpoint that holds the state dict under one of the keys `NESTED` is also accepted.

    Raises:
        UserError: The file is missing, damaged, holds pickled objects, or needs torch.
    """
    path = user_path(path, "the file of weights")
    if not path.is_file():
        raise UserError(f"There is no file of weights. Expected an .npz or .pt file. Received: {path}.")
    if path.suffix == ".npz":
        return npz.read(path)
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"Reading {path.name} needs PyTorch. Install it (`pip install torch`), or save the arrays as .npz."
        ) from error
    try:
        return unnested(torch.load(path, map_location="cpu", weights_only=True))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds Python objects other than tensors, and loading these could run code. Expected a state dict, "
            "as `torch.save(network.state_dict(), FILE)` writes it."
        ) from None
    except Exception as error:  # torch raises whatever its unpickler encounters
        raise UserError(
            f"Cannot read the weights in {path}: {one_line(error)}. Expected a state dict of tensors."
        ) from error


def unnested(state: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict, or of a checkpoint that holds it under one of the keys `NESTED`.

    Args:
        state: A mapping from names to arrays or tensors, or to such a mapping.

    Raises:
        UserError: It is not a mapping, holds mappings under other keys only, or holds values that are not arrays.
    """
    while isinstance(state, Mapping) and (
        inner := next((k for k in NESTED if isinstance(state.get(k), Mapping)), None)
    ):
        state = state[inner]
    if not isinstance(state, Mapping):
        raise UserError(f"Expected a state dict, which maps names to arrays. Received: a {type(state).__name__}.")
    if any(isinstance(value, Mapping) for value in state.values()):
        raise UserError(
            f"Expected a state dict, which maps names to arrays, or a checkpoint that holds it under one of the keys "
            f"{', '.join(NESTED)}. Received: the keys {some_of(state)}."
        )
    return {str(name): _array(name, value) for name, value in state.items()}


def _array(name, value):
    try:
        if hasattr(value, "detach"):  # a PyTorch tensor, perhaps on a GPU or of a dtype that NumPy lacks
            value = value.detach().cpu()
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{name} is not an array: expected numbers of one shape. Received: {one_line(error)}."
        ) from error


def unwrapped(arrays: Mapping[str, Any], wanted: Iterable[str], apart: Iterable[str] = ()) -> dict[str, Any]:
    """Returns the arrays under their names without the prefixes of wrappers, and without `num_batches_tracked`.

    `module.` (DataParallel) and `_orig_mod.` (torch.compile) are removed wherever they occur. A prefix that all names
    share, such as `model.` of a network that is part of another module, is removed if no name matches with it and some
    match without it.

    Args:
        arrays: Arrays by their names in a state dict.
        wanted: Names of the network's arrays.
        apart: Names that may occur next to the others without their prefix.

    Raises:
        UserError: Two names become one.
    """
    wanted, apart = set(wanted), set(apart)
    names = [name for name in arrays if not name.endswith("num_batches_tracked")]
    short = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    found = dict(short)
    while not wanted.intersection(found.values()):
        prefixed = [name for name in found if found[name] not in apart]
        first = {found[name].partition(".")[0] for name in prefixed}
        if len(first) != 1 or not all("." in found[name] for name in prefixed):
            found = short  # nothing matches: a message shows the names as they are
            break
        found |= {name: found[name].partition(".")[2] for name in prefixed}
    origins: dict[str, str] = {}
    for name, left in found.items():
        if left in origins:
            raise UserError(
                "Two arrays have the same name after the wrappers' prefixes are removed: expected one of them. "
                f"Received: {origins[left]} and {name}."
            )
        origins[left] = name
    return {left: arrays[name] for left, name in origins.items()}
