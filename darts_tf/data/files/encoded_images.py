"""Encoded images that are decoded once or on every read: the common part of files and records."""

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from darts_tf.data.files.encoded import crops, decode, encoded_split
from darts_tf.data.files.exif import orientations
from darts_tf.data.files.listing import unreadable
from darts_tf.data.images.dataset import Split, Wanted
from darts_tf.data.pipeline import unconverted, untuned
from darts_tf.data.reading import reason
from darts_tf.system.errors import UserError

MEMORY_LIMIT = 512 * 2**20  # bytes of decoded images per split that are kept in memory
SUSPECTS = 1000  # possibly truncated images that are decoded at the start to find out
_AHEAD = 64  # images whose orientations are read together


class EncodedImages(abc.ABC):
    """The images of a split.

    Attributes:
        labels: `(N,)` int32, N >= 1.
        remedy: What to do about an image that cannot be read, for a message.
    """

    labels: np.ndarray
    remedy = "Replace or remove it."

    @abc.abstractmethod
    def contents(self, indices: tf.Tensor) -> tf.Tensor:
        """Reads images, `(B,)` integers to `(B,)` strings as `encoded.decode` takes them."""

    @abc.abstractmethod
    def place(self, index: int) -> str:
        """The location of an image, for a message."""

    @abc.abstractmethod
    def checksum(self, contents: bool = False) -> str:
        """A fingerprint of the data: names, sizes and labels, and with `contents` every byte."""

    def suspects(self) -> Iterable[int]:
        """The images that may be truncated."""
        return ()

    def split(self, wanted: Wanted, shape: tuple | None) -> tuple[Split, tuple[int, int, int]]:
        """Makes the split; up to `MEMORY_LIMIT` the images are decoded once, here.

        Args:
            wanted: Size and channels; the channels are 1 or 3.
            shape: Required (height, width, channels); None: that of the first image.

        Returns:
            The split, and the shape of its images.

        Raises:
            UserError: An image cannot be decoded, or has another size; the message names it.
        """

        def fitted(content, orientation):
            return wanted.fit(decode(content, orientation))

        images = self._decoded(range(len(self.labels)), fitted)
        if wanted.image_size:
            shape = (wanted.image_size, wanted.image_size, wanted.channels)
        elif shape is None:
            first = next(images)
            shape, images = first.shape, itertools.chain([first], images)
        if len(self.labels) * np.prod(shape, dtype=np.int64) <= MEMORY_LIMIT:
            split = Split.from_arrays(self._in_memory(images, shape), self.labels)
            read_crops = crops(self.contents, shape)
            checksum = self.checksum(True)  # of the files, since another decoder's pixels may differ
            split = dataclasses.replace(split, read_crops=read_crops, checksum=checksum, unreadable=self.unreadable)
            return split, shape
        if not wanted.image_size:
            raise UserError(
                f"{len(self.labels)} images are too many to compare their sizes: expected an image size for more than "
                f"{MEMORY_LIMIT // 2**20} MB of images. Received: image_size=0. Pass image_size."
            )
        # The first is read next anyway, to see its shape.
        suspects = [0, *(index for index in self.suspects() if index)][:SUSPECTS]
        for _ in self._decoded(suspects, decode, turned=False):
            pass
        split = encoded_split(self.labels, self.contents, wanted)
        return dataclasses.replace(split, checksum=self.checksum(), unreadable=self.unreadable), shape

    def unreadable(self) -> str | None:
        """Returns the line that names the first image that can no longer be read, or None; decodes all if necessary."""
        try:
            for _ in self._decoded(range(len(self.labels)), decode, turned=False):
                pass
        except UserError as error:
            return str(error)
        return None

    def _in_memory(self, images, shape):
        pixels = np.empty((len(self.labels), *shape), np.uint8)
        for row, image in enumerate(images):
            if image.shape != tuple(shape):
                raise UserError(
                    f"The images differ in size: expected {shape[0]}x{shape[1]} as in the first one. Received: "
                    f"{image.shape[0]}x{image.shape[1]} in {self.place(row)}. Pass image_size."
                )
            pixels[row] = image
        return pixels

    def _decoded(self, indices: Iterable[int], function: Callable, turned: bool = True) -> Iterator[np.ndarray]:
        """Yields `function(content, orientation)` of images as arrays; raises UserError if one cannot be read."""
        indices = np.asarray(indices, np.int64)

        def read(batch):
            contents = self.contents(batch)
            return contents, orientations(contents) if turned else tf.ones_like(batch, tf.int32)

        batches = tf.data.Dataset.from_tensor_slices(indices).batch(_AHEAD).map(unconverted(read))
        images = batches.unbatch().map(unconverted(function), tf.data.AUTOTUNE, deterministic=True).prefetch(16)
        done = 0
        try:
            for image in untuned(images).as_numpy_iterator():
                yield image
                done += 1
        except tf.errors.OpError as error:
            index, why = self._blame(indices[done:], function, error)
            raise UserError(unreadable(self.place(index), why, self.remedy)) from error

    def _blame(self, indices, function, error):
        """Finds the image that caused an error, and why, among the next ones: errors come in order, but per batch."""
        for index in indices[: 2 * _AHEAD]:
            try:
                contents = self.contents(tf.constant([index]))
                function(contents[0], orientations(contents)[0])
            except (tf.errors.OpError, ValueError, OSError) as found:  # of `as_png` and of a file of records, too
                return index, reason(found)
        return indices[0], reason(error)
