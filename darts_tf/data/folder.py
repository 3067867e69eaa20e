"""Image data sets in class folders: which images are kept in memory, and which are decoded whenever they are read."""

import dataclasses
import os
import pathlib
import re
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.data import folder_parts, formats
from darts_tf.data.dataset import Parts, Split
from darts_tf.data.encoded import crops, decode, encoded_split
from darts_tf.data.folder_parts import Listed
from darts_tf.data.formats import shown
from darts_tf.data.resize import fit
from darts_tf.data.split import stratified
from darts_tf.errors import UserError, some_of
from darts_tf.files import user_path
from darts_tf.graph import unconverted

_WHERE = re.compile(r"\{\{.*?\}\} |Error in user-defined function passed to .*? with iterator: \S+: ")
MEMORY_LIMIT = 512 * 2**20  # bytes of decoded images per split that are kept in memory


def load_folder(
    data_dir: str,
    image_size: int,
    channels: int,
    max_train_examples: int,
    seed: int,
    center_fraction: float = 1.0,
) -> Parts:
    """Reads class folders: `train/CLASS/*`, with `val/` and `test/` next to `train/` or without; or just `CLASS/*`.

    For the names of the parts see `folder_parts.ROLES`, for what is an image `formats`. A part of at most
    `MEMORY_LIMIT` bytes is decoded once, here, and each image is checked by that. A larger one is decoded whenever it
    is read; here only the first bytes of each file are checked, and `Split.unreadable` finds what is damaged. Random
    windows are always read from the files. No image is decoded that claims more than `headers.MAX_PIXELS`.

    Args:
        data_dir: The folder.
        image_size: Side of the square that images are resized and cropped to, pixels; 0 keeps a size that all share.
        channels: 1 or 3; 0 means 3.
        max_train_examples: Keeps that many training images, drawn by `seed` with the classes in proportion; 0: all.
        seed: Seed of that draw.
        center_fraction: See `resize.fit`.

    Returns:
        The parts; classes are the names of the training folders in alphabetical order.

    Raises:
        UserError: A folder or an image cannot be used, or it is not certain which folder is what; names it.
    """
    if not data_dir:
        raise UserError("Data set folder needs data_dir: expected a folder of class folders. Pass --data_dir.")
    root = user_path(data_dir, "data_dir").absolute()
    if not root.is_dir():
        raise UserError(f"There is no folder {shown(root)}: expected a folder of class folders. Check --data_dir.")
    folders, passed_over = folder_parts.find_parts(root)
    others = tuple(folder for role, folder in folders.items() if role != "train")
    listed = {"train": folder_parts.list_classes(folders["train"], others)}
    classes = listed["train"].classes
    if len(classes) < 2:
        raise UserError(
            f"{shown(folders['train'])} holds one class only: expected at least two class folders. Received: "
            f"{classes[0]}."
        )
    for role in ("valid", "test"):
        if role in folders:
            listed[role] = _of_classes(folder_parts.list_classes(folders[role]), classes, folders["train"])
    notes = [folder_parts.described(role, each, root) for role, each in listed.items()]
    notes += folder_parts.about_left_out(list(listed.values()), passed_over)
    if 0 < max_train_examples < len(listed["train"].paths):
        labels = listed["train"].labels
        kept = stratified(labels, max_train_examples, np.random.default_rng(seed))
        paths = [listed["train"].paths[index] for index in kept]
        listed["train"] = listed["train"]._replace(paths=paths, labels=labels[kept])
        notes.append(f"max_train_examples={max_train_examples}: so many of the training images are used")
    splits, shape = {}, None
    for role, each in listed.items():
        splits[role], shape = _split(each, image_size, channels or 3, center_fraction, shape)
    return Parts(splits["train"], splits.get("valid"), splits.get("test"), classes, tuple(notes))


def _of_classes(listed: Listed, classes: tuple[str, ...], train_root: pathlib.Path) -> Listed:
    """Returns a part with the training part's numbers of the classes."""
    unknown = sorted(set(listed.classes) - set(classes))
    if unknown:
        raise UserError(
            f"{shown(listed.folder)} holds a class that {shown(train_root)} does not: expected the same class folders "
            f"in both. Received: {some_of(unknown)}."
        )
    numbers = np.asarray([classes.index(name) for name in listed.classes], np.int32)
    return listed._replace(classes=classes, labels=numbers[listed.labels])


def _split(
    listed: Listed, image_size: int, channels: int, center_fraction: float, shape: tuple[int, int, int] | None
) -> tuple[Split, tuple[int, int, int]]:
    """Decodes images, now or later; `shape` is what they must have, or None for that of the first one."""
    paths = listed.paths
    read = _reader(listed.converted)
    with tf.device("CPU:0"):
        held = tf.constant(paths)

    def fetch(indices: tf.Tensor) -> tf.Tensor:
        return read(tf.gather(held, indices))

    def fitted(path: tf.Tensor) -> tf.Tensor:
        return fit(decode(read(path[tf.newaxis])[0]), image_size, channels, center_fraction)

    if shape is None and image_size:
        shape = (image_size, image_size, channels)
    if shape is None:
        formats.check(paths[0])
        try:
            shape = tuple(fitted(tf.constant(paths[0])).shape)
        except tf.errors.OpError as error:
            raise UserError(_unreadable(paths[0], error)) from error
    in_memory = len(paths) * np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT
    if not in_memory and not image_size:
        raise UserError(
            f"{len(paths):,} images are too many to compare their sizes: expected an image size for more than "
            f"{MEMORY_LIMIT // 2**20} MB of images. Received: image_size=0. Pass --image_size."
        )
    for path in paths:
        formats.check(path)
    if in_memory:
        split = Split.from_arrays(_decode_all(paths, fitted, shape), listed.labels)
        split = dataclasses.replace(split, read_crops=crops(fetch, shape))
    else:
        split = encoded_split(listed.labels, fetch, image_size, channels, center_fraction)
    sizes = [_size(path) for path in paths]
    return dataclasses.replace(
        split,
        checksum=_checksum(listed, sizes, in_memory),
        unreadable=lambda: _first_unreadable(paths, sizes, read),
    ), shape


def _reader(converted: bool) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what reads files, `(paths (B,)) -> (contents (B,))`, strings that `encoded.decode` takes."""
    if not converted:
        return lambda paths: tf.map_fn(tf.io.read_file, paths, fn_output_signature=tf.TensorSpec((), tf.string))

    def contents(paths: np.ndarray) -> np.ndarray:
        return np.array([formats.contents(path) for path in paths], object)

    return lambda paths: tf.ensure_shape(tf.numpy_function(contents, [paths], tf.string, stateful=False), paths.shape)


def _decode_all(paths: list[bytes], fitted, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns `(N, *shape)` uint8, or names the first image that cannot be read or has another size."""
    images = np.empty((len(paths), *shape), np.uint8)
    decoded = tf.data.Dataset.from_tensor_slices(paths).map(unconverted(fitted), tf.data.AUTOTUNE, deterministic=True)
    iterator = decoded.prefetch(16).as_numpy_iterator()
    for row, path in enumerate(paths):  # elements and errors arrive in order, so the row tells the path
        try:
            image = next(iterator)
        except tf.errors.OpError as error:
            raise UserError(_unreadable(path, error)) from error
        if image.shape != shape:
            raise UserError(
                f"The images differ in size: expected {shape[0]}x{shape[1]} as in the first one. "
                f"Received: {image.shape[0]}x{image.shape[1]} in {shown(path)}. Pass --image_size."
            )
        images[row] = image
    return images


def _size(path: bytes) -> int:
    """Returns the bytes of a file, or -1 where it is gone."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def _checksum(listed: Listed, sizes: list[int], contents: bool) -> str:
    """Fingerprint of files: of their names and sizes, and where they are few of their contents."""
    total = 0
    for path, size in zip(listed.paths, sizes, strict=True):
        total = zlib.crc32(b"%s %d\n" % (os.path.relpath(path, os.fsencode(listed.folder)), size), total)
        if contents:
            with open(path, "rb") as file:
                total = zlib.crc32(file.read(), total)
    return f"{total:08x}"


def _first_unreadable(paths: list[bytes], sizes: list[int], read) -> str | None:
    """Looks for what has changed since the start, and then decodes every image; see `Split.unreadable`."""
    for path, size in zip(paths, sizes, strict=True):
        now = _size(path)
        if now != size:
            happened = "it is gone" if now < 0 else f"it had {size:,} bytes at the start, and now {now:,}"
            return formats.unreadable(path, ValueError(happened))
    for path in paths:
        try:
            decode(read(tf.constant([path]))[0])
        except tf.errors.OpError as error:
            return _unreadable(path, error)
    return None


def _unreadable(path: bytes, error: tf.errors.OpError) -> str:
    """A pipeline says at length where, and then why."""
    return formats.unreadable(path, ValueError(_WHERE.sub("", error.message)))
