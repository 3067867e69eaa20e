"""Image files that are decoded, now or whenever they are read."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.files import headers
from darts_tf.data.files.encoded import crops, decode, encoded_split
from darts_tf.data.files.exif import orientations
from darts_tf.data.files.listing import File, unreadable
from darts_tf.data.images.dataset import Split
from darts_tf.data.images.resize import fit
from darts_tf.data.reading import reason
from darts_tf.passes.graph import unconverted
from darts_tf.system.errors import UserError

SUSPECTS = 1000  # files without their format's end that are decoded at the start, to see whether they are cut off
_AHEAD = 64  # files whose orientation is read at once


class ImageFiles:
    """The files of a split.

    Args:
        files: At least one.
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
        """Reads files, `(B,)` integers to `(B,)` strings as `encoded.decode` takes them."""
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

    def split(
        self, image_size: int, channels: int, center_fraction: float, shape: tuple | None, limit: int
    ) -> tuple[Split, tuple[int, int, int]]:
        """Makes the split.

        Args:
            image_size: Side in pixels; 0 keeps the size that all share.
            channels: 1 or 3.
            center_fraction: See `resize.fit`.
            shape: (height, width, channels) that images must have; None: that of the first one.
            limit: Bytes of decoded images, up to which they are decoded once, here.

        Returns:
            The split, and the shape of its images.

        Raises:
            UserError: An image cannot be decoded, or has another size; names it.
        """

        def fitted(content, orientation):
            return fit(decode(content, orientation), image_size, channels, center_fraction)

        if image_size:
            shape = (image_size, image_size, channels)
        elif shape is None:
            shape = next(self._decoded([0], fitted)).shape
        about: dict[str, Any] = {"unreadable": self.unreadable}
        if len(self.files) * np.prod(shape, dtype=np.int64) <= limit:
            split = Split.from_arrays(self._decode_all(fitted, shape), self.labels)
            about["checksum"] = self.checksum(True)  # of the files: another decoder's pixels may differ
            return dataclasses.replace(split, read_crops=crops(self.contents, shape), **about), shape
        if not image_size:
            raise UserError(
                f"{len(self.files)} images are too many to compare their sizes: expected an image size for more than "
                f"{limit // 2**20} MB of images. Received: image_size=0. Pass --image_size."
            )
        # The first is read next anyway, to see its shape.
        suspects = [index for index, file in enumerate(self.files) if not (index and file.header.whole)][:SUSPECTS]
        for _ in self._decoded(suspects, decode, turned=False):
            pass
        split = encoded_split(self.labels, self.contents, image_size, channels, center_fraction)
        return dataclasses.replace(split, checksum=self.checksum(), **about), shape

    def checksum(self, contents: bool = False) -> str:
        """Returns a fingerprint of the files' names within their data set, sizes and labels, and of their content."""
        found = 0
        for file, label in zip(self.files, self.labels.tolist(), strict=True):
            name = file.name.encode("utf-8", "surrogateescape")
            found = zlib.crc32(b"%s\0%d\0%d\n" % (name, file.size, label), found)
            if contents:
                with open(file.path, "rb") as opened:
                    found = zlib.crc32(opened.read(), found)
        return f"{found:08x}"

    def unreadable(self) -> str | None:
        """Returns the line that names the first image that can no longer be read, or None; decodes all if it must."""
        for file in self.files:
            try:
                headers.check(file.path)
            except UserError as error:
                return str(error)
            except (OSError, ValueError) as error:
                return unreadable(file.path, error)
        try:
            for _ in self._decoded(range(len(self.files)), decode, turned=False):
                pass
        except UserError as error:
            return str(error)
        return None

    def _decode_all(self, fitted, shape):
        images = np.empty((len(self.files), *shape), np.uint8)
        for row, image in enumerate(self._decoded(range(len(self.files)), fitted)):
            if image.shape != tuple(shape):
                raise UserError(
                    f"The images differ in size: expected {shape[0]}x{shape[1]} as in the first one. Received: "
                    f"{image.shape[0]}x{image.shape[1]} in {headers.shown(self.files[row].path)}. Pass --image_size."
                )
            images[row] = image
        return images

    def _decoded(self, indices: Iterable[int], function: Callable, turned: bool = True) -> Iterator[np.ndarray]:
        """Yields `function(content, orientation)` of files as arrays; raises UserError where one cannot be read."""
        indices = np.asarray(indices, np.int64)

        def read(batch):
            contents = self.contents(batch)
            return contents, orientations(contents) if turned else tf.ones_like(batch, tf.int32)

        batches = tf.data.Dataset.from_tensor_slices(indices).batch(_AHEAD).map(unconverted(read))
        images = batches.unbatch().map(unconverted(function), tf.data.AUTOTUNE, deterministic=True).prefetch(16)
        done = 0
        try:
            for image in images.as_numpy_iterator():
                yield image
                done += 1
        except tf.errors.OpError as error:
            raise UserError(self._blame(indices[done:], function, error)) from error

    def _blame(self, indices, function, error):
        """Names the image that an error is about, among the next ones: errors come in order, but by the batch."""
        for index in indices[: 2 * _AHEAD]:
            try:
                contents = self.contents(tf.constant([index]))
                function(contents[0], orientations(contents)[0])
            except (tf.errors.OpError, ValueError) as found:  # of `as_png`, too
                return unreadable(self.files[index].path, reason(found))
        return unreadable(self.files[indices[0]].path, reason(error))


def _as_png(content):
    """Converts the content of a file; called eagerly, TensorFlow hands it over as an array."""
    return headers.as_png(content.item() if isinstance(content, np.ndarray) else content)
