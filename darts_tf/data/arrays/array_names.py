"""The purpose of each array of an archive: the images and the labels of each part, the names of the classes."""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from darts_tf.system.errors import UserError, some_of

PARTS = {  # train first: the others are compared with it
    "train": ("train", "training", "trainset", ""),  # x and y alone are for training
    "valid": ("valid", "val", "validation", "validset", "valset", "dev"),
    "test": ("test", "testing", "testset"),
}
KINDS = {
    "images": "x image images img imgs data feature features input inputs pixel pixels",
    "labels": "y label labels target targets",
}
UNNAMED = ("arr_0", "arr_1")  # from numpy.savez(path, x, y)
HOW = (
    "Name them x_train and y_train, and if there are any x_val, y_val, x_test and y_test, as in "
    "numpy.savez(path, x_train=x, y_train=y)."
)


def _spellings() -> dict[str, tuple[str, str] | str]:
    """Every spelling, without case and separators: `{"classes": "names", "xtrain": ("train", "images"), ...}`."""
    found: dict[str, Any] = dict.fromkeys(("classnames", "classes", "labelnames", "targetnames"), "names")
    for part, kind in itertools.product(PARTS, KINDS):
        for of_part, word in itertools.product(PARTS[part], KINDS[kind].split()):
            found[of_part + word] = found[word + of_part] = part, kind
    return found


_SPELLINGS = _spellings()


class Roles(NamedTuple):
    """The purposes of the arrays of an archive.

    Attributes:
        parts: For `train`, and `valid` and `test` if present, the names `(of the images, of the labels)`.
        class_names: The name of the array with the names of the classes, or None.
        left_out: The other arrays.
    """

    parts: dict[str, tuple[str, str]]
    class_names: str | None
    left_out: list[str]


def roles(path: str, names: Sequence[str]) -> Roles:
    """Assigns the arrays of an archive by their names.

    Images are `x`, `images`, `data` and the like, labels `y`, `labels`, `target` and the like, each alone or with
    `train`, `val` or `test` before or after it, in any case and with any separator: the names of Keras' archives
    (`x_train`), of MedMNIST's (`train_images`) and of scikit-learn's data sets (`data`, `target`, `target_names`).

    Args:
        path: The archive, for messages.
        names: Names of its arrays.

    Raises:
        UserError: Two arrays could have the same role, a part has images without labels or labels without images, or
            there are no training data.
    """
    found: dict[tuple[str, str] | str, list[str]] = {}
    left_out: list[str] = []
    for name in names:
        role = _role(name)
        found.setdefault(role, []).append(name) if role else left_out.append(name)
    if not found and set(names) == set(UNNAMED):
        return Roles({"train": UNNAMED}, None, [])
    for candidates in found.values():
        if len(candidates) > 1:
            several = some_of(map(repr, candidates), separator=" and ")
            raise UserError(
                f"{path} has several arrays for one purpose: {several}. Expected one of them; write the archive "
                "without the others."
            )
    parts = {}
    for part in PARTS:
        images, labels = (next(iter(found.get((part, kind), ())), "") for kind in KINDS)
        if images and labels:
            parts[part] = images, labels
        elif images or labels:
            there, letter = (images, "y") if images else (labels, "x")
            alone = _glued(there) in " ".join(KINDS.values()).split()
            missing = letter if alone else f"{letter}_{'val' if part == 'valid' else part}"
            what = f"no array {missing!r}" if part == "train" else f"only one of {there!r} and {missing!r}"
            raise UserError(f"{path} has {what}: expected images and their labels. Received: {_list(names)}. {HOW}")
    if "train" not in parts:
        raise UserError(f"{path} has no training images and labels. Received: {_list(names)}. {HOW}")
    return Roles(parts, found.get("names", [None])[0], left_out)


def images_among(path: str, names: Sequence[str]) -> str:
    """Returns the one array that holds images, for a prediction; arguments and errors as in `roles`."""
    found = list(names) if len(names) == 1 else [name for name in names if "images" in (_role(name) or ())]
    if len(found) != 1:
        raise UserError(
            f"{path} must hold one array of images. Received: {_list(found or names)}. Write the images to predict as "
            "one array, as numpy.save(path, x) does."
        )
    return found[0]


def _role(name: str) -> tuple[str, str] | str | None:
    # In an archive zipped by hand the arrays may be in a folder: then the last name of the path decides.
    return _SPELLINGS.get(_glued(name)) or _SPELLINGS.get(_glued(name.rpartition("/")[2]))


def _glued(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _list(names: Sequence[str]) -> str:
    return some_of(names, 8) or "no arrays"
