"""Image data sets in class folders."""

import dataclasses
import os
import pathlib
import re

import numpy as np
import tensorflow as tf

from darts_tf.data import headers
from darts_tf.data.dataset import Parts, Split
from darts_tf.data.encoded import decode, decode_crop, encoded_split
from darts_tf.data.resize import crop_reader, fit
from darts_tf.data.split import stratified
from darts_tf.errors import UserError, one_line
from darts_tf.files import user_path
from darts_tf.graph import unconverted

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
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
    """Reads class folders: `train/CLASS/*` with `val/`, `valid/` or `test/` beside it, or just `CLASS/*`.

    Of several held-out folders the first of that order is the test split. A split of at most `MEMORY_LIMIT` bytes is
    decoded once, here, and each image is checked by that. A larger one is decoded whenever it is read; here only the
    first bytes of each file are checked. Random windows are always read from the files.
    No image is decoded that claims more than `headers.MAX_PIXELS`.

    Args:
        data_dir: The folder.
        image_size: Side of the square that images are resized and cropped to, pixels; 0 keeps a size that all share.
        channels: 1 or 3; 0 means 3.
        max_train_examples: Keeps that many training images, drawn by `seed` with the classes in proportion; 0: all.
        seed: Seed of that draw.
        center_fraction: See `resize.fit`.

    Returns:
        The parts; classes are the folders' names in alphabetical order.

    Raises:
        UserError: A folder or an image cannot be used; names it.
    """
    if not data_dir:
        raise UserError("Data set folder needs data_dir: expected a folder of class folders. Pass --data_dir.")
    root = user_path(data_dir, "data_dir").absolute()
    if not root.is_dir():
        raise UserError(f"There is no folder {data_dir}: expected a folder of class folders. Check --data_dir.")
    train_root = root / "train" if any(_subfolders(root / "train")) else root
    classes, paths, labels = _list(train_root)
    if len(classes) < 2:
        raise UserError(
            f"{train_root} holds one class only: expected at least two class folders. Received: {classes[0]}."
        )
    if 0 < max_train_examples < len(paths):
        kept = stratified(labels, max_train_examples, np.random.default_rng(seed))
        paths, labels = [paths[i] for i in kept], labels[kept]
    channels = channels or 3
    train, shape = _split(paths, labels, image_size, channels, center_fraction, None)

    def held_out(*names):
        found = next((root / name for name in names if any(_subfolders(root / name))), None)
        if train_root == root or found is None:
            return None
        own_classes, paths, labels = _list(found)
        unknown = sorted(set(own_classes) - set(classes))
        if unknown:
            raise UserError(
                f"{found} holds a class that {train_root} does not: expected the same class folders in both. "
                f"Received: {unknown[0]}."
            )
        labels = np.asarray([classes.index(name) for name in own_classes], np.int32)[labels]
        return _split(paths, labels, image_size, channels, center_fraction, shape)[0]

    return Parts(train, held_out("val", "valid", "validation"), held_out("test"), classes)


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the class folders in a folder, in order; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _list(root: pathlib.Path) -> tuple[tuple[str, ...], list[str], np.ndarray]:
    """Returns the classes in a folder, the images' paths and their labels `(N,)` int32."""
    paths, labels = [], []
    folders = _subfolders(root)
    if not folders:
        raise UserError(f"{root} holds no class folders: expected one folder of images per class.")
    for label, folder in enumerate(folders):
        images = sorted(entry.path for entry in os.scandir(folder) if entry.name.lower().endswith(SUFFIXES))
        if not images:
            raise UserError(
                f"{folder} holds no images: expected files that end in {', '.join(SUFFIXES)}. Add some or remove it."
            )
        paths += images
        labels += [label] * len(images)
    return tuple(folder.name for folder in folders), paths, np.asarray(labels, np.int32)


def _split(
    paths: list[str],
    labels: np.ndarray,
    image_size: int,
    channels: int,
    center_fraction: float,
    shape: tuple[int, int, int] | None,
) -> tuple[Split, tuple[int, int, int]]:
    """Decodes images, now or later; `shape` is what they must have, or None for that of the first one."""
    with tf.device("CPU:0"):
        held = tf.constant(paths)

    def fetch(indices: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec((), tf.string)
        return tf.map_fn(tf.io.read_file, tf.gather(held, indices), fn_output_signature=spec)

    def fitted(path: tf.Tensor) -> tf.Tensor:
        return fit(decode(tf.io.read_file(path)), image_size, channels, center_fraction)

    if shape is None and image_size:
        shape = (image_size, image_size, channels)
    if shape is None:
        _check(paths[0])
        try:
            shape = tuple(fitted(paths[0]).shape)
        except tf.errors.OpError as error:
            raise UserError(_unreadable(paths[0], error)) from error
    if len(paths) * np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT:
        split = Split.from_arrays(_decode_all(paths, fitted, shape), labels)
        return dataclasses.replace(split, read_crops=crop_reader(fetch, decode_crop, shape)), shape
    if not image_size:
        raise UserError(
            f"{len(paths)} images are too many to compare their sizes: expected an image size for more than "
            f"{MEMORY_LIMIT // 2**20} MB of images. Received: image_size=0. Pass --image_size."
        )
    for path in paths:
        _check(path)
    return encoded_split(labels, fetch, image_size, channels, center_fraction), shape


def _check(path: str) -> None:
    """Refuses what is no image, or too large, by the first bytes of its file."""
    try:
        headers.check(path)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(_unreadable(path, error)) from error


def _decode_all(paths: list[str], fitted, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns `(N, *shape)` uint8, or names the first image that cannot be read or has another size."""
    for path in paths:
        _check(path)
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
                f"Received: {image.shape[0]}x{image.shape[1]} in {path}. Pass --image_size."
            )
        images[row] = image
    return images


def _unreadable(path: str, error: Exception) -> str:
    if isinstance(error, tf.errors.OpError):  # a pipeline says at length where, and then why
        error = ValueError(_WHERE.sub("", error.message))
    return (
        f"An image cannot be read: expected JPEG, PNG, GIF or 24-bit BMP. Received: {path} ({one_line(error)}). "
        "Replace or remove it."
    )
