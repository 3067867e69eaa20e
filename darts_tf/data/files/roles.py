"""The purpose of each folder of a data set: training, validation, test."""

import os
from typing import NamedTuple

from darts_tf.data.files.headers import shown
from darts_tf.data.files.listing import entries, few, hidden, holds_images, holds_images_itself, subfolders
from darts_tf.system.errors import UserError

NAMES = {"train": ("train", "training"), "valid": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
EXPECTED = "class folders, or train/ with class folders and next to it val/ and test/ with the same"


class Layout(NamedTuple):
    """The result of `find`.

    Attributes:
        root: The folder whose class folders are for training.
        classes: These class folders.
        valid: The folder whose class folders are for validation, or None.
        test: The folder for testing, or None.
        passed_over: Folders that are not used, each with the reason.
    """

    root: str
    classes: list[str]
    valid: str | None
    test: str | None
    passed_over: list[tuple[str, str]]


def find(root: str) -> Layout:
    """Assigns roles by the names of folders, ignoring case, and by their content.

    `train/` with class folders is used for training, and next to it only `NAMES` are used. Without it the folders of
    `root` are the classes, except for `val/`, `test/` and the like that hold folders with the same names; a class may
    be called `train`.

    Raises:
        UserError: The folders are ambiguous, or have no training images.
    """
    tops = subfolders(root)
    chosen = {
        role: _only([p for p in tops if _role(p) == role and any(map(holds_images, subfolders(p)))], role)
        for role in NAMES
    }
    if chosen["train"]:
        return _with_train(tops, chosen)
    named = [p for p in tops if _role(p) and p not in chosen.values() and holds_images_itself(p)]
    classes = [p for p in tops if not _role(p)] + [p for p in named if _role(p) == "train"]
    if not any(_role(p) is None for p in classes) and (named or any(chosen.values())):
        raise UserError(
            f"{shown(root)} holds no class folders for training: expected {EXPECTED}. Received: "
            f"{few([os.path.basename(p) for p in named or filter(None, chosen.values())])} with "
            f"{'images, but no class folders in it' if named else 'class folders, but no train'}."
        )
    for path in named:
        if path not in classes:
            raise UserError(
                f"{shown(path)} can be a class, or images without labels: expected {EXPECTED}. Received: images but "
                "no class folders in it. Rename it, or sort its images into class folders."
            )
    known = {os.path.basename(path) for path in classes}
    for path in filter(None, chosen.values()):
        held = {os.path.basename(each) for each in _class_folders(path)}
        if not held & known:
            raise UserError(
                f"{shown(path)} can be a class, or a part of the data: expected {EXPECTED}. Received: the folders "
                f"{few(held)} in it, but none of the classes {few(known)}. Rename it, or its folders."
            )
    for path in classes if len(classes) > 1 else ():
        inner = {_role(each): each for each in subfolders(path) if _role(each) and holds_images(each)}
        if len(inner) > 1:
            raise UserError(
                f"{shown(path)} holds {few(os.path.basename(each) for each in inner.values())}: "
                f"expected {EXPECTED}. Received: parts within a class. Move the images to train/"
                f"{shown(os.path.basename(path))} and so on."
            )
    used = {*classes, *filter(None, chosen.values())}
    passed = [(path, "no images") for path in tops if path not in used]
    return Layout(root, sorted(classes), chosen["valid"], chosen["test"], passed + _system(root))


def _with_train(tops, chosen):
    train, used = chosen["train"], set(chosen.values())
    others = [path for path in tops if path not in used]
    rivals = [path for path in others if not _role(path) and holds_images(path)]
    if rivals and not (chosen["valid"] or chosen["test"]):
        names = few([os.path.basename(path) for path in rivals])
        raise UserError(
            f"{shown(train)} can be a class, or the training data: expected {EXPECTED}. Received: class folders in it, "
            f"and images in {names} next to it. Rename it, or move {names} elsewhere."
        )
    passed = [(p, "images, but no class folders") for p in others if _role(p) and holds_images_itself(p)]
    held = {path for path, _ in passed}
    passed += [(p, "images" if p in rivals else "no images") for p in others if p not in held]
    passed += _system(os.path.dirname(train))
    return Layout(train, subfolders(train), chosen["valid"], chosen["test"], sorted(passed))


def _system(root):
    """System folders that are not hidden, so that users see them."""
    return [
        (e.path, "of the system")
        for e in entries(root)
        if os.path.isdir(e.path) and not e.name.startswith(".") and (hidden(e.name) or e.name.startswith("__"))
    ]


def _role(path):
    name = os.path.basename(path).lower()
    return next((role for role, names in NAMES.items() if name in names), None)


def _class_folders(path):
    return [each for each in subfolders(path) if holds_images(each)]


def _only(paths, role):
    if len(paths) > 1:
        names = " and ".join(shown(os.path.basename(path)) for path in paths)
        raise UserError(
            f"{shown(os.path.dirname(paths[0]))} holds two folders for one purpose: expected one of "
            f"{', '.join(NAMES[role])}. Received: {names}. Merge or rename them."
        )
    return paths[0] if paths else None
