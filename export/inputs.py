"""The inputs of predictions: image files, and arrays of images in `.npy` and `.npz` files."""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from darts_tf.data.files import headers
from darts_tf.system import npz
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path

SIGNATURES = {"image_bytes": "serving_bytes", "image": "serving_default"}  # by the name of the input
_ZIP = b"PK\x03\x04"  # start of an `.npz` archive, but of no image


class Facts(NamedTuple):
    """The facts of an exported model that are needed to prepare arrays for it.

    Attributes:
        value_range: See `arrays.load_images`.
        class_names: Class names of the model; empty if unknown.
        image_size: Side to which images are resized, see `resize.fit`; 0 keeps the size.
        center_fraction: See `resize.fit`.
    """

    value_range: str = ""
    class_names: tuple[str, ...] = ()
    image_size: int = 0
    center_fraction: float = 1.0


UNKNOWN = Facts()


class Input(NamedTuple):
    """One image of a request.

    Attributes:
        path: The file, with the image's number if it holds several: `new.npy[3]`.
        name: Name of the model's input: `image_bytes` for a file's content, `image` for an array.
        value: The content, or `(H, W, C)` float32 in 0..255.
    """

    path: str
    name: str
    value: bytes | np.ndarray


def read(paths: Sequence[str | os.PathLike], facts: Facts = UNKNOWN) -> list[Input]:
    """Reads files; their kind is determined by their content.

    Args:
        paths: Image files (formats that TensorFlow does not read are sent as PNG), and files of arrays, see
            `arrays.load_images`.
        facts: Facts about the model: how its evaluation prepares arrays.

    Returns:
        One input for each image.

    Raises:
        UserError: A file cannot be read, or it is unclear whether an array holds images.
    """
    found = []
    for path in (os.fspath(user_path(path, "the image")) for path in paths):
        try:
            with open(path, "rb") as file:
                is_array = file.read(len(_ZIP)) == _ZIP or npz.is_array(path)
                file.seek(0)
                content = b"" if is_array else file.read()
        except OSError as error:
            raise UserError(f"Cannot read the image {headers.shown(path)}: {error.strerror or error}.") from error
        if not is_array:
            found.append(Input(path, "image_bytes", headers.readable(content, path)))
            continue
        from darts_tf.data.arrays.archive import load_images  # here, so that queries about files need no TensorFlow
        from darts_tf.data.images.resize import fit_array

        images = fit_array(load_images(path, facts.value_range), facts.image_size, 0, facts.center_fraction)
        names = [path] if len(images) == 1 else [f"{path}[{index}]" for index in range(len(images))]
        found += [Input(name, "image", image) for name, image in zip(names, images, strict=True)]
    return found


def batches(inputs: Sequence[Input], size: int) -> Iterator[list[Input]]:
    """Yields the inputs in order, at most `size` at a time: files, or arrays of one shape."""
    for _, group in itertools.groupby(inputs, lambda each: (each.name, np.shape(each.value))):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def stacked(batch: Sequence[Input]) -> dict[str, Any]:
    """Returns the inputs of one request: a list of bytes, or an array."""
    values = [each.value for each in batch]
    name = batch[0].name
    return {name: values if name == "image_bytes" else np.stack(values).astype(np.float32)}
