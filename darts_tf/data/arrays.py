"""Image data sets in a NumPy archive."""

import numpy as np

from darts_tf import npz
from darts_tf.data.dataset import Parts
from darts_tf.errors import UserError

NAMES = ("x", "x_train", "y", "y_train", "x_test", "y_test", "class_names")


def load_npz(path: str, value_range: str = "auto") -> Parts:
    """Reads an image data set from an `.npz` archive.

    The arrays are `x` and `y`, and optionally `x_test` and `y_test`, and `class_names`. `x_train` and `y_train` are
    other names of `x` and `y`, as Keras' own archives have them.

    `x` is `(N, H, W)` or `(N, H, W, C)`: uint8, other integers in 0..255, or floating point. Floating point is taken
    as 0..1 if nothing in `x` exceeds 1, as 0..255 otherwise; `x_test` is read on the scale of `x`. `y` is `(N,)`,
    integers `0..K-1`. Every class must occur in `y`, unless the archive names the K classes in `class_names`.

    Args:
        path: The archive; it is read without unpickling.
        value_range: Which values are black and white; "auto" for what is certain.

    Returns:
        The parts, as arrays: images `(N, H, W, C)` uint8, labels `(N,)` int32.

    Raises:
        UserError: The file or one of its arrays cannot be used; names the array.
    """
    if not path:
        raise UserError("Data set npz needs data_dir: expected the path of an .npz archive. Received: none.")
    arrays = npz.read(path, NAMES)
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
    return Parts((images, labels), None, test, names)


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
