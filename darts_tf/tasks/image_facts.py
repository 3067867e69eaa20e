"""Facts about a run's images in its work directory: what inference needs, and a check that they are the same."""

import contextlib
import pathlib
from typing import Any

import numpy as np

from darts_tf.cluster.agreement import checksum
from darts_tf.data.given import NAME
from darts_tf.data.images.dataset import ImageDataset, Split
from darts_tf.data.images.split import Division, SavedSplit, load_split, save_split
from darts_tf.runs.workdir import write_json
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json

PARTS = {"train": "training", "valid": "validation", "test": "test"}


def save_data_facts(directory: pathlib.Path, dataset: ImageDataset, division: Division | None = None) -> None:
    """Writes `data.json`, what inference and a resumed run need to know about the images, and `split.json`."""
    facts: dict[str, Any] = {"dataset": dataset.name, "class_names": list(dataset.class_names)}
    facts |= {"image_shape": list(dataset.image_shape), "mean": list(dataset.mean), "std": list(dataset.std)}
    if dataset.label_values:
        facts["label_values"] = list(dataset.label_values)
    facts["parts"] = {part: _described(getattr(dataset, part)) for part in PARTS}
    write_json(directory / "data.json", facts)
    if division is not None:
        save_split(directory / "split.json", division.train, division.held_out, division.of)


def check_data_facts(directory: pathlib.Path, dataset: ImageDataset, division: Division | None = None) -> None:
    """Checks that the images and their division match those of the run in a directory, if there is one.

    Raises:
        UserError: They differ, so the data would change in the middle of a run; the message says how.
    """
    known = saved = None
    with contextlib.suppress(UserError):  # missing, or damaged: it is written again, as the run has it
        known = load_data_facts(directory)
    with contextlib.suppress(UserError):
        saved = load_split(directory / "split.json")
    if known is not None:
        check_same_part(directory, known, dataset, *PARTS)
    if division is not None and saved is not None:
        now = SavedSplit(division.train, division.held_out, division.of)
        if not all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(saved, now, strict=True)):
            raise UserError(
                f"The images are not split as in the run in {directory}: expected {len(saved.train_indices)} and "
                f"{len(saved.valid_indices)}, as in its split.json. Received: {len(now.train_indices)} and "
                f"{len(now.valid_indices)}, or others. Restore the images, or choose another work directory."
            )


def check_same_part(directory: pathlib.Path, known: dict[str, Any], dataset: ImageDataset, *parts: str) -> None:
    """Checks that parts (some of `PARTS`) of a data set match what `load_data_facts` returned; raises UserError.

    A file of version 0.1 does not describe the images themselves.
    """
    was, now = known["class_names"], list(dataset.class_names)
    if was != now:
        lost, new = ([name for name in some if name not in others] for some, others in ((was, now), (now, was)))
        other = some_of([f"no {name!r}" for name in lost] + [f"also {name!r}" for name in new])
        raise UserError(
            f"The classes are not those of the run in {directory}: expected {len(was)}. Received: {len(now)}, "
            f"{other or 'in another order'}. Restore the images, or choose another work directory."
        )
    described = known.get("parts", {})
    for part in parts:
        before, after = described.get(part), _described(getattr(dataset, part))
        if part in described and before != after:
            random = " A Dataset that shuffles or augments at random differs each time: leave that out, or seed it."
            raise UserError(
                f"The {PARTS[part]} images are not those of the run in {directory}: expected {before or 'none'}. "
                f"Received: {after or 'none'}. Restore the images, or choose another work directory."
                + (random if dataset.name == NAME else "")
            )


def _described(split: Split | None) -> str | None:
    """Returns a description that identifies a part: its number of images, their labels in order, and their content."""
    if split is None:
        return None
    return f"{len(split)} images, checksum {checksum(split.labels, np.frombuffer(split.checksum.encode(), np.uint8))}"


def load_data_facts(directory: pathlib.Path) -> dict[str, Any]:
    """Reads what `save_data_facts` wrote. Raises UserError where it is missing or damaged."""
    path = directory / "data.json"
    facts = read_json(path)
    channels = facts["image_shape"][-1] if _is_list(facts.get("image_shape"), int, 3) else 0
    sound = {
        "dataset": isinstance(facts.get("dataset"), str),
        "class_names": _is_list(facts.get("class_names"), str),
        "label_values": _is_list(facts.get("label_values", []), int),
        "image_shape": channels > 0 and min(facts["image_shape"]) > 0,
        "mean": _is_list(facts.get("mean"), int | float, channels),
        "std": _is_list(facts.get("std"), int | float, channels),
        "parts": isinstance(facts.get("parts", {}), dict),
    }
    if wrong := [name for name, is_sound in sound.items() if not is_sound]:
        raise UserError(
            f"{path} is damaged: {wrong[0]} is missing or wrong. Expected a file written by darts-train. Train again, "
            "or restore the file."
        )
    return facts


def _is_list(value: Any, kind: Any, length: int | None = None) -> bool:
    """Whether a value is a list of values of a kind; a bool is not a number here, and numbers must be finite."""
    if not isinstance(value, list) or len(value) != (len(value) if length is None else length):
        return False
    return all(isinstance(x, kind) and (isinstance(x, str) or type(x) is not bool and abs(x) < 1e9) for x in value)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads the object in one of a training run's JSON files. Raises UserError if it is missing or damaged."""
    try:
        found = parse_json(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}, not an object")
        return found
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} holds no training run: {path.name} is missing. Expected the work directory of darts-train."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}. Expected a file written by darts-train.") from error
