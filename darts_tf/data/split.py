"""The two halves of the search: one trains the weights, the other the alphas."""

import json
import os
import pathlib

import numpy as np

from darts_tf.errors import UserError
from darts_tf.files import parse_json, write_atomically

METHODS = ("index", "stratified")


def search_split(labels: np.ndarray, train_portion: float, method: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits training examples into one half for the weights and one for the alphas.

    Args:
        labels: `(N,)` integers.
        train_portion: Part of the examples that trains the weights, in (0, 1).
        method: "index" takes the first `floor(train_portion * N)` examples, as the original does; "stratified" draws
            the same number, with the classes in proportion.
        seed: Seed of "stratified", >= 0.

    Returns:
        `(train_indices, valid_indices)`, int64, ascending, disjoint, together all of `0..N-1`.

    Raises:
        UserError: A setting is out of its range, or a half would be empty.

    Reference: the original's `train_search.py`.
    """
    if method not in METHODS:
        raise UserError(f"Unknown split method: expected one of {', '.join(METHODS)}. Received: {method}.")
    if not 0 < train_portion < 1:
        raise UserError(
            f"train_portion must lie between 0 and 1, both excluded. Received: {train_portion}. The original uses 0.5."
        )
    if seed < 0:
        raise UserError(f"The seed of the split must be >= 0. Received: {seed}.")
    labels = np.asarray(labels)
    count = int(np.floor(train_portion * len(labels)))
    if not 0 < count < len(labels):
        raise UserError(
            f"The search split leaves a half empty: expected at least one example in each. "
            f"Received: {len(labels)} examples and train_portion={train_portion}. Use more examples or another portion."
        )
    if method == "index":
        train = np.arange(count)
    else:
        train = stratified(labels, count, np.random.default_rng(seed))
    valid = np.setdiff1d(np.arange(len(labels)), train)
    return train.astype(np.int64), valid.astype(np.int64)


def stratified(labels: np.ndarray, count: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Chooses examples with the classes in proportion.

    Args:
        labels: `(N,)` integers.
        count: How many to choose, 0 to N.
        rng: Draws within each class; None takes the first ones of each class.

    Returns:
        `(count,)` int64 indices, ascending.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count / max(len(labels), 1)
    takes = np.floor(shares).astype(np.int64)
    # Largest remainder: what rounding down left over goes to the classes that lost most by it.
    takes[np.argsort(takes - shares, kind="stable")[: count - takes.sum()]] += 1
    chosen = []
    for label, take in zip(classes, takes, strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append((members if rng is None else rng.permutation(members))[:take])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def save_split(path: str | os.PathLike, train_indices: np.ndarray, valid_indices: np.ndarray) -> None:
    """Writes a search split as JSON; the file is whole or absent, never half written.

    Args:
        path: Where to; its folder must exist.
        train_indices: `(T,)` integers.
        valid_indices: `(V,)` integers.
    """
    content = {
        "train_indices": np.asarray(train_indices).tolist(),
        "valid_indices": np.asarray(valid_indices).tolist(),
    }
    write_atomically(path, json.dumps(content))


def load_split(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Reads what `save_split` wrote.

    Args:
        path: The JSON file.

    Returns:
        `(train_indices, valid_indices)`, int64.

    Raises:
        UserError: The file is missing or is not a split.
    """
    try:
        content = parse_json(pathlib.Path(path).read_text())
        halves = [np.asarray(content[key]) for key in ("train_indices", "valid_indices")]
        valid = all(half.ndim == 1 and half.size and half.dtype.kind == "i" and half.min() >= 0 for half in halves)
        valid = valid and np.unique(np.concatenate(halves)).size == sum(half.size for half in halves)
    except OSError as error:
        raise UserError(f"The search split cannot be read: {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a search split: expected the JSON that save_split writes.") from error
    if not valid:
        raise UserError(
            f"{path} is not a search split: expected two disjoint, non-empty lists of indices, train_indices and "
            "valid_indices. Delete it to have it made again."
        )
    return halves[0].astype(np.int64), halves[1].astype(np.int64)
