"""Experiments on images: the search, and the training of a derived network."""

import dataclasses
import re

from darts_tf.config.fields import FRACTION, SHARE, Check, at_least, between, changed, in_group, one_of
from darts_tf.config.run import Run, Search

_data, _network = in_group("data"), in_group("network")
_weights, _architecture = in_group("weights"), in_group("architecture")


def _value_range() -> Check:
    def holds(value):
        if value == "auto":
            return True
        try:
            low, high = map(float, value.split(","))
        except ValueError:
            return False
        return low < high < float("inf") and low > -float("inf")

    return Check("auto, or two numbers LOW,HIGH with LOW below HIGH", holds)


def _dataset() -> Check:
    names = ("cifar10", "digits", "folder", "npz", "imagenet2012", "memory")
    other = re.compile(r"tfds:[A-Za-z]\w*(/[\w.+-]+){0,2}(:[\w.*]+)?", re.ASCII)
    expected = f"one of {', '.join(names)}, or tfds:NAME, tfds:NAME/CONFIG:VERSION of TensorFlow Datasets"
    return Check(expected, lambda value: value in names or bool(other.fullmatch(value)), names, closed=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRun(Run):
    """The settings of every run on images: their source, their augmentation, the size of the network."""

    learning_rate_min: float = _weights(0.0, "learning rate that the cosine schedule approaches", at_least(0))
    momentum: float = _weights(0.9, "momentum of the weights' SGD", FRACTION)
    dataset: str = _data(
        "cifar10",
        "digits (embedded), cifar10, folder, npz, imagenet2012, tfds:NAME of TensorFlow Datasets; memory = from Python",
        _dataset(),
    )
    data_dir: str = _data(
        "", "folder or .npz file with the data; empty = TensorFlow Datasets' default", None, True, True
    )
    image_size: int = _data(
        0, "resize to this height and width in pixels; 0 = keep the data's size", between(0, 10_000)
    )
    max_train_examples: int = _data(0, "at most this many training examples, before the split; 0 = all", at_least(0))
    value_range: str = _data(
        "auto",
        "npz, memory: values of black and white as LOW,HIGH, such as -1,1 or 0,65535; auto = 0,1 or 0,255 if certain",
        _value_range(),
    )
    validation: str = _data(
        "auto",
        "images for validation or for the alphas: auto = the data's own, if any; train = some of the training images",
        one_of("auto", "train"),
    )
    split: str = _data(
        "auto",
        "stratified = drawn within each class, index = first part and last part, auto = index for cifar10 only",
        one_of("auto", "stratified", "index"),
    )
    valid_examples: int = _data(0, "held-out examples evaluated after each epoch; 0 = all", at_least(0))
    crop_padding: int = _data(4, "pixels of zero padding before the random crop; 0 = no crop", between(0, 10_000))
    flip: bool = _data(True, "flip half of the training images left to right")
    cutout: int = _data(0, "side in pixels of the square cut out of training images; 0 = off", between(0, 10_000))
    init_channels: int = _network(16, "channels of the first cells; doubled at each reduction", between(1, 10_000))
    num_cells: int = _network(
        8, "cells of the network, two of them reduction cells, or residual blocks in nasbench201", between(3, 1000)
    )
    space: str = _architecture(
        "conv", "search space: conv, nasbench201, or one added from Python", Check("a name", str.isidentifier)
    )
    operations_file: str = _network("", "Python file that adds custom operations; it is executed", is_path=True)

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.learning_rate_min > self.learning_rate,
            f"learning_rate_min must be at most learning_rate={self.learning_rate}. "
            f"Received: learning_rate_min={self.learning_rate_min}",
        )
        self._refuse(
            self.dataset in ("folder", "npz") and not self.data_dir,
            f"data_dir must name the location of the data when dataset={self.dataset}. Received: data_dir=''",
        )
        self._refuse(
            self.dataset == "memory" and self.data_dir != "",
            f"data_dir must be empty when dataset=memory. Received: data_dir={self.data_dir}",
        )
        self._refuse(
            self.dataset == "digits" and self.data_dir != "",
            "data_dir must be empty when dataset=digits, which is embedded; dataset=folder, npz and cifar10 use it, "
            f"and a text needs a preset such as text_search. Received: data_dir={self.data_dir}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(ImageRun, Search):
    """One search for convolutional cells; the defaults are the CIFAR-10 search of quark0/darts.

    Reference: Liu et al., arXiv:1806.09055, section 3.1.1 and appendix A.1; `cnn/train_search.py` and
    `cnn/architect.py` of the original at f276dd3.

    Example:
        >>> import darts_tf
        >>> config = darts_tf.SearchConfig(dataset="digits", epochs=10)
        >>> config.replace(order="first").order
        'first'
    """

    kind, title = "search", "searches on images"
    binary = "darts-search"

    learning_rate_min: float = changed(ImageRun, "learning_rate_min", 0.001)
    seed: int = changed(Run, "seed", 2)

    train_portion: float = _data(
        0.5,
        "share of examples for the weights; the rest is for the alphas",
        Check("above 0 and below 1", lambda value: 0 < value < 1),
    )
    stem_multiplier: int = _network(
        3, "channels of the stem as a multiple of init_channels; 1 in nasbench201", between(1, 1000)
    )
    edge_drop_path: float = _architecture(
        0.0, "final probability of dropping a mixed edge for an image; rises linearly from 0", FRACTION
    )
    cutout_rises: bool = _data(False, "apply cutout to more images each epoch, to all only in the last one")
    bn_eval: str = _network(
        "running",
        "batch norm in supernet validation: running averages, or the statistics of each batch",
        one_of("running", "batch"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ImageRun):
    """One training of a derived network; the defaults are the CIFAR-10 evaluation of quark0/darts.

    Attributes:
        metric: The measure by which networks are compared; `better` is `higher` or `lower`.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and appendix A.2; `cnn/train.py` of the original at f276dd3.

    Example:
        >>> import darts_tf
        >>> config = darts_tf.TrainConfig(genotype="DARTS_V1", epochs=100)
        >>> config.drop_path, config.replace(drop_path=0.3).drop_path
        (0.2, 0.3)
    """

    kind, title = "train", "training runs on images"
    binary = "darts-train"
    metric, better = "accuracy", "higher"

    epochs: int = changed(Run, "epochs", 600)
    batch_size: int = changed(Run, "batch_size", 96)
    cutout: int = changed(ImageRun, "cutout", 16)
    init_channels: int = changed(ImageRun, "init_channels", 36)
    num_cells: int = changed(ImageRun, "num_cells", 20)

    # The network.
    genotype: str = _network(
        "DARTS_V2", "cells: a published name, a file, a search's work directory, or the text", is_path=True
    )
    network: str = _network("cifar", "cifar for small images, imagenet for photographs", one_of("cifar", "imagenet"))
    auxiliary: bool = _network(True, "train with the auxiliary head, which inference leaves out")
    auxiliary_weight: float = _network(0.4, "weight of the auxiliary head's loss", at_least(0))
    drop_path: float = _network(0.2, "final probability of drop path; it rises linearly from 0", FRACTION)

    # Training.
    schedule: str = _weights(
        "cosine",
        "learning rate per epoch: cosine to learning_rate_min, or exponential by learning_rate_decay",
        one_of("cosine", "exponential"),
    )
    learning_rate_decay: float = _weights(0.97, "exponential schedule: factor per epoch", SHARE)
    label_smoothing: float = _weights(0.0, "share of the target probability spread over all classes", FRACTION)

    # The images.
    train_portion: float = _data(
        1.0,
        "share of the training examples to train on; the rest is for validation; 1 = validate on the test set",
        SHARE,
    )
    resized_crop: bool = _data(False, "random crop of random size and aspect, resized, instead of pad and crop")
    color_jitter: float = _data(
        0.0, "strength of random brightness, contrast and saturation; half of it for hue; 0 = off", between(0, 1)
    )
    eval_crop: float = _data(
        1.0, "share of the shorter side that evaluation keeps: 0.875 = Resize(256), CenterCrop(224)", SHARE
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.init_channels % 2 == 1,
            f"init_channels must be even, since a reduction cell halves them. "
            f"Received: init_channels={self.init_channels}",
        )
        self._refuse(
            self.resized_crop and self.crop_padding > 0,
            "crop_padding must be 0 with resized_crop, since an image is cropped only once. Received: "
            f"crop_padding={self.crop_padding}",
        )
        self._refuse(
            self.eval_crop < 1 and self.image_size == 0,
            "eval_crop must be 1 unless images are resized; set image_size as well. Received: "
            f"eval_crop={self.eval_crop}, image_size=0",
        )
