"""Candidate operations: which there are, and what replaces the alphas of those that an edge may not have."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.system.errors import UserError

LOWEST = -1e9  # exactly 0 after a softmax or a sigmoid, finite after a division by any temperature


def check_primitives(primitives: Iterable[str], known: Collection[str]) -> None:
    """Raises UserError if an operation is unknown."""
    for name in primitives:
        if name not in known:
            raise UserError(f"Unknown primitive. Expected some of: {', '.join(known)}. Received: {name!r}.")


def check_nodes(num_nodes: int, concat: int) -> None:
    """Raises UserError unless a cell has nodes, of which the last `concat` (all for 0) make its output."""
    if num_nodes < 1 or not 0 <= concat <= num_nodes:
        raise UserError(
            "The output of a cell is made of at most its own nodes. Expected 1 <= num_nodes and 0 <= concat <= "
            f"num_nodes. Received: num_nodes={num_nodes}, concat={concat}."
        )


def arrays_of(allowed: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Returns masks by cell as arrays, including those from a network's `get_config`; an empty mapping for None."""
    return {cell: np.array(each, bool) for cell, each in (allowed or {}).items()}


def masked(
    alphas: Mapping[str, Any], allowed: Mapping[str, np.ndarray] | None, otherwise: float = LOWEST
) -> dict[str, Any]:
    """Returns alphas, or other values for each operation, with those that an edge may not have replaced.

    Args:
        alphas: Tensors or arrays by name, those of cells `(num_edges, num_primitives)`.
        allowed: Masks by cell, in the same shapes; None for all.
        otherwise: The replacement; no gradient flows there.
    """
    allowed = allowed or {}
    return {name: _masked(each, allowed[name], otherwise) if name in allowed else each for name, each in alphas.items()}


def _masked(rows, allowed, otherwise):
    if isinstance(rows, np.ndarray):
        return np.where(allowed, rows, np.asarray(otherwise, rows.dtype))
    rows = tf.convert_to_tensor(rows)
    otherwise = max(otherwise, rows.dtype.min / 2)  # `LOWEST` is out of range for float16
    return tf.where(allowed, rows, tf.constant(otherwise, rows.dtype))


def softmax(variables: Mapping[str, Any], allowed: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """Returns the DARTS mixing weights of architecture variables, by cell."""
    alphas = masked({cell: each.value for cell, each in variables.items()}, allowed)
    return {cell: tf.nn.softmax(each) for cell, each in alphas.items()}
