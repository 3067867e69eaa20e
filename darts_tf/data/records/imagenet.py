"""ImageNet (ILSVRC 2012) as TensorFlow Datasets prepares it, read record by record."""

import contextlib
import io
import logging
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.files.encoded import encoded_split
from darts_tf.data.images.dataset import Parts, Split, Wanted
from darts_tf.data.records.builders import opened
from darts_tf.data.records.shards import Shards, feature
from darts_tf.system import streams
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import write_atomically

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")  # from image-net.org, which requires an account
_MANY = 5000  # number of labels from which reading them is announced
_said: set[pathlib.Path] = set()  # announced in this process, since a tuning loads the data for each trial


def load_imagenet(data_dir: str, wanted: Wanted) -> Parts:
    """Reads ImageNet through TensorFlow Datasets; images stay encoded in their records until a batch needs them.

    If nothing is prepared and the two `ARCHIVES` are in `data_dir/downloads/manual`, they are prepared here, once,
    which takes hours and another 150 GB. The labels are in the records, too. Reading all of them takes minutes, once;
    they are cached in a file next to the records, if that folder is writable.

    Args:
        data_dir: The folder of TensorFlow Datasets; empty: its default.
        wanted: A size is needed; no channels means 3; the first training images are kept, which TFDS has shuffled.

    Returns:
        The parts; classes are WordNet numbers such as n01440764, in TFDS' order.

    Raises:
        UserError: ImageNet is not available.
    """
    if not wanted.image_size:
        raise UserError("ImageNet's photographs differ in size: expected an image size. Pass image_size.")
    wanted, builder = wanted._replace(channels=wanted.channels or 3), _prepared(data_dir)

    def split(name: str, count: int) -> Split:
        shards = Shards(builder, name)
        labels = _labels(builder, name, shards, min(count or shards.count, shards.count))
        return encoded_split(labels, lambda i: feature(shards(i), "image", tf.string), wanted)

    try:
        train = split("train", wanted.max_train_examples)
        valid = split("validation", 0) if "validation" in builder.info.splits else None
    except Exception as error:  # TFDS passes on whatever the disk or the records raise
        raise UserError(
            f"ImageNet cannot be read: expected records with a split train in {builder.data_dir}. Received: "
            f"{one_line(error)}. Delete that folder to prepare it again."
        ) from error
    return Parts(train, valid, None, tuple(builder.info.features["label"].names))


def _prepared(data_dir: str) -> Any:
    """Returns the TFDS builder of ImageNet, whose records exist."""
    import tensorflow_datasets as tfds

    builder = opened("imagenet2012", data_dir, "ImageNet")
    if builder.is_prepared():
        return builder
    manual = pathlib.Path(builder.data_dir).parents[1] / "downloads" / "manual"
    missing = [name for name in ARCHIVES if not (manual / name).is_file()]
    if missing:
        raise UserError(
            f"ImageNet is not prepared and cannot be downloaded without an account: expected {' and '.join(ARCHIVES)} "
            f"in {manual}. Received: no {' and no '.join(missing)}. Download them from "
            "https://image-net.org/download-images to that folder, or pass data_dir with the folder that holds "
            "imagenet2012."
        )
    try:
        with contextlib.redirect_stdout(streams.Errors()):  # TFDS prints that it begins; stdout is for results
            builder = tfds.builder("imagenet2012", data_dir=data_dir or None, file_format="array_record")
            builder.download_and_prepare()
    except Exception as error:  # TFDS passes on whatever the archives or the disk raise
        raise UserError(
            f"ImageNet cannot be prepared: expected the archives of image-net.org in {manual} and 150 GB of space. "
            f"Received: {one_line(error)}."
        ) from error
    return builder


def _labels(builder: Any, name: str, shards: Shards, count: int) -> np.ndarray:
    """Returns the first labels `(count,)` int32: from the file that keeps them, or from the records."""
    path = pathlib.Path(builder.data_dir) / f"darts_tf-{name}-labels.npy"
    try:
        labels = np.load(path, allow_pickle=False)
        if labels.shape == (shards.count,) and labels.dtype == np.int32:
            return labels[:count]
    except (OSError, ValueError, EOFError):
        pass  # missing or damaged: it is written again
    if count > _MANY and path not in _said:
        _said.add(path)
        logging.getLogger(__name__).warning("Reading the labels of %d images of ImageNet, once: %s", count, path)
    labels = shards.all("label", count).astype(np.int32)
    if count == shards.count:
        content = io.BytesIO()
        np.save(content, labels)
        with contextlib.suppress(OSError):  # if the folder is not writable, the next start takes these minutes again
            write_atomically(path, content.getvalue())
    return labels
