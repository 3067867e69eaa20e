"""Any labelled images from TensorFlow Datasets."""

import os
import zlib
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.files import roles
from darts_tf.data.files.encoded_images import EncodedImages
from darts_tf.data.files.headers import shown
from darts_tf.data.images.dataset import Parts, Split, Wanted, purpose
from darts_tf.data.images.split import sample
from darts_tf.data.records.builders import prepared
from darts_tf.data.records.shards import Shards, feature
from darts_tf.system.errors import UserError, one_line, some_of

PREFIX = "tfds:"


def load_tfds(name: str, data_dir: str, wanted: Wanted) -> Parts:
    """Reads the images and labels of a data set of TensorFlow Datasets.

    The image is the one feature of type `Image`, the label the one of type `ClassLabel`; if there are several, those in
    the data set's `supervised_keys`. The split `train` is for training, those named in `roles.NAMES` are for validation
    and testing, others are not used. As with class folders, a split of at most `encoded_images.MEMORY_LIMIT` bytes is
    decoded once, here, and a larger one on every read; its labels are read here, which takes a pass over the records.

    Args:
        name: See `builders.prepared`.
        data_dir: The folder of TensorFlow Datasets; empty: its default.
        wanted: No channels means 1 for grey images, otherwise 3; the training images are drawn with the classes in
            proportion.

    Returns:
        The parts; classes are those of the `ClassLabel`.

    Raises:
        UserError: The data set is not available, does not hold labelled images, or an image cannot be used.
    """
    builder = prepared(name, data_dir)
    try:
        return _parts(builder, wanted)
    except UserError:
        raise
    except Exception as error:  # TFDS and TensorFlow pass on whatever the disk or the records raise
        raise UserError(
            f"{PREFIX}{name} cannot be read: expected the records that TensorFlow Datasets prepared in "
            f"{shown(str(builder.data_dir))}. Received: {one_line(error)}. Delete that folder to prepare it again."
        ) from error


def _parts(builder, wanted):
    image, label, classes = _features(builder)
    wanted = wanted._replace(channels=wanted.channels or (1 if builder.info.features[image].shape[-1] == 1 else 3))
    splits, notes = _roles(builder)
    found, shape = [], None
    parts: dict[str, Split | None] = dict.fromkeys(roles.NAMES)
    for role, split in splits.items():
        shards = Shards(builder, split)
        labels = _labels(shards, label, len(classes), split)
        if role != "train" and (labels == -1).all():  # as in competitions
            notes.append(f"not used: {split} (no labels)")
            continue
        most = wanted.max_train_examples if role == "train" else 0
        found.append(purpose(split, labels, classes, role, most))
        numbers = sample(labels, np.arange(len(labels)), most, wanted.seed)
        records = _RecordImages(shards, image, numbers, labels[numbers], f"{split} in {shown(str(builder.data_dir))}")
        parts[role], shape = records.split(wanted, shape)
    where = f"{builder.info.full_name} in {shown(str(builder.data_dir))}"
    lines = f"{where}: {'; '.join(found)}", *notes
    return Parts(parts["train"], parts["valid"], parts["test"], classes, lines)


def _features(builder: Any) -> tuple[str, str, tuple[str, ...]]:
    """Returns the names of the image and of the label, and those of the classes."""
    import tensorflow_datasets as tfds

    kinds, features = tfds.features, dict(builder.info.features.items())

    def is_image(each):  # masks are images, too; float images are not pictures but bytes in the form of one
        mask = isinstance(each, kinds.LabeledImage)
        return isinstance(each, kinds.Image) and not mask and np.dtype(each.np_dtype).kind == "u"

    image = _only(builder, features, "Image", is_image)
    label = _only(builder, features, "ClassLabel", lambda each: isinstance(each, kinds.ClassLabel))
    names = tuple(features[label].names or ())
    if len(names) < 2:
        raise UserError(
            f"{builder.info.full_name} has too few classes: expected at least two in its feature {label}. "
            f"Received: {some_of(names) or 'none'}."
        )
    return image, label, names


def _only(builder, features, kind, fits):
    """Returns the name of the one feature of a kind."""
    names = sorted(name for name, each in features.items() if fits(each))
    if len(names) > 1:  # the data set says which, such as label of label and coarse_label
        names = [name for name in names if name in tuple(builder.info.supervised_keys or ())] or names
    if len(names) != 1:
        held = names or [f"{name} ({type(each).__name__})" for name, each in sorted(features.items())]
        raise UserError(
            f"{builder.info.full_name} is not a data set of labelled images: expected one feature of type "
            f"{kind}{' with whole numbers' if kind == 'Image' else ''}, or supervised_keys that name it. Received: "
            f"{some_of(held, 6)}."
        )
    return names[0]


def _roles(builder: Any) -> tuple[dict[str, str], list[str]]:
    """Returns the split of each role, and a note on the others."""
    known = {role: [s for s in builder.info.splits if s.lower() in names] for role, names in roles.NAMES.items()}
    for role, splits in known.items():
        if len(splits) > 1:
            raise UserError(
                f"{builder.info.full_name} has two splits for one purpose: expected one of "
                f"{some_of(roles.NAMES[role])}. Received: {some_of(splits, separator=' and ')}."
            )
    if not known["train"]:
        raise UserError(
            f"{builder.info.full_name} has no training split: expected one of {some_of(roles.NAMES['train'])}. "
            f"Received: {some_of(builder.info.splits) or 'none'}."
        )
    others = [split for split in builder.info.splits if not any(split in splits for splits in known.values())]
    notes = [f"not used: {some_of(others)} (not training, validation or test by name)"] if others else []
    return {role: splits[0] for role, splits in known.items() if splits}, notes


def _labels(shards: Shards, name: str, classes: int, split: str) -> np.ndarray:
    """Returns the labels `(N,)` int32: class numbers, or all -1 if there are none."""
    if not shards.count:
        raise UserError(f"The split {split} is empty: expected at least one record. Received: none.")
    labels = shards.all(name)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size and not (labels == -1).all():
        raise UserError(
            f"A label is out of range: expected 0 to {classes - 1} in {name}. Received: {labels[wrong[0]]} in record "
            f"{wrong[0]} of {split}."
        )
    return labels.astype(np.int32)


class _RecordImages(EncodedImages):
    """The images in the records of a split.

    Args:
        shards: The records.
        image: The name of their feature.
        numbers: `(N,)` int64, the numbers of the records that are used.
        labels: `(N,)` int32, their labels.
        where: The split and its folder, for messages.
    """

    remedy = "Prepare the data set again."

    def __init__(self, shards: Shards, image: str, numbers: np.ndarray, labels: np.ndarray, where: str):
        self.labels, self._shards, self._image, self._where = labels, shards, image, where
        with tf.device("CPU:0"):
            self._numbers = tf.constant(numbers, tf.int64)

    def contents(self, indices: tf.Tensor) -> tf.Tensor:
        """Reads the images' records."""
        return feature(self._shards(tf.gather(self._numbers, indices)), self._image, tf.string)

    def place(self, index: int) -> str:
        """The number of the record."""
        return f"record {int(self._numbers[index])} of {self._where}"

    def checksum(self, contents: bool = False) -> str:
        """Returns a fingerprint of the labels, and of the encoded images or of the files' names and sizes."""
        found = zlib.crc32(self.labels.tobytes())
        for path in () if contents else self._shards.paths:
            found = zlib.crc32(b"%s\0%d\n" % (os.fsencode(os.path.basename(path)), os.path.getsize(path)), found)
        for start in range(0, len(self.labels) if contents else 0, 512):
            for content in self.contents(tf.range(start, min(start + 512, len(self.labels)))).numpy():
                found = zlib.crc32(content, found)
        return f"{found:08x}"
