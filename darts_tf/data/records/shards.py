"""Records of TensorFlow Datasets, read by number.

The batch at a step is a function of (seed, step), so records are read in any order. The format array_record supports
this. The usual tfrecord does not; it is scanned once, header by header, to find where each record begins.
"""

import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.files.headers import shown
from darts_tf.data.pipeline import unconverted, untuned
from darts_tf.system.errors import UserError

_BATCH = 512  # records per read when all are read
_HEAD, _FOOT = 12, 4  # bytes before and after the content: its length and the length's checksum; the content's checksum


class Shards:
    """The records of a split, in their order.

    Args:
        builder: A TFDS builder, prepared.
        split: The name of one of its splits.

    Attributes:
        count: Number of records.
        paths: The files that hold them.

    Raises:
        UserError: The format is another one, or the files are not those that TFDS wrote.
    """

    def __init__(self, builder: Any, split: str):
        info = builder.info.splits[split]
        self.count, self.paths = info.num_examples, [os.fspath(path) for path in info.filepaths]
        kind = builder.info.file_format.value
        if kind not in _READERS:
            raise UserError(
                f"The records in {shown(str(builder.data_dir))} cannot be read by index: expected the format "
                f"{' or '.join(_READERS)}. Received: {kind}. Have TensorFlow Datasets prepare them in another folder."
            )
        self._read = _READERS[kind](builder, split, self.paths, self.count)

    def __call__(self, numbers: tf.Tensor) -> tf.Tensor:
        """Returns records, `(B,)` integers to `(B,)` strings; runs eagerly and inside `tf.data.Dataset.map`."""
        records = tf.numpy_function(self._read, [numbers], tf.string, stateful=False)
        return tf.ensure_shape(records, numbers.shape)

    def all(self, name: str, count: int = 0) -> np.ndarray:
        """Returns an integer feature of the first `count` records (0: all), `(N,)` int64."""
        numbers = tf.data.Dataset.range(count or self.count).batch(_BATCH)
        read = unconverted(lambda rows: feature(self(rows), name, tf.int64))
        found = numbers.map(read, num_parallel_calls=4, deterministic=True)
        return np.concatenate(list(untuned(found).as_numpy_iterator()))


def feature(records: tf.Tensor, name: str, dtype: tf.DType) -> tf.Tensor:
    """Returns a feature of records, `(B,)` strings to `(B,)`: tf.string for an image, tf.int64 for a label."""
    return tf.io.parse_example(records, {name: tf.io.FixedLenFeature((), dtype)})[name]


def _array_records(builder: Any, split: str, paths: Sequence[str], count: int) -> Callable:
    import tensorflow_datasets as tfds

    source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    return lambda numbers: np.array(source.__getitems__(numbers.tolist()), object)


def _tf_records(builder: Any, split: str, paths: Sequence[str], count: int) -> Callable:
    spans = [_spans(path) for path in paths]
    files = np.repeat(np.arange(len(paths)), [len(each) for each in spans])
    starts, sizes = np.concatenate(spans).T
    if len(files) != count:
        raise UserError(
            f"Records are missing: expected {count} of the split {split} in {shown(str(builder.data_dir))}. Received: "
            f"{len(files)}. Delete that folder to prepare it again."
        )

    def read(numbers):
        found = np.empty(len(numbers), object)
        for row, number in enumerate(numbers):
            with open(paths[files[number]], "rb") as opened:
                opened.seek(starts[number])
                found[row] = opened.read(sizes[number])
        return found

    return read


def _spans(path: str) -> np.ndarray:
    """Returns the start and the length of the contents of a file's records, `(N, 2)` int64, in bytes.

    The last record of a truncated file is left out.
    """
    spans, place, end = [], 0, os.path.getsize(path)
    with open(path, "rb") as opened:
        while place + _HEAD <= end:
            opened.seek(place)
            (size,) = struct.unpack("<Q", opened.read(8))
            if size > end - place - _HEAD - _FOOT:
                break
            spans.append((place + _HEAD, size))
            place += _HEAD + size + _FOOT
    return np.array(spans, np.int64).reshape(-1, 2)


_READERS: dict[str, Callable] = {"tfrecord": _tf_records, "array_record": _array_records}
