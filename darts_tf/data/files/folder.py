"""Image data sets in class folders."""

import os
import pathlib

import numpy as np

from darts_tf.data.files import roles
from darts_tf.data.files.headers import READ, shown
from darts_tf.data.files.image_files import ImageFiles
from darts_tf.data.files.listing import File, LeftOut, entries, few, find, hidden, subfolders
from darts_tf.data.images.dataset import Parts, Split, Wanted, purpose
from darts_tf.data.images.split import sample
from darts_tf.system.errors import UserError


def load_folder(data_dir: str, wanted: Wanted) -> Parts:
    """Reads class folders: `train/CLASS/*` with `val/` and `test/`, or just `CLASS/*`; see `roles`.

    The images of a class are in its folder and the folders below it. Images are recognised by their content; hidden
    files, broken links and files that are not images are skipped and counted. A file with an image's extension that is
    not an image is refused. Photographs are rotated by their EXIF orientation.

    A split of at most `encoded_images.MEMORY_LIMIT` bytes is decoded once, here, which checks each image. A larger one
    is decoded on every read; here only the first and last bytes of each file are checked, and a file that may be
    truncated is decoded. Random windows are always read from the files. No image that claims more than
    `headers.MAX_PIXELS` is decoded.

    Args:
        data_dir: The folder.
        wanted: No channels means 3; the training images are drawn with the classes in proportion.

    Returns:
        The parts; classes are the folders' names in alphabetical order.

    Raises:
        UserError: A folder or an image cannot be used; the message names it.
    """
    if not data_dir:
        raise UserError("Data set folder needs data_dir: expected a folder of class folders. Pass data_dir.")
    root = str(pathlib.Path(data_dir))
    if not os.path.isdir(root):
        raise UserError(f"There is no folder {shown(data_dir)}: expected one of class folders. Check data_dir.")
    layout, left_out, notes = roles.find(root), LeftOut(), []
    classes, files, labels = _train(layout, left_out)
    found = [purpose(shown(layout.root), labels, classes, "train", wanted.max_train_examples)]
    kept = sample(labels, np.arange(len(labels)), wanted.max_train_examples, wanted.seed)
    wanted = wanted._replace(channels=wanted.channels or 3)
    train, shape = ImageFiles([files[i] for i in kept], labels[kept]).split(wanted, None)
    parts: dict[str, Split | None] = {"valid": None, "test": None}
    for part, folder in (("valid", layout.valid), ("test", layout.test)):
        if folder is None:
            continue
        files, labels = _held_out(folder, classes, layout.root, left_out)
        found.append(purpose(shown(folder), labels, classes, part))
        parts[part], _ = ImageFiles(files, labels).split(wanted, shape)
    if layout.passed_over:
        notes.append("not used: " + ", ".join(f"{shown(path)} ({why})" for path, why in layout.passed_over))
    _count_strays({root, layout.root, layout.valid, layout.test}, left_out)
    notes += [line for line in [left_out.line()] if line]
    return Parts(train, parts["valid"], parts["test"], classes, ("; ".join(found), *notes))


def _train(layout: roles.Layout, left_out: LeftOut) -> tuple[tuple[str, ...], list[File], np.ndarray]:
    """Returns the classes, the images and their labels `(N,)` int32."""
    if not layout.classes:
        raise UserError(f"{shown(layout.root)} holds no class folders: expected one folder of images per class.")
    files, labels, classes = [], [], tuple(os.path.basename(path) for path in layout.classes)
    for label, (name, path) in enumerate(zip(classes, layout.classes, strict=True)):
        if shown(name) != name:  # it becomes a line of labels.txt, and text in JSON
            raise UserError(
                f"The name of a class must be UTF-8 and one line. Received: {shown(path)}. Rename the folder."
            )
        images = find(path, layout.root, left_out)
        if not images:
            raise UserError(f"{shown(path)} holds no images: expected {READ} files. Add some or remove it.")
        files += images
        labels += [label] * len(images)
    if len(classes) < 2:
        inner = len(subfolders(layout.classes[0])) > 1
        hint = f" If that is the data set, pass data_dir={shown(layout.classes[0])}." if inner else ""
        raise UserError(
            f"{shown(layout.root)} holds only one class: expected at least two class folders. Received: "
            f"{classes[0]}.{hint}"
        )
    return classes, files, np.asarray(labels, np.int32)


def _held_out(
    folder: str, classes: tuple[str, ...], train_root: str, left_out: LeftOut
) -> tuple[list[File], np.ndarray]:
    """Returns the images of a held-out folder and their labels."""
    number = {name: label for label, name in enumerate(classes)}
    files, labels, unknown = [], [], []
    for path in subfolders(folder):
        images, name = find(path, folder, left_out), os.path.basename(path)
        if name in number:
            files += images
            labels += [number[name]] * len(images)
        elif images:
            unknown.append(name)
    if unknown:
        raise UserError(
            f"{shown(folder)} holds {'a class' if len(unknown) == 1 else 'classes'} that {shown(train_root)} does not: "
            f"expected the same class folders in both. Received: {few(unknown)}."
        )
    return files, np.asarray(labels, np.int32)


def _count_strays(folders: set[str | None], left_out: LeftOut) -> None:
    """Counts the files next to the class folders."""
    for folder in filter(None, folders):
        for entry in entries(folder):
            if entry.is_file() and not hidden(entry.name):
                left_out.add("outside of the class folders", entry.path)
