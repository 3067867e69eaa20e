"""What a model is asked about: image files as they are, and arrays of images as `.npy` and `.npz` files."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from darts_tf import npz
from darts_tf.errors import UserError
from darts_tf.files import user_path

SIGNATURES = {"image_bytes": "serving_bytes", "image": "serving_default"}  # by the name of the input
_ZIP = b"PK\x03\x04"  # how an `.npz` archive begins; no image does


class Input(NamedTuple):
    """One image of a request.

    Attributes:
        path: The file, and of several images in one file the image's number: `new.npy[3]`.
        name: Of the model's input: `image_bytes` for a file's content, `image` for an array.
        value: The content, or `(H, W, C)` float32 in 0..255.
    """

    path: str
    name: str
    value: bytes | np.ndarray


def read(paths: Sequence[str | os.PathLike], value_range: str = "") -> list[Input]:
    """Reads files; their content decides what they are.

    Args:
        paths: Image files, and files of arrays, see `arrays.load_images`.
        value_range: Of arrays: which values are black and white, see `arrays.load_images`.

    Returns:
        One input for each image.

    Raises:
        UserError: A file cannot be read, or an array holds no images for certain.
    """
    found = []
    for path in (os.fspath(user_path(path, "the image")) for path in paths):
        try:
            content = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"Cannot read the image {path}: {error.strerror or error}.") from error
        if not content.startswith(_ZIP) and not npz.is_array(path):
            found.append(Input(path, "image_bytes", content))
            continue
        from darts_tf.data.arrays import load_images

        images = load_images(path, value_range)
        names = [path] if len(images) == 1 else [f"{path}[{index}]" for index in range(len(images))]
        found += [Input(name, "image", image) for name, image in zip(names, images, strict=True)]
    return found


def batches(inputs: Sequence[Input], size: int) -> Iterator[list[Input]]:
    """Yields the inputs in order, at most `size` at once: files, or arrays of one shape."""
    batch, kind = [], None
    for each in inputs:
        now = each.name, np.shape(each.value)
        if batch and (now != kind or len(batch) == size):
            yield batch
            batch = []
        batch, kind = [*batch, each], now
    if batch:
        yield batch


def stacked(batch: Sequence[Input]) -> dict[str, np.ndarray | list[bytes]]:
    """Returns the inputs of one request."""
    values = [each.value for each in batch]
    name = batch[0].name
    return {name: values if name == "image_bytes" else np.stack(values).astype(np.float32)}
