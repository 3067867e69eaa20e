"""Image data sets by name: CIFAR-10, digits, NumPy archives, folders, ImageNet, TensorFlow Datasets; or from memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.config import ImageRun
from darts_tf.data import given
from darts_tf.data.arrays import memory
from darts_tf.data.arrays.archive import load_npz
from darts_tf.data.arrays.class_labels import Classes
from darts_tf.data.files.folder import load_folder
from darts_tf.data.images.dataset import ImageDataset, Parts, Split, Wanted, moments
from darts_tf.data.images.resize import fit_array
from darts_tf.data.images.split import chosen_method, named, stratified
from darts_tf.data.pipeline import unconverted, untuned
from darts_tf.data.records.builders import prepared, quiet
from darts_tf.data.records.imagenet import MEAN as IMAGENET_MEAN
from darts_tf.data.records.imagenet import STD as IMAGENET_STD
from darts_tf.data.records.imagenet import load_imagenet
from darts_tf.data.records.images import PREFIX, load_tfds
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import user_path
from darts_tf.system.streams import silent

DATASETS = ("cifar10", "digits", "folder", "imagenet2012", given.NAME, "npz")
CIFAR10_MEAN: tuple[float, ...] = (0.49139968, 0.48215827, 0.44653124)
CIFAR10_STD: tuple[float, ...] = (0.24703233, 0.24348505, 0.26158768)
DIGITS_TRAIN = 1500


def load(
    dataset: str,
    data_dir: str = "",
    image_size: int = 0,
    max_train_examples: int = 0,
    channels: int = 0,
    seed: int = 0,
    center_fraction: float = 1.0,
    value_range: str = "auto",
    split: str = "auto",
    data: Any = None,
    say: Callable[[str], None] = silent,
    known: Classes | None = None,
) -> ImageDataset:
    """Loads an image data set; the configs check the ranges of most settings.

    Args:
        dataset: "cifar10", through TensorFlow Datasets, in the order of the original files; "digits", the 1,797
            handwritten digits (8x8, grey) that come with scikit-learn and need no network; "npz", see
            `arrays.load_npz`; "folder", see `folder.load_folder`; "imagenet2012", see `imagenet.load_imagenet`;
            "memory", `data`; "tfds:NAME", see `records.images.load_tfds`.
        data_dir: For cifar10, imagenet2012 and tfds:NAME the folder of TensorFlow Datasets (empty: its default), used
            without the network if it holds the data; for npz the archive; for folder the folder.
        image_size: Side in pixels that images are resized and centre-cropped to; 0 keeps the size.
        max_train_examples: Keeps at most this many training examples; 0 keeps all. They are drawn with the classes in
            proportion, unless the order is known to be random: cifar10 and imagenet2012 keep the first ones.
        channels: 1 or 3, or for npz as many as the images have; 0 keeps the channels, and means 3 for a folder.
        seed: Seed of that sample, and of the sample used to measure mean and standard deviation.
        center_fraction: Side of the centre square that images are cropped to before they are resized, over their
            shorter side, in (0, 1]; 0.875 with `image_size=224` is ImageNet's Resize(256) and CenterCrop(224). The
            random windows of a stream are cut from the whole image.
        value_range: For npz: the values of black and white, see `arrays.load_npz`.
        split: "index" keeps the first examples of npz, digits and cifar10, "stratified" a sample; see
            `split.chosen_method`.
        data: The images themselves, see `memory.load_memory`; None for any other data set than "memory".
        say: For memory: called with progress lines.
        known: For memory: see `memory.load_memory`.

    Returns:
        The data set. Its mean and standard deviation are the original's for unchanged CIFAR-10 and for ImageNet in
        colour, and otherwise measured on the training images.

    Raises:
        UserError: The data set is unknown, the data are missing or unusable, or a setting does not fit them.
    """
    data_dir = data_dir and str(user_path(data_dir, "data_dir"))  # a shell does not expand --data_dir=~/data
    if dataset not in DATASETS and not dataset.startswith(PREFIX):
        raise UserError(f"Unknown data set: expected one of {', '.join(DATASETS)}, tfds:NAME. Received: {dataset}.")
    if dataset == "digits" and data_dir:
        raise UserError(f"The digits are embedded: expected no data_dir, or another data set. Received: {data_dir}.")
    given.check(dataset, data)
    if channels not in (0, 1, 3) and (dataset not in ("npz", given.NAME) or channels < 0):
        raise UserError(
            f"channels must be 1, 3, or 0 to keep those of {dataset}; other numbers are for npz only. Received: "
            f"{channels}."
        )
    wanted = Wanted(image_size, channels, center_fraction, max_train_examples, seed)
    if dataset == "folder":
        parts = load_folder(data_dir, wanted)
    elif dataset.startswith(PREFIX):
        parts = load_tfds(dataset.removeprefix(PREFIX), data_dir, wanted)
    elif dataset == "imagenet2012":
        parts = load_imagenet(data_dir, wanted)
    else:
        if dataset == "cifar10":
            first = max_train_examples if chosen_method(split, dataset) == "index" else 0  # no others are decoded
            parts = _load_cifar10(data_dir, first)
        elif dataset == "digits":
            parts = _load_digits()
        elif dataset == given.NAME:
            parts = memory.load_memory(data, value_range, say, known)
        else:
            parts = load_npz(data_dir, value_range)

        pixels, labels = parts.train
        if 0 < max_train_examples < len(labels):
            kept = np.arange(max_train_examples)
            if chosen_method(split, dataset) == "stratified":
                kept = stratified(labels, max_train_examples, np.random.default_rng(seed))
            parts = parts._replace(train=(pixels[kept], labels[kept]))

        def fitted(arrays):
            return Split.from_arrays(fit_array(arrays[0], image_size, channels, center_fraction), arrays[1], arrays[0])

        train, valid, test = (part and fitted(part) for part in parts[:3])
        parts = parts._replace(train=train, valid=valid, test=test)
    with tf.device("CPU:0"):
        shape = tuple(parts.train.read(tf.constant([0])).shape[1:])
    if dataset == "cifar10" and shape == (32, 32, 3):
        mean, std = CIFAR10_MEAN, CIFAR10_STD
    elif dataset == "imagenet2012" and shape[-1] == 3:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    else:
        mean, std = moments(parts.train, seed)
    notes = parts.notes + (() if known and data is not None else _absent(parts))
    splits = parts.train, parts.valid, parts.test
    return ImageDataset(dataset, parts.class_names, shape, mean, std, *splits, notes, parts.label_values)


def load_for(config: ImageRun, data: Any = None, say: Callable[[str], None] = silent) -> ImageDataset:
    """Loads the images of a `config.ImageRun`; for `data`, `say` and errors see `load`."""
    return load(
        config.dataset,
        config.data_dir,
        config.image_size,
        config.max_train_examples,
        seed=config.seed,
        center_fraction=getattr(config, "eval_crop", 1.0),  # a search has no such setting
        value_range=config.value_range,
        split=config.split,
        data=data,
        say=say,
    )


def _absent(parts: Parts) -> tuple[str, ...]:
    """Returns a warning for each part that has no example of some classes."""
    notes = []
    for name, part in (("training", parts.train), ("validation", parts.valid), ("test", parts.test)):
        if part is not None:
            absent = np.flatnonzero(np.bincount(part.labels, minlength=len(parts.class_names)) == 0)
            if absent.size:
                notes.append(f"warning: none of the {name} images is of {named(absent, parts.class_names)}")
    return tuple(notes)


def _load_digits() -> Parts:
    """Returns 1,500 digits for training and 297 for testing, the last ones of each class."""
    from sklearn import datasets

    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    train = stratified(labels, DIGITS_TRAIN)
    test = np.setdiff1d(np.arange(len(labels)), train)
    return Parts((images[train], labels[train]), None, (images[test], labels[test]), tuple("0123456789"))


def _load_cifar10(data_dir: str, count: int) -> Parts:
    """Returns CIFAR-10 in the order of the original files."""
    builder = prepared("cifar10", data_dir, "CIFAR-10")
    try:
        with quiet():
            train = _read_cifar10(builder, "train", count)
            test = _read_cifar10(builder, "test", 0)
        names = tuple(builder.info.features["label"].names)
    except Exception as error:  # TFDS passes on whatever the disk or the records raise
        raise UserError(
            f"CIFAR-10 cannot be read: expected the records that TensorFlow Datasets prepared in {builder.data_dir}. "
            f"Received: {one_line(error)}. Delete that folder to prepare it again."
        ) from error
    return Parts(train, None, test, names)


def _read_cifar10(builder: Any, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first images `(N, 32, 32, 3)` uint8 by their number in the original files, and their labels."""
    import tensorflow_datasets as tfds

    # The records are shuffled; all are read, but only those that are kept are decoded.
    records = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    parts = list(untuned(records.batch(1000)).as_numpy_iterator())
    encoded, labels, ids = (np.concatenate([part[key] for part in parts]) for key in ("image", "label", "id"))
    order = np.argsort(ids, kind="stable")[: count or None]  # train_00000, train_00001, ...
    decoded = tf.data.Dataset.from_tensor_slices(encoded[order]).map(
        unconverted(lambda data: tf.ensure_shape(tf.io.decode_png(data, channels=3), (32, 32, 3))), tf.data.AUTOTUNE
    )
    images = np.concatenate(list(untuned(decoded.batch(1000)).as_numpy_iterator()))
    return images, labels[order].astype(np.int32)
