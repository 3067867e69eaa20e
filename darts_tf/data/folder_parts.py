"""Which folder is what: class folders, alone or below `train/`, `val/` and `test/`; and the images that they hold."""

import collections
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from darts_tf.data import formats
from darts_tf.data.formats import shown
from darts_tf.errors import UserError, some_of

ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What a folder of class folders serves as, by its name in lower case."""
SERVES = {"train": "train", "valid": "validate", "test": "test"}


class Listed(NamedTuple):
    """The images below a folder of class folders.

    Attributes:
        folder: That folder.
        classes: Names of the class folders, in order.
        paths: Of the images, as bytes: a name need not be UTF-8.
        labels: `(N,)` int32, indices into `classes`.
        converted: Whether some are in a format that only Pillow reads.
        left_out: Numbers of files that are not read, by reason, and an example of each.
    """

    folder: pathlib.Path
    classes: tuple[str, ...]
    paths: list[bytes]
    labels: np.ndarray
    converted: bool
    left_out: dict[str, tuple[int, str]]


def find_parts(root: pathlib.Path) -> tuple[dict[str, pathlib.Path], tuple[str, ...]]:
    """Finds the folders that hold the class folders of each part.

    A folder serves as what its name says, see `ROLES`, if it holds class folders. One that holds images is a class,
    whatever its name: `vehicles/car`, `vehicles/train`.

    Args:
        root: The data set.

    Returns:
        `(folders by "train", "valid" and "test", names of the folders in `root` that are passed over)`; the training
        part is `root` itself where there is no folder for it.

    Raises:
        UserError: It is not certain which folder is what.
    """
    folders = subfolders(root)
    holders: dict[str, list[pathlib.Path]] = {}
    for folder in folders:
        role = ROLES.get(folder.name.lower())
        if role and any(_has_images(each) for each in subfolders(folder)):
            holders.setdefault(role, []).append(folder)
    for several in holders.values():
        if len(several) > 1:
            raise UserError(
                f"{shown(root)} holds {some_of([each.name + '/' for each in several])}, names for the same part: "
                "expected one folder for each of training, validation and test. Merge them, or move one away."
            )
    found = {role: several[0] for role, several in holders.items()}
    others = [each for each in folders if each not in found.values()]
    classes = [each for each in others if _has_images(each)]
    if "train" not in found:
        if not found:
            return {"train": root}, ()
        names = {each.name for each in classes}
        for folder in found.values():
            inside = {each.name for each in subfolders(folder) if _has_images(each)}
            if not names or not inside <= names:
                raise UserError(
                    f"{shown(root)} holds {folder.name}/ and no train/: expected the training images in train/, or in "
                    f"class folders of the names that {folder.name}/ has. Received: {folder.name}/ with "
                    f"{some_of(sorted(inside))}; next to it {some_of(sorted(names)) or 'nothing'}."
                )
        return {"train": root, **found}, ()
    train = found["train"]
    if len(found) == 1 and classes:
        raise UserError(
            f"{shown(root)} holds {train.name}/ with class folders, and other folders of images next to it: it is not "
            f"certain which are the classes. Received: {some_of([each.name for each in classes])} next to "
            f"{train.name}/. Move them, or pass --data_dir={shown(train)}."
        )
    return found, tuple(each.name for each in others)


def subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in a folder, in order, without hidden ones and those of macOS archives; none if missing."""
    try:
        entries = sorted(folder.iterdir(), key=lambda each: os.fsencode(each.name))
    except NotADirectoryError:
        return []
    except OSError as error:
        raise UserError(f"The folder {shown(folder)} cannot be read: {error.strerror or error}.") from error
    return [each for each in entries if not _hidden(each.name) and each.is_dir()]


def list_classes(root: pathlib.Path, besides: tuple[pathlib.Path, ...] = ()) -> Listed:
    """Lists the images in class folders, also in folders below them. Their content says which files are images.

    Args:
        root: Holds the class folders.
        besides: Folders in it that are none.

    Raises:
        UserError: There are no class folders, one has no images, or a file that is named as an image is none.
    """
    folders = [each for each in subfolders(root) if each not in besides]
    if not folders:
        raise UserError(f"{shown(root)} holds no class folders: expected one folder of images per class.")
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    for path in _files(root, deep=False):
        if _is_file(path) and formats.kind_of(path):
            left_out["in no class folder"].append(shown(path))
    paths, labels, converted = [], [], False
    for label, folder in enumerate(folders):
        before = len(paths)
        for path in _files(folder):
            if not _is_file(path):
                left_out["not regular files"].append(shown(path))
            elif kind := formats.kind_of(path):
                paths.append(path)
                converted = converted or kind == formats.BY_PILLOW
            elif formats.promises_image(path):
                formats.check(path)
            else:
                left_out["not images"].append(shown(path))
        if len(paths) == before:
            raise UserError(
                f"{shown(folder)} holds no images: expected a class. Received: "
                f"{'other files' if any(os.scandir(folder)) else 'an empty folder'}. Add images, or move it away."
            )
        labels += [label] * (len(paths) - before)
    counted = {reason: (len(files), files[0]) for reason, files in left_out.items()}
    return Listed(
        root, tuple(shown(each.name) for each in folders), paths, np.asarray(labels, np.int32), converted, counted
    )


def described(role: str, listed: Listed, root: pathlib.Path) -> str:
    """Returns what a folder serves as, with counts: `photos/val: 12 images validate (bird 2, cat 4, dog 6)`."""
    counts = np.bincount(listed.labels, minlength=len(listed.classes))
    classes = some_of([f"{name} {count:,}" for name, count in zip(listed.classes, counts, strict=True)], 5)
    folder = shown(root.name if listed.folder == root else f"{root.name}/{listed.folder.name}")
    return f"{folder}: {len(listed.paths):,} images {SERVES[role]} ({classes})"


def about_left_out(parts: list[Listed], passed_over: tuple[str, ...]) -> tuple[str, ...]:
    """Returns at most one line that counts what is not read, and why, with an example of each reason."""
    reasons: dict[str, tuple[int, str]] = {}
    for part in parts:
        for reason, (count, example) in part.left_out.items():
            seen, first = reasons.get(reason, (0, example))
            reasons[reason] = (seen + count, first)
    told = [f"{count:,} {reason}, such as {example}" for reason, (count, example) in reasons.items()]
    if passed_over:
        told.append(f"next to the parts {some_of([shown(name) + '/' for name in passed_over])}")
    return (f"left out: {'; '.join(told)}",) if told else ()


def _files(folder: pathlib.Path, deep: bool = True) -> Iterator[bytes]:
    """Yields the files in a folder, and in those below it, in order, without hidden ones; no folder twice."""
    seen = set()

    def walk(where):
        entry = os.stat(where)
        if (entry.st_dev, entry.st_ino) in seen:
            return
        seen.add((entry.st_dev, entry.st_ino))
        with os.scandir(where) as entries:
            inside = sorted(entries, key=lambda each: each.name)
        for each in inside:
            if _hidden(os.fsdecode(each.name)):
                continue
            if not each.is_dir():
                yield each.path
            elif deep:
                yield from walk(each.path)

    try:
        yield from walk(os.fsencode(folder))
    except OSError as error:
        where = folder if error.filename is None else error.filename
        raise UserError(f"The folder {shown(where)} cannot be read: {error.strerror or error}.") from error


def _is_file(path: bytes) -> bool:
    """Whether it is a regular file, or a link to one: a pipe would wait for ever."""
    return os.path.isfile(path)


def _has_images(folder: pathlib.Path) -> bool:
    return any(_is_file(path) and (formats.kind_of(path) or formats.promises_image(path)) for path in _files(folder))


def _hidden(name: str) -> bool:
    return name.startswith((".", "__")) or name.lower() in ("thumbs.db", "desktop.ini")
