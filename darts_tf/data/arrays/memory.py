"""Images passed from Python code: arrays, a `tf.data.Dataset`, a Keras `PyDataset`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.arrays import pixels
from darts_tf.data.arrays.archive import parts_of
from darts_tf.data.arrays.array_names import Roles
from darts_tf.data.arrays.class_labels import Classes
from darts_tf.data.arrays.conversion import WHERE, array_of
from darts_tf.data.given import PARTS, counted
from darts_tf.data.images.dataset import Parts
from darts_tf.data.pipeline import untuned
from darts_tf.data.reading import reason
from darts_tf.system.errors import UserError, one_line, short, some_of
from darts_tf.system.free_memory import free_memory
from darts_tf.system.streams import silent

FORMS = (
    "(x, y), a finite tf.data.Dataset or a keras PyDataset of (image, label), a pair of these for training and "
    "validation, or a dict of them with the keys train, validation, test and class_names"
)
_ROOM = 0.4  # of the free memory: what is read is concatenated, and converted to bytes that a tensor holds


def load_memory(
    data: Any, value_range: str = "auto", say: Callable[[str], None] = silent, known: Classes | None = None
) -> Parts:
    """Reads images passed from Python, with all the checks of files.

    Everything is read once and then held in memory as bytes, so that it is split, sampled and resumed like any other
    data: a `Dataset` costs one pass over it, and memory for its images, one byte per value. Its own shuffling and
    augmentation are applied once and then frozen; a resumed run must be given the same images in the same order.

    Args:
        data: `(x, y)`: images `(N, H, W)` or `(N, H, W, C)` and labels, one per image or one-hot, as NumPy, Keras or
            TensorFlow arrays or as lists. Or a finite `tf.data.Dataset` of single examples `(image, label)` or of
            batches of them; or a `keras.utils.PyDataset`. Or a pair of these, `(training, validation)`. Or a dict with
            the keys `train`, and optionally `validation`, `test`, and `class_names`, a list.
        value_range: See `archive.load_npz`.
        say: Is called with lines about the progress of what takes long to read.
        known: The classes of a trained network, if it is to be applied to the data; they may be of any of these. A
            dict may name them otherwise.

    Returns:
        The parts, as arrays: images `(N, H, W, C)` uint8, labels `(N,)` int32.

    Raises:
        UserError: It is of another type, empty, endless, without labels, or ragged; or see `archive.load_npz`.
    """
    given, names = _given(data)
    arrays: dict[str, np.ndarray] = {}
    parts, notes = {}, []
    for part, value in given.items():
        only = known is not None and len(given) == 1  # nothing is trained on it
        x, y = parts[part] = ("x", "y") if only else (f"x_{part}", f"y_{part}")
        arrays[x], arrays[y], note = _pair(value, (x, y), "evaluation" if only else part, say)
        notes += [note] if note else []
    if names is not None and known is not None:
        known = known._replace(names=tuple(map(str, names)))
    elif names is not None:
        if not isinstance(names, list | tuple | np.ndarray):
            raise UserError(f"class_names must be a list of names. Received: {type(names).__name__}.")
        arrays["class_names"] = array_of("class_names", names)
    assigned = Roles(parts, "class_names" if "class_names" in arrays else None, [])
    found = parts_of(WHERE, assigned, arrays, value_range, known)
    return found._replace(notes=(*notes, *found.notes))


def as_one(data: Any) -> dict[str, Any]:
    """Returns evaluation images in the form that `load_memory` takes, as its training part.

    Args:
        data: One part, or a dict with `test`, and optionally `class_names`.
    """
    one = data if not isinstance(data, Mapping) else data.get("test")
    if one is None or not _is_source(one):
        raise UserError(
            "data to evaluate must be one part: expected (x, y), a tf.data.Dataset or a keras PyDataset of "
            f"(image, label), or a dict with one as test. Received: {type(data).__name__}."
        )
    return {"train": one, "class_names": data.get("class_names") if isinstance(data, Mapping) else None}


def _given(data: Any) -> tuple[dict[str, Any], Any]:
    """Returns the data given for each part, training first, and the names of the classes or None."""
    if isinstance(data, Mapping):
        if data.get("train") is None or not set(data) <= {*PARTS, "class_names"}:
            raise _wrong(f"a dict with the keys {some_of(data) or 'none'}")
        found = {part: data[key] for key, part in PARTS.items() if data.get(key) is not None}
        for part, value in found.items():
            if not _is_source(value):
                raise _wrong(f"{type(value).__name__} as {part}")
        return found, data.get("class_names")
    if isinstance(data, tuple | list) and len(data) == 2 and all(_yields(e) or isinstance(e, tuple) for e in data):
        return {"train": data[0], "valid": data[1]}, None
    if not _is_source(data):
        kind = f"{type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else type(data).__name__
        raise _wrong(kind)
    return {"train": data}, None


def _is_source(value: Any) -> bool:
    """Whether a value may be one part: a pair of arrays, or something that yields examples."""
    return _yields(value) or (isinstance(value, tuple | list) and len(value) == 2 and not any(map(_yields, value)))


def _yields(value: Any) -> bool:
    """Whether a value is a `Dataset`, or a Keras `PyDataset` or `Sequence`, which yields batches by number."""
    import keras  # here, so that arrays need no Keras

    return isinstance(value, tf.data.Dataset | keras.utils.PyDataset)


def _wrong(received: str) -> UserError:
    return UserError(f"data must be images with labels: expected {FORMS}. Received: {received}.")


def _pair(
    value: Any, names: tuple[str, str], part: str, say: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns images, labels, and a line for the user, which may be empty."""
    if not _yields(value):
        return array_of(names[0], value[0]), array_of(names[1], value[1]), ""
    if isinstance(value, tf.data.Dataset):
        return _from_dataset(value, part, say)
    total = value.num_batches
    if total is None:
        raise _endless(part)
    batches = counted(_batches(value, total, part), f"batches for {part}", total, say)
    images, labels = _collected((_two(batch, part) for batch in batches), part, batched=True)
    return images, labels, ""


def _batches(value: Any, total: int, part: str) -> Iterator[Any]:
    """Yields the batches of a `PyDataset`, whose code is the user's."""
    for number in range(total):
        try:
            batch = value[number]
        except Exception as error:
            raise _failing(part, one_line(error)) from error
        yield batch


def _endless(part: str) -> UserError:
    return UserError(
        f"The Dataset for {part} has no end: expected one that yields each image once. Received: an infinite one. "
        "Leave out its repeat(), end it with take(N), or give a PyDataset its num_batches."
    )


def _failing(part: str, why: str) -> UserError:
    return UserError(f"The Dataset for {part} fails: expected examples. Received: {why}.")


def _from_dataset(
    dataset: tf.data.Dataset, part: str, say: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray, str]:
    """Reads a `Dataset` to its end."""
    total = int(dataset.cardinality())
    if total == tf.data.INFINITE_CARDINALITY:
        raise _endless(part)
    batched = _is_batched(dataset.element_spec, part)
    unit = "batches" if batched else "examples"
    elements = counted(untuned(dataset), f"{unit} for {part}", total if total >= 0 else None, say)
    images, labels = _collected((_two(element, part) for element in elements), part, batched)
    form = unit if batched else f"single {unit}"
    note = f"{part}: {len(images):,} images from a Dataset of {form}, held in memory"
    return images, labels, f"{note}; to resume the run, it must yield the same ones in the same order again"


def _is_batched(spec: Any, part: str) -> bool:
    """Whether the elements of a `Dataset` are batches."""
    image, label = _two(spec, part)
    if isinstance(image, tf.RaggedTensorSpec):
        raise UserError(
            f"The Dataset for {part} is ragged: expected images of one size. Received: {image}. Resize them in map()."
        )
    ranks = getattr(image, "shape", tf.TensorShape(None)).rank, getattr(label, "shape", tf.TensorShape(None)).rank
    if ranks in ((3, 0), (2, 0), (2, 1)):
        return False
    if ranks in ((4, 1), (4, 2), (3, 2)):
        return True
    if ranks == (3, 1):  # an image with a one-hot row, or a batch of grey images
        shape, count = tuple(image.shape), label.shape[0]
        if count != shape[0] or (count is not None and shape[-1] in (1, 3, 4)):
            return False
        if None not in shape[1:] and (count is None or pixels.channel_axis(shape) != 2):
            return True
        raise UserError(
            f"The Dataset for {part} is ambiguous: expected single images with their labels, or batches of them. "
            f"Received: {image} and {label}, which may be one image with a one-hot row, or grey images with a label "
            "each. Call batch(N) on single images; give grey ones their channel: map(lambda x, y: (x[..., None], y))."
        )
    raise UserError(
        f"The Dataset for {part} must yield (image, label) of a known rank: expected images (H, W, C) with one label "
        f"each, or batches of them. Received: {image} and {label}."
    )


def _two(element: Any, part: str) -> tuple[Any, Any]:
    """Returns the image and the label of an element."""
    if isinstance(element, Mapping):
        if {"image", "label"} <= set(element):
            return element["image"], element["label"]
        what = f"dicts with the keys {some_of(element)}"
    elif isinstance(element, tuple | list):
        if len(element) == 2:
            return element[0], element[1]
        what = f"tuples of {len(element)}" + "; sample weights are not used" * (len(element) == 3)
    else:
        what = "images only" if isinstance(element, tf.TensorSpec | tf.Tensor | np.ndarray) else "other elements"
    raise UserError(
        f"The data for {part} must have images and labels: expected elements (image, label), or dicts with the keys "
        f"image and label. Received: {what}."
    )


def _collected(elements: Iterable[tuple[Any, Any]], part: str, batched: bool) -> tuple[np.ndarray, np.ndarray]:
    """Concatenates examples or batches; refuses what would need more memory than is free, before allocating it."""
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    size, room = 0, _ROOM * free_memory()
    try:
        for image, label in elements:
            images.append(array_of(f"An image for {part}", image))
            labels.append(array_of(f"A label for {part}", label))
            if batched and not images[-1].shape[:1] == labels[-1].shape[:1] != ():
                raise UserError(
                    f"A batch for {part} is wrong: expected as many labels as images. Received: images of shape "
                    f"{images[-1].shape}, labels of shape {labels[-1].shape}."
                )
            size += images[-1].nbytes
            if size > room:
                raise UserError(
                    f"The data for {part} are too large to be held in memory: expected at most {room / 1e9:.1f} GB. "
                    "Received: more. Write them as files and use dataset=folder or tfds:NAME, which are read batch "
                    "by batch, or pass uint8 instead of floating point."
                )
    except tf.errors.OpError as error:
        raise _failing(part, short(reason(error).splitlines()[0])) from error
    if not images:
        raise UserError(f"The data for {part} are empty: expected images with labels. Received: none.")
    return _together(images, part, batched, "images"), _together(labels, part, batched, "labels")


def _together(arrays: Sequence[np.ndarray], part: str, batched: bool, what: str) -> np.ndarray:
    shapes = sorted({array.shape[1:] if batched else array.shape for array in arrays})
    if len(shapes) > 1:
        raise UserError(
            f"The {what} for {part} are ragged: expected one shape. Received: {shapes[0]}, {shapes[-1]} and perhaps "
            "others. Resize images with tf.image.resize in map(), or use dataset=folder, which does."
        )
    return np.concatenate(arrays) if batched else np.stack(arrays)
