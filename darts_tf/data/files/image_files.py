"""Image files that are decoded once or on every read."""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from darts_tf.data.files import headers
from darts_tf.data.files.encoded_images import EncodedImages
from darts_tf.data.files.listing import File, unreadable
from darts_tf.data.pipeline import unconverted
from darts_tf.system.errors import UserError


class ImageFiles(EncodedImages):
    """The files of a split.

    Args:
        files: The files, at least one.
        labels: `(N,)` int32.
    """

    def __init__(self, files: Sequence[File], labels: np.ndarray):
        self.files, self.labels = files, labels
        foreign = np.array([not file.header.native for file in files])
        with tf.device("CPU:0"):
            # As bytes: a name need not be UTF-8.
            self._paths = tf.constant([file.path.encode("utf-8", "surrogateescape") for file in files])
            self._foreign = tf.constant(foreign) if foreign.any() else None

    def contents(self, indices: tf.Tensor) -> tf.Tensor:
        """Reads files."""
        if self._foreign is None:
            return tf.map_fn(
                tf.io.read_file, tf.gather(self._paths, indices), fn_output_signature=tf.TensorSpec((), tf.string)
            )
        chosen = tf.gather(self._paths, indices), tf.gather(self._foreign, indices)
        return tf.map_fn(unconverted(self._converted), chosen, fn_output_signature=tf.TensorSpec((), tf.string))

    def _converted(self, file):
        content = tf.io.read_file(file[0])

        def converted():
            return tf.ensure_shape(tf.numpy_function(_as_png, [content], tf.string, stateful=False), ())

        return tf.cond(file[1], converted, lambda: tf.identity(content))

    def place(self, index: int) -> str:
        """The file's path."""
        return headers.shown(self.files[index].path)

    def suspects(self) -> Iterable[int]:
        """Files without their format's end marker."""
        return (index for index, file in enumerate(self.files) if not file.header.whole)

    def checksum(self, contents: bool = False) -> str:
        """Returns a fingerprint of the files' relative names, sizes and labels, and optionally of their content."""
        found = 0
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            name = file.name.encode("utf-8", "surrogateescape")
            found = zlib.crc32(b"%s\0%d\0%d\n" % (name, file.size, label), found)
            if contents:
                with open(file.path, "rb") as opened:
                    found = zlib.crc32(opened.read(), found)
        return f"{found:08x}"

    def unreadable(self) -> str | None:
        """Returns the line that names the first image that can no longer be read, or None; decodes all if necessary."""
        for file in self.files:
            try:
                headers.check(file.path)
            except UserError as error:
                return str(error)
            except (OSError, ValueError) as error:
                return unreadable(file.path, error)
        return super().unreadable()


def _as_png(content):
    """Converts the content of a file; in eager mode TensorFlow passes it as an array."""
    return headers.as_png(content.item() if isinstance(content, np.ndarray) else content)
