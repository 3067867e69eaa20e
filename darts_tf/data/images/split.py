"""Training and held-out images: the two halves of a search, the validation part of a training."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.data.images.dataset import ImageDataset, Split
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json, write_atomically


class Division(NamedTuple):
    """The training and the held-out images of a run.

    Attributes:
        train: `(T,)` int64 indices into the training images.
        split: The `Split` that the held-out images are read from.
        held_out: `(V,)` int64 indices into that.
        of: "train" if the held-out images are a part of the training images, otherwise "valid".
        warnings: Lines that name the classes with too few examples.
    """

    train: np.ndarray
    split: Split
    held_out: np.ndarray
    of: str
    warnings: tuple[str, ...]


def divide(dataset: ImageDataset, config: SearchConfig | TrainConfig, purposes: tuple[str, str]) -> Division:
    """Divides a data set into training and held-out images, according to a config.

    If the data have validation images, these are held out and all training images are used for training. Otherwise, or
    with `config.validation == "train"`, a part of the training images is held out, see `search_split`.

    Args:
        dataset: The images.
        config: The settings; `validation`, `train_portion`, `split` and `seed` are used.
        purposes: The purposes of the two parts, for messages, such as ("train the weights", "train the alphas").

    Raises:
        UserError: A class with enough examples for both parts is missing in one; or see `search_split`.
    """
    if dataset.valid is not None and config.validation == "auto":
        return Division(np.arange(len(dataset.train)), dataset.valid, np.arange(len(dataset.valid)), "valid", ())
    labels, method = dataset.train.labels, chosen_method(config.split, dataset.name)
    parts = search_split(labels, config.train_portion, method, config.seed)
    warnings = _missing([labels[part] for part in parts], purposes, dataset.class_names, method)
    return Division(parts[0], dataset.train, parts[1], "train", warnings)


def chosen_method(method: str, dataset: str) -> str:
    """Resolves "auto": index if the order is known to be random and the original splits this way."""
    if method != "auto":
        return method
    return "index" if dataset == "cifar10" else "stratified"


def _missing(
    parts: list[np.ndarray], purposes: tuple[str, str], class_names: tuple[str, ...], method: str
) -> tuple[str, ...]:
    """Refuses, or warns about, classes that are missing from one of two parts.

    Avoidable cases are refused: a split by order that leaves out classes with examples for both parts, and a training
    part without them. Too few examples for both, or a validation part smaller than the number of classes, cause a
    warning.
    """
    counts = [np.bincount(labels, minlength=len(class_names)) for labels in parts]
    warnings = []
    for have, other, purpose in ((counts[0], counts[1], purposes[0]), (counts[1], counts[0], purposes[1])):
        missing, avoidable = (np.flatnonzero((have == 0) & (other > enough)) for enough in (0, 1))
        if avoidable.size and (method == "index" or purpose.startswith("train")):
            raise UserError(
                f"No example of {named(avoidable, class_names)} is among those that {purpose}: expected every class "
                f"in both parts of the training examples. Received: split={method}, {len(parts[0])} and "
                f"{len(parts[1])} examples. Use split=stratified, another train_portion, or more examples."
            )
        if missing.size:
            warnings.append(
                f"warning: too few examples of {named(missing, class_names)}: none is among those that {purpose}"
            )
    return tuple(warnings)


def named(classes: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns the names of at most three classes, and the number of the others, for a message."""
    return f"{'class' if len(classes) == 1 else 'classes'} {some_of([repr(class_names[label]) for label in classes])}"


def search_split(labels: np.ndarray, train_portion: float, method: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits training examples into one part for the weights and one for the alphas, or for validation.

    Args:
        labels: `(N,)` integers.
        train_portion: Fraction of the examples that trains the weights, in (0, 1).
        method: "index" takes the first `floor(train_portion * N)` examples, as the original does, which is correct only
            if their order is random; "stratified" draws the same number, with the classes in proportion, and gives both
            parts an example of each class that has two.
        seed: Seed of "stratified", >= 0.

    Returns:
        `(train_indices, valid_indices)`, int64, ascending, disjoint, together all of `0..N-1`.

    Raises:
        UserError: A part would be empty.

    Reference: the original's `train_search.py`.
    """
    count = int(np.floor(train_portion * len(labels)))
    if not 0 < count < len(labels):
        raise UserError(
            f"The split leaves a part empty: expected at least one example in each. "
            f"Received: {len(labels)} examples and train_portion={train_portion}. Use more examples or another portion."
        )
    if method == "index":
        train = np.arange(count)
    else:
        train = stratified(labels, count, np.random.default_rng(seed), 1)
    valid = np.setdiff1d(np.arange(len(labels)), train)
    return train.astype(np.int64), valid.astype(np.int64)


def stratified(labels: np.ndarray, count: int, rng: np.random.Generator | None = None, leave: int = 0) -> np.ndarray:
    """Chooses examples with the classes in proportion, at least one of each class if `count` allows it.

    Args:
        labels: `(N,)` integers.
        count: How many to choose, 0 to N.
        rng: Draws within each class; None takes the first ones of each class.
        leave: How many of each class are left over, if it has more and `count` allows it.

    Returns:
        `(count,)` int64 indices, ascending.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    least = np.ones_like(sizes) if count >= len(sizes) else np.zeros_like(sizes)
    most = np.maximum(sizes - leave, least)
    if most.sum() < count:
        most = sizes
    shares = sizes * count / max(len(labels), 1)
    takes = np.clip(np.floor(shares).astype(np.int64), least, most)
    # Largest remainder: what rounding down left over goes to the classes that lost most.
    while (rest := count - takes.sum()) != 0:
        lost = (
            np.where(takes < most, shares - takes, -np.inf)
            if rest > 0
            else np.where(takes > least, takes - shares, -np.inf)
        )
        takes[np.argmax(lost)] += np.sign(rest)
    chosen = [np.zeros(0, np.int64)]
    for label, take in zip(classes, takes, strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append((members if rng is None else rng.permutation(members))[:take])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def sample(labels: np.ndarray, indices: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns at most `count` of some indices, with their classes in proportion, drawn by a seed; all for 0."""
    if count == 0 or count >= len(indices):
        return indices
    return indices[stratified(labels[indices], count, np.random.default_rng(seed))]


class SavedSplit(NamedTuple):
    """A division as stored in `split.json`; see `Division`."""

    train_indices: np.ndarray
    valid_indices: np.ndarray
    valid_of: str = "train"


def save_split(path: str | os.PathLike, train: np.ndarray, valid: np.ndarray, valid_of: str = "train") -> None:
    """Writes a division as JSON; the file is complete or absent, never half written.

    Args:
        path: Path of the file; its folder must exist.
        train: `(T,)` integers.
        valid: `(V,)` integers.
        valid_of: See `Division.of`.
    """
    content = {
        "train_indices": np.asarray(train).tolist(),
        "valid_indices": np.asarray(valid).tolist(),
        "valid_of": valid_of,
    }
    write_atomically(path, json.dumps(content))


def load_split(path: str | os.PathLike) -> SavedSplit:
    """Reads what `save_split` wrote; the indices are int64.

    Args:
        path: The JSON file.

    Raises:
        UserError: The file is missing or is not a split.
    """
    try:
        content = parse_json(pathlib.Path(path).read_bytes())
        parts = [np.asarray(content[key]) for key in ("train_indices", "valid_indices")]
        valid_of = content.get("valid_of", "train")
        sound = all(part.ndim == 1 and part.size and part.dtype.kind == "i" and part.min() >= 0 for part in parts)
        if sound:
            distinct = [np.concatenate(parts)] if valid_of == "train" else parts
            sound = valid_of in ("train", "valid") and all(np.unique(part).size == part.size for part in distinct)
    except OSError as error:
        raise UserError(f"The search split cannot be read: {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a search split: expected the JSON that save_split writes.") from error
    if not sound:
        raise UserError(
            f"{path} is not a search split: expected two disjoint, non-empty lists of indices, train_indices and "
            "valid_indices. Delete it to recreate it."
        )
    return SavedSplit(parts[0].astype(np.int64), parts[1].astype(np.int64), valid_of)
