"""Image data sets in a NumPy archive."""

import os

import numpy as np

from darts_tf.data.arrays import class_labels, pixels
from darts_tf.data.arrays.array_names import UNNAMED, Roles, images_among, roles
from darts_tf.data.images.dataset import Parts
from darts_tf.system import npz
from darts_tf.system.errors import UserError

_SERVES = {"train": "for training", "valid": "for validation", "test": "for testing"}


def load_npz(path: str, value_range: str = "auto") -> Parts:
    """Reads an image data set from an `.npz` archive.

    The name of an array determines its role: `x` and `y`, or `x_train` and `y_train`, and optionally `x_val`, `y_val`,
    `x_test` and `y_test`; see `array_names.roles` for other accepted names. `class_names` may name the classes.

    Images are `(N, H, W)` or `(N, H, W, C)`, with any number of channels. Their values are converted to bytes with one
    range for all parts, see `pixels.choose_range`. Labels are integers, whole numbers, strings or one-hot rows, see
    `class_labels`.

    Args:
        path: The archive; it is read without unpickling.
        value_range: The values of black and white, "LOW,HIGH"; "auto" if they are unambiguous.

    Returns:
        The parts, as arrays: images `(N, H, W, C)` uint8, labels `(N,)` int32.

    Raises:
        UserError: The file or one of its arrays cannot be used or is ambiguous; the message names the array, and the
            conversion or flag that resolves it.
    """
    if not path:
        raise UserError("Data set npz needs data_dir: expected the path of an .npz archive. Received: none.")
    pixels.parse_range(value_range)  # before anything large is read
    try:
        there, others = npz.members(path)
    except UserError as error:
        hint = " A folder of image files is read with dataset=folder." if os.path.isdir(path) else ""
        raise UserError(f"{error}{hint}") from error
    assigned = roles(path, there)
    wanted = [name for pair in assigned.parts.values() for name in pair]
    if assigned.class_names is not None:
        wanted.append(assigned.class_names)
    arrays = npz.read(path, wanted)
    _check_unnamed(path, assigned.parts["train"], arrays)
    found = parts_of(path, assigned, arrays, value_range)
    if left_out := [f"array {name!r}" for name in assigned.left_out] + others:
        shown = ", ".join(left_out) if len(left_out) <= 3 else f"{len(left_out)} entries, such as {left_out[0]}"
        found = found._replace(notes=(*found.notes, f"left out: {shown}"))
    return found


def parts_of(
    path: str,
    assigned: Roles,
    arrays: dict[str, np.ndarray],
    value_range: str = "auto",
    known: class_labels.Classes | None = None,
) -> Parts:
    """Returns the parts that arrays hold; for parts and errors see `load_npz`.

    Args:
        path: Source of the arrays, for messages.
        assigned: The roles of the arrays.
        arrays: Arrays by name; they are removed from it, so that large ones are not held twice.
        value_range: See `load_npz`.
        known: The classes of a trained network that the arrays are for; None: the training labels determine them.
    """
    labels, classes = _labels(path, assigned, arrays, known)
    images, about = _images(path, assigned.parts, arrays, value_range)
    served = [f"{x} {_SERVES[part]} ({len(labels[part]):,} images)" for part, (x, _) in assigned.parts.items()]
    notes = f"{os.path.basename(path)}: {', '.join(served)}", *filter(None, [about, classes.note])
    found = {part: (images[part], labels[part]) for part in assigned.parts}
    counted = classes.values.dtype.kind != "U" and not np.array_equal(classes.values, np.arange(len(classes.values)))
    values = tuple(classes.values.tolist()) if counted else ()
    return Parts(found["train"], found.get("valid"), found.get("test"), classes.names, notes, values)


def _labels(
    path: str, assigned: Roles, arrays: dict[str, np.ndarray], known: class_labels.Classes | None
) -> tuple[dict[str, np.ndarray], class_labels.Classes]:
    """Takes the labels out of `arrays`; returns the numbers of the classes by part, and the classes."""
    where = {part: f"Array {y!r} of {path}" for part, (_, y) in assigned.parts.items()}
    plain = {part: class_labels.plain(where[part], arrays.pop(y)) for part, (_, y) in assigned.parts.items()}
    _check_shapes(path, assigned.parts, arrays, {part: len(labels.values) for part, labels in plain.items()})
    names = None if assigned.class_names is None else arrays.pop(assigned.class_names)
    if names is not None and names.dtype.kind in "iu" and assigned.class_names != "class_names":
        names = names.astype(str)  # target_names of scikit-learn's digits are numbers
    if known is not None:
        fitting = {part: class_labels.of_network(where[part], plain[part], known) for part in plain}
        return {
            part: class_labels.numbers(where[part], plain[part], fitting[part], "the network") for part in plain
        }, fitting["train"]
    names_where = f"Array {assigned.class_names!r} of {path}"
    classes = class_labels.classes_of(where["train"], plain["train"], names, names_where)
    training = repr(assigned.parts["train"][1])
    return {part: class_labels.numbers(where[part], plain[part], classes, training) for part in plain}, classes


def _images(
    path: str, parts: dict[str, tuple[str, str]], arrays: dict[str, np.ndarray], value_range: str
) -> tuple[dict[str, np.ndarray], str]:
    """Takes the images out of `arrays`; returns their bytes by part, and a line about their values or nothing."""
    where = {part: f"Array {x!r} of {path}" for part, (x, _) in parts.items()}
    measured = {part: pixels.measure(where[part], arrays[x]) for part, (x, _) in parts.items()}
    scale = pixels.choose_range(where["train"], measured["train"], value_range)
    for part in parts:
        if value_range != "auto":
            pixels.choose_range(where[part], measured[part], value_range)
            half = pixels.half_of(measured[part], scale)
            if part != "train" and half and not pixels.half_of(measured["train"], scale):
                raise UserError(
                    f"{where[part]} is on a different scale from {parts['train'][0]!r}: expected values over all of "
                    f"value_range={value_range}. Received: {measured[part]}, the {half} half. Convert it."
                )
        elif part != "train":
            pixels.check_same_scale(where[part], measured[part], parts["train"][0], measured["train"], scale)
    found = {part: pixels.to_bytes(arrays.pop(x), *scale) for part, (x, _) in parts.items()}
    return found, _about_values(measured["train"], scale, value_range != "auto")


def _about_values(found: pixels.Measured, scale: tuple[float, float], is_given: bool) -> str:
    """Returns a line for the user about the values, or an empty string."""
    if found.low == found.high:
        return f"every pixel of the training images is {found.low}"
    if found.dtype != np.uint8 or scale != (0, 255):
        half = pixels.half_of(found, scale) if is_given else ""
        doubt = f"; warning: all are in its {half} half, from {found.low} to {found.high}" if half else ""
        return f"values are {found.dtype}: {scale[0]:g} is black, {scale[1]:g} white{doubt}"
    if found.high <= 16:
        return f"values range from {found.low} to {found.high} out of 255; pass value_range if another value is white"
    return ""


def _check_unnamed(path: str, pair: tuple[str, str], arrays: dict[str, np.ndarray]) -> None:
    """Accepts unnamed arrays only if they can be nothing but images and labels, in this order."""
    x, y = (arrays[name] for name in pair)
    if pair == UNNAMED and not (x.ndim in (3, 4) and y.ndim in (1, 2) and len(x) == len(y)):
        raise UserError(
            f"{path} has arrays without names, whose meaning is ambiguous: expected arr_0 with images "
            f"(N, H, W, C) and arr_1 with their labels (N,). Received: {x.shape} and {y.shape}. Name them: "
            "numpy.savez(path, x=images, y=labels)."
        )


def _check_shapes(
    path: str, parts: dict[str, tuple[str, str]], arrays: dict[str, np.ndarray], counts: dict[str, int]
) -> None:
    """Refuses invalid layouts, parts with different shapes, and numbers of labels that differ from those of images."""
    expected = None
    for part, (x, y) in parts.items():
        shape = arrays[x].shape
        if problem := pixels.layout_problem(x, shape, counts[part]):
            raise UserError(f"Array {x!r} of {path} {problem}")
        if counts[part] != shape[0]:
            raise UserError(
                f"Array {y!r} of {path} has the wrong length: expected {shape[0]}, one label per image of {x!r}, whose "
                f"shape is {shape}. Received: {counts[part]}."
            )
        shape = (*shape[1:], 1)[:3]
        if (expected := expected or shape) != shape:
            raise UserError(
                f"Array {x!r} of {path} does not fit {parts['train'][0]!r}: expected images of shape {expected}. "
                f"Received: {shape}."
            )


def load_images(path: str, value_range: str = "") -> np.ndarray:
    """Reads images to predict from an `.npy` file, or from an `.npz` archive with one array of images.

    Args:
        path: The file; it is read without unpickling.
        value_range: See `load_npz`; should be the range used in training. Empty: only uint8 is accepted.

    Returns:
        `(N, H, W, C)` uint8; an array of rank 3, `(H, W, C)`, or rank 2, `(H, W)`, is one image.

    Raises:
        UserError: See `load_npz`.
    """
    if npz.is_array(path):
        name, values = "", npz.map_array(path)
    else:
        name = images_among(path, npz.members(path)[0])
        values = npz.read(path, [name])[name]
    where = f"Array {name!r} of {path}" if name else f"The array of {path}"
    if values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise UserError(
            f"{where} holds no images: expected (N, H, W, C), or (H, W, C). Received: shape {values.shape}."
        )
    values = values[..., np.newaxis] if values.ndim == 2 else values
    values = values[np.newaxis] if values.ndim == 3 else values
    found = pixels.measure(where, values)
    if not value_range and found.dtype != np.uint8:
        raise UserError(
            f"{where} must be scaled as in training, which is not known here: expected uint8, or "
            f"value_range=LOW,HIGH as in training (0,1 if its floating point was in 0..1). Received: {found}."
        )
    return pixels.to_bytes(values, *pixels.choose_range(where, found, value_range or "auto"))
