"""Image data sets in a NumPy archive."""

import math
import os
import zipfile
import zlib

import numpy as np
from numpy.lib import format as npy

from darts_tf.data.dataset import one_line
from darts_tf.errors import UserError

NAMES = ("x", "x_train", "y", "y_train", "x_test", "y_test", "class_names")
DEFLATE_RATIO = 1032  # the most that zlib can compress


def load_npz(path: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray] | None, tuple[str, ...]]:
    """Reads an image data set from an `.npz` archive.

    The arrays are `x` and `y`, and optionally `x_test` and `y_test`, and `class_names`. `x_train` and `y_train` are
    other names of `x` and `y`, as Keras' own archives have them.

    `x` is `(N, H, W)` or `(N, H, W, C)`: uint8, other integers in 0..255, or floating point. Floating point is taken
    as 0..1 if nothing in `x` exceeds 1, as 0..255 otherwise; `x_test` is read on the scale of `x`. `y` is `(N,)`,
    integers `0..K-1`. Every class must occur in `y`, unless the archive names the K classes in `class_names`.

    Args:
        path: The archive; it is read without unpickling.

    Returns:
        `((images, labels), (test_images, test_labels) or None, class_names)`; images are `(N, H, W, C)` uint8.

    Raises:
        UserError: The file or one of its arrays cannot be used; names the array.
    """
    arrays = _read(path)
    x, y = (name if name in arrays else f"{name}_train" for name in "xy")
    for name in (x, y):
        if name not in arrays:
            raise UserError(
                f"{path} has no array {name[0]!r}: expected x and y, and optionally x_test, y_test and class_names. "
                f"Received: {', '.join(arrays) or 'none of them'}."
            )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise UserError(f"{path} has only one of 'x_test' and 'y_test': expected both or neither.")
    images, scale = _images(path, x, arrays[x], None)
    labels = _labels(path, y, arrays[y], len(images))
    names = _class_names(path, arrays.get("class_names"), labels)
    test = None
    if "x_test" in arrays:
        test_images, _ = _images(path, "x_test", arrays["x_test"], scale)
        test_labels = _labels(path, "y_test", arrays["y_test"], len(test_images))
        if test_images.shape[1:] != images.shape[1:]:
            raise UserError(
                f"Array 'x_test' of {path} does not fit 'x': expected images of shape {images.shape[1:]}. "
                f"Received: {test_images.shape[1:]}."
            )
        if test_labels.max() >= len(names):
            raise UserError(
                f"Array 'y_test' of {path} holds labels out of range: expected 0 to {len(names) - 1}, as in 'y'. "
                f"Received: {test_labels.max()}."
            )
        test = test_images, test_labels
    return (images, labels), test, names


def _read(path: str) -> dict[str, np.ndarray]:
    """Returns the known arrays of an archive, after their headers were checked against its size."""
    arrays = {}
    try:
        size = os.path.getsize(path)
        with zipfile.ZipFile(path) as archive:
            for name in NAMES:
                if f"{name}.npy" in archive.namelist():
                    _check_header(path, name, archive, size)
        with np.load(path, allow_pickle=False) as archive:
            for name in NAMES:
                if name in archive.files:
                    arrays[name] = archive[name]
    except UserError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError) as error:
        raise UserError(_unreadable(path, error)) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(_unreadable(path, error)) from error
    return arrays


def _unreadable(path: str, error: Exception) -> str:
    if not path:
        return "Data set npz needs data_dir: expected the path of an .npz archive. Received: none. Pass --data_dir."
    if not os.path.isfile(path):
        return f"There is no file {path}: expected the path of an .npz archive. Check --data_dir."
    return f"{path} cannot be read: expected an archive that numpy.savez wrote. Received: {one_line(error)}."


def _check_header(path: str, name: str, archive: zipfile.ZipFile, size: int) -> None:
    """Refuses an array before memory is allocated for it: objects, and claims that the file cannot hold."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        try:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except Exception as error:  # NumPy parses it as Python, so a damaged one can raise almost anything
            raise UserError(
                f"Array {name!r} of {path} is damaged: expected what numpy.savez writes. Received: {one_line(error)}."
            ) from error
        header = file.tell()
    if dtype.hasobject:
        raise UserError(
            f"Array {name!r} of {path} holds Python objects, which are not read for safety: expected numbers "
            f"of one shape. Received: dtype {dtype}."
        )
    claim = math.prod(shape) * dtype.itemsize
    possible = min(member.compress_size, size) * (1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    if claim != member.file_size - header or claim > possible:
        raise UserError(
            f"Array {name!r} of {path} is damaged: its header claims {claim} bytes, which its {member.compress_size} "
            f"stored bytes do not hold. Received: shape {shape}, dtype {dtype}. Write the archive again."
        )


def _images(path: str, name: str, values: np.ndarray, scale: int | None) -> tuple[np.ndarray, int]:
    """Returns `(N, H, W, C)` uint8 and the factor that led there from floating point."""
    if values.ndim not in (3, 4):
        raise UserError(
            f"Array {name!r} of {path} has the wrong rank: expected (N, H, W) or (N, H, W, C). "
            f"Received: shape {values.shape}."
        )
    if 0 in values.shape:
        raise UserError(f"Array {name!r} of {path} is empty. Received: shape {values.shape}.")
    if values.dtype.kind not in "iuf":
        raise UserError(
            f"Array {name!r} of {path} has the wrong dtype: expected uint8, or numbers in 0..1 or 0..255. "
            f"Received: {values.dtype}."
        )
    low, high = values.min(), values.max()
    if scale is None:
        scale = 255 if values.dtype.kind == "f" and high <= 1 else 1
    if not (low >= 0 and high * scale <= 255):  # so written, it is true of NaN too
        raise UserError(
            f"Array {name!r} of {path} has values out of range: expected 0 to {255 // scale}. "
            f"Received: {low} to {high}. Scale the images."
        )
    if values.dtype != np.uint8:
        values = np.rint(values.astype(np.float32) * scale).astype(np.uint8)
    return (values if values.ndim == 4 else values[..., np.newaxis]), scale


def _labels(path: str, name: str, values: np.ndarray, count: int) -> np.ndarray:
    """Returns `(N,)` int32."""
    if values.ndim != 1:
        raise UserError(
            f"Array {name!r} of {path} has the wrong rank: expected (N,), one label per image. "
            f"Received: shape {values.shape}. Flatten it, or take the argmax of one-hot labels."
        )
    if values.dtype.kind not in "iu":
        raise UserError(f"Array {name!r} of {path} has the wrong dtype: expected integers. Received: {values.dtype}.")
    if len(values) != count:
        raise UserError(
            f"Array {name!r} of {path} has the wrong length: expected {count}, one label per image. "
            f"Received: {len(values)}."
        )
    if values.min() < 0 or values.max() > np.iinfo(np.int32).max:
        raise UserError(
            f"Array {name!r} of {path} holds labels out of range: expected 0 to the number of classes less one. "
            f"Received: {values.min()} to {values.max()}."
        )
    return values.astype(np.int32)


def _class_names(path: str, names: np.ndarray | None, labels: np.ndarray) -> tuple[str, ...]:
    """Returns the names of the classes, or says what is wrong with the labels."""
    found = np.unique(labels)
    if names is not None:
        if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
            raise UserError(
                f"Array 'class_names' of {path} must be a list of distinct strings. "
                f"Received: shape {names.shape}, dtype {names.dtype}."
            )
        if found[-1] >= len(names):
            raise UserError(
                f"Array 'y' of {path} holds labels out of range: expected 0 to {len(names) - 1}, one per name in "
                f"'class_names'. Received: {found[-1]}."
            )
    if len(found) < 2:
        raise UserError(f"Array 'y' of {path} holds one class only: expected at least two. Received: {found[0]}.")
    if names is not None:
        return tuple(names.tolist())
    if len(found) != found[-1] + 1:
        missing = int(np.flatnonzero(found != np.arange(len(found)))[0])
        raise UserError(
            f"Array 'y' of {path} must hold every label from 0 to {found[-1]}: {missing} does not occur. "
            f"Number the classes from 0 without gaps, or add their names as an array 'class_names'."
        )
    return tuple(str(label) for label in range(len(found)))
