"""Candidate operations of single edges: what the others of an edge have instead of their alphas."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

LOWEST = -1e9  # exactly 0 after a softmax or a sigmoid, finite after a division by any temperature


def arrays_of(allowed: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Returns masks by cell as arrays, also those of a network's `get_config`; an empty mapping for None."""
    return {cell: np.array(each, bool) for cell, each in (allowed or {}).items()}


def masked(
    alphas: Mapping[str, Any], allowed: Mapping[str, np.ndarray] | None, otherwise: float = LOWEST
) -> dict[str, Any]:
    """Returns the alphas, or what else there is for each operation, without those that an edge may not have.

    Args:
        alphas: By name, tensors or arrays, of cells `(num_edges, num_primitives)`.
        allowed: By cell, in the same shapes; None for all.
        otherwise: What is in the place of the others; no gradient goes there.
    """
    allowed = allowed or {}
    return {name: _masked(each, allowed[name], otherwise) if name in allowed else each for name, each in alphas.items()}


def _masked(rows, allowed, otherwise):
    if isinstance(rows, np.ndarray):
        return np.where(allowed, rows, np.asarray(otherwise, rows.dtype))
    rows = tf.convert_to_tensor(rows)
    otherwise = max(otherwise, rows.dtype.min / 2)  # float16 ends before `LOWEST`
    return tf.where(allowed, rows, tf.constant(otherwise, rows.dtype))


def softmax(variables: Mapping[str, Any], allowed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the mixing weights of DARTS, by cell, of variables."""
    alphas = masked({cell: each.value for cell, each in variables.items()}, allowed)
    return {cell: tf.nn.softmax(each) for cell, each in alphas.items()}
