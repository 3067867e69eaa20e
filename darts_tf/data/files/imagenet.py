"""ImageNet (ILSVRC 2012) as TensorFlow Datasets prepares it, read record by record."""

import contextlib
import io
import logging
import os
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.files.encoded import encoded_split
from darts_tf.data.images.dataset import Parts, Split
from darts_tf.passes.graph import unconverted
from darts_tf.system import streams
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import write_atomically

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ARCHIVES = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")  # of image-net.org, which asks for an account
LABELS_PER_BATCH = 512
_said: set[pathlib.Path] = set()  # whose labels were announced in this process: a tuning loads the data for each trial


def load_imagenet(
    data_dir: str, image_size: int, channels: int, max_train_examples: int, center_fraction: float
) -> Parts:
    """Reads ImageNet through TensorFlow Datasets; images stay in their records, encoded, until a batch needs them.

    The batch at a step is a function of (seed, step), so records are read by number, in any order: TFDS can do so in
    the format array_record, not in its usual tfrecord. If nothing is prepared and the two `ARCHIVES` are in
    `data_dir/downloads/manual`, they are prepared here, which takes hours and another 150 GB, once. The labels are in
    the records, too. Reading them all once takes minutes; they are kept in a file next to the records, if that folder
    is writable.

    Args:
        data_dir: The folder of TensorFlow Datasets; empty: its default.
        image_size: Side of the square that images are resized and cropped to, pixels, > 0.
        channels: 1 or 3; 0 means 3.
        max_train_examples: Keeps only the first training images, which TFDS has shuffled; 0 keeps all.
        center_fraction: See `resize.fit`.

    Returns:
        The parts; classes are WordNet numbers such as n01440764, in TFDS' order.

    Raises:
        UserError: ImageNet is not there, or not in the format array_record.
    """
    if not image_size:
        raise UserError("ImageNet's photographs differ in size: expected an image size. Pass --image_size.")
    builder = _prepared(data_dir)

    def split(name: str, count: int) -> Split:
        records = _reader(builder, name)
        count = min(count or builder.info.splits[name].num_examples, builder.info.splits[name].num_examples)
        labels = _labels(builder, name, records, count)
        return encoded_split(
            labels, lambda i: _feature(records(i), "image"), image_size, channels or 3, center_fraction
        )

    try:
        train = split("train", max_train_examples)
        valid = split("validation", 0) if "validation" in builder.info.splits else None
    except Exception as error:  # TFDS lets through whatever the disk or the records raise
        raise UserError(
            f"ImageNet cannot be read: expected records with a split train in {builder.data_dir}. "
            f"Received: {one_line(error)}. Delete that folder to have it prepared again."
        ) from error
    return Parts(train, valid, None, tuple(builder.info.features["label"].names))


def _prepared(data_dir: str) -> Any:
    """Returns TFDS' builder of ImageNet, with its records there."""
    import tensorflow_datasets as tfds

    if data_dir and not os.path.isdir(data_dir):
        raise UserError(
            f"There is no folder {data_dir}: expected one that holds, or will hold, imagenet2012 as TensorFlow "
            "Datasets prepares it. Check --data_dir."
        )
    try:
        builder = tfds.builder("imagenet2012", data_dir=data_dir or None, file_format="array_record", try_gcs=False)
    except ValueError as error:  # so it answers where another format is prepared
        raise UserError(
            f"ImageNet cannot be opened: expected it in {data_dir or 'the default folder'} in the format array_record, "
            f"which can be read in any order, or not yet prepared. Received: {one_line(error)}. Pass a --data_dir "
            f"whose downloads/manual holds {' and '.join(ARCHIVES)}, to have it prepared there."
        ) from error
    if builder.is_prepared():
        return builder
    manual = pathlib.Path(builder.data_dir).parents[1] / "downloads" / "manual"
    missing = [name for name in ARCHIVES if not (manual / name).is_file()]
    if missing:
        raise UserError(
            f"ImageNet is not prepared and cannot be downloaded without an account: expected {' and '.join(ARCHIVES)} "
            f"in {manual}. Received: no {' and no '.join(missing)}. Get them from "
            "https://image-net.org/download-images to that folder, or pass --data_dir with the folder that holds "
            "imagenet2012."
        )
    try:
        with contextlib.redirect_stdout(streams.Errors()):  # TFDS prints that it begins; stdout is for results
            builder.download_and_prepare()
    except Exception as error:  # TFDS lets through whatever the archives or the disk raise
        raise UserError(
            f"ImageNet cannot be prepared: expected the archives of image-net.org in {manual} and 150 GB of space. "
            f"Received: {one_line(error)}."
        ) from error
    return builder


def _reader(builder, name):
    """Returns a function from numbers of examples `(B,)` to their records `(B,)`, strings."""
    import tensorflow_datasets as tfds

    source = builder.as_data_source(name, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def numbered(indices: np.ndarray) -> np.ndarray:
        return np.array(source.__getitems__(indices.tolist()), object)

    def records(indices: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(numbered, [indices], tf.string, stateful=False), indices.shape)

    return records


def _feature(records: tf.Tensor, name: str) -> tf.Tensor:
    dtype = {"image": tf.string, "label": tf.int64}[name]
    return tf.io.parse_example(records, {name: tf.io.FixedLenFeature((), dtype)})[name]


def _labels(builder: Any, name: str, records: Any, count: int) -> np.ndarray:
    """Returns the first labels `(count,)` int32: from the file that keeps them, or from the records."""
    total = builder.info.splits[name].num_examples
    path = pathlib.Path(builder.data_dir) / f"darts_tf-{name}-labels.npy"
    try:
        labels = np.load(path, allow_pickle=False)
        if labels.shape == (total,) and labels.dtype == np.int32:
            return labels[:count]
    except (OSError, ValueError, EOFError):
        pass  # none yet, or damaged: it is written anew
    if count > 10 * LABELS_PER_BATCH and path not in _said:
        _said.add(path)
        logging.getLogger(__name__).warning("Reading the labels of %d images of ImageNet, once: %s", count, path)
    numbers = tf.data.Dataset.range(count).batch(LABELS_PER_BATCH)
    read = unconverted(lambda indices: _feature(records(indices), "label"))
    batches = numbers.map(read, num_parallel_calls=4, deterministic=True)
    labels = np.concatenate(list(batches.as_numpy_iterator())).astype(np.int32)
    if count == total:
        content = io.BytesIO()
        np.save(content, labels)
        with contextlib.suppress(OSError):  # a folder that cannot be written to costs the next start its minutes
            write_atomically(path, content.getvalue())
    return labels
