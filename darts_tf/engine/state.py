"""The variables of a run as the arrays of a checkpoint, and back."""

from collections.abc import Mapping

import numpy as np

from darts_tf.system.errors import UserError


def snapshot(variables: Mapping[str, list]) -> dict[str, np.ndarray]:
    """Returns copies of lists of variables by name, the arrays of a checkpoint."""
    return {
        f"{name}/{i:05d}": np.array(np.asarray(v)) for name, group in variables.items() for i, v in enumerate(group)
    }


def restore(variables: Mapping[str, list], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a checkpoint's arrays into variables; nothing is written unless all fit.

    Raises:
        UserError: The arrays do not match these variables.
    """
    named = {f"{name}/{i:05d}": v for name, group in variables.items() for i, v in enumerate(group)}
    for name in sorted(named.keys() ^ arrays.keys()):
        raise UserError(
            f"The checkpoint does not fit this run: {name} is in only one of them. Use another work directory."
        )
    for name, variable in named.items():
        if tuple(variable.shape) != arrays[name].shape:
            raise UserError(
                f"The checkpoint does not fit this run: {name} has shape {arrays[name].shape}, expected "
                f"{tuple(variable.shape)}. Use another work directory."
            )
    for name, variable in named.items():
        variable.assign(arrays[name])
