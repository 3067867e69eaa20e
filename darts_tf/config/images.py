"""Experiments on images: the search, and the training of what it has found."""

import dataclasses

from darts_tf.config.fields import Check, at_least, between, changed, field, fraction, one_of
from darts_tf.config.run import Run, Search

_STRENGTH = Check("at least 0 and at most 1", lambda value: 0 <= value <= 1)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageRun(Run):
    """What every run on images has: their source, their augmentation, the size of the network."""

    learning_rate_min: float = field(0.0, "where the cosine schedule of the weights would end", at_least(0))
    momentum: float = field(0.9, "momentum of the weights' SGD", fraction())
    dataset: str = field(
        "cifar10", "the images; digits is embedded", one_of("cifar10", "digits", "folder", "npz", "imagenet2012")
    )
    data_dir: str = field(
        "", "where the data lies: a folder, or the .npz file; empty = the usual place", None, True, True
    )
    image_size: int = field(0, "height and width in pixels to resize to; 0 = as the data is", between(0, 10_000))
    max_train_examples: int = field(0, "use only this many training examples, before the split; 0 = all", at_least(0))
    value_range: str = field(
        "auto",
        "npz: the values that are black and white, LOW,HIGH such as -1,1 or 0,65535; auto = 0,1 or 0,255 if certain",
        _value_range(),
    )
    validation: str = field(
        "auto",
        "what validates or trains the alphas: auto = the validation images of the data, else, as train, training ones",
        one_of("auto", "train"),
    )
    split: str = field(
        "auto",
        "stratified = drawn within each class; index = the first against the last; auto = index for cifar10, else "
        "stratified",
        one_of("auto", "stratified", "index"),
    )
    valid_examples: int = field(0, "how many held-out examples are evaluated after each epoch; 0 = all", at_least(0))
    crop_padding: int = field(4, "pixels of zero padding before the random crop; 0 = no crop", between(0, 10_000))
    flip: bool = field(True, "mirror half of the training images left to right")
    cutout: int = field(
        0, "side in pixels of the square that is cut out of training images; 0 = off", between(0, 10_000)
    )
    init_channels: int = field(16, "channels of the first cells; doubled at each reduction", between(1, 10_000))
    num_cells: int = field(8, "cells of the network, two of them reduction cells", between(3, 1000))
    space: str = field(
        "conv", "search space: conv, or one that Python code has added", Check("a name", str.isidentifier)
    )
    operations_file: str = field("", "a Python file that adds operations of your own; it is executed", is_path=True)

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.learning_rate_min > self.learning_rate,
            f"learning_rate_min must be at most learning_rate={self.learning_rate}. "
            f"Received: learning_rate_min={self.learning_rate_min}",
        )
        self._refuse(
            self.dataset in ("folder", "npz") and not self.data_dir,
            f"data_dir must say where the data lies when dataset={self.dataset}. Received: data_dir=''",
        )
        self._refuse(
            self.dataset == "digits" and self.data_dir != "",
            "data_dir must be empty when dataset=digits, which is embedded; dataset=folder, npz or cifar10 read it, "
            f"and for a text there are presets such as text_search. Received: data_dir={self.data_dir}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig(ImageRun, Search):
    """One search for convolutional cells; the defaults are the CIFAR-10 search of the original code.

    Reference: Liu et al., arXiv:1806.09055, section 3.1.1 and appendix A.1; `cnn/train_search.py` and
    `cnn/architect.py` of quark0/darts at f276dd3.
    """

    kind = "search"
    binary = "darts-search"

    learning_rate_min: float = changed(ImageRun, "learning_rate_min", 0.001)
    seed: int = changed(Run, "seed", 2)

    # The split.
    train_portion: float = field(
        0.5,
        "share of the examples that trains the weights; the rest trains the alphas",
        Check("above 0 and below 1", lambda value: 0 < value < 1),
    )

    # The supernet.
    stem_multiplier: int = field(3, "channels of the stem as a multiple of init_channels", between(1, 1000))
    bn_eval: str = field(
        "running",
        "statistics that batch norm uses in the supernet's validation: running averages or those of the batch",
        one_of("running", "batch"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(ImageRun):
    """One training of a derived network; the defaults are the CIFAR-10 evaluation of the original code.

    Attributes:
        metric: What networks are compared by, where `better` is `higher` or `lower`.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and appendix A.2; `cnn/train.py` of quark0/darts at f276dd3.
    """

    kind = "train"
    binary = "darts-train"
    metric, better = "accuracy", "higher"

    epochs: int = changed(Run, "epochs", 600)
    batch_size: int = changed(Run, "batch_size", 96)
    cutout: int = changed(ImageRun, "cutout", 16)
    init_channels: int = changed(ImageRun, "init_channels", 36)
    num_cells: int = changed(ImageRun, "num_cells", 20)

    # The network.
    genotype: str = field(
        "DARTS_V2", "the cells: a published name, a file, a search's work directory, or the text", is_path=True
    )
    network: str = field("cifar", "cifar for small images, imagenet for photographs", one_of("cifar", "imagenet"))
    auxiliary: bool = field(True, "train with the auxiliary head, which takes no part in inference")
    auxiliary_weight: float = field(0.4, "weight of the auxiliary head's loss", at_least(0))
    drop_path: float = field(0.2, "probability of drop path towards the end; it rises linearly from 0", fraction())

    # Training.
    schedule: str = field(
        "cosine",
        "of the learning rate, per epoch: cosine to learning_rate_min, or exponential by learning_rate_decay",
        one_of("cosine", "exponential"),
    )
    learning_rate_decay: float = field(
        0.97,
        "exponential schedule: factor per epoch",
        Check("above 0 and at most 1", lambda value: 0 < value <= 1),
    )
    label_smoothing: float = field(0.0, "share of the target's probability that goes to all classes evenly", fraction())

    # The images.
    train_portion: float = field(
        1.0,
        "share of the training examples that is trained on; the rest validates; 1 = watch the test set",
        Check("above 0 and at most 1", lambda value: 0 < value <= 1),
    )
    resized_crop: bool = field(False, "random crop of random size and aspect, resized, instead of pad and crop")
    color_jitter: float = field(
        0.0, "strength of random brightness, contrast and saturation; of hue half; 0 = off", _STRENGTH
    )
    eval_crop: float = field(
        1.0,
        "share of the shorter side that evaluation crops from the centre: 0.875 is Resize(256), CenterCrop(224)",
        Check("above 0 and at most 1", lambda value: 0 < value <= 1),
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.init_channels % 2 == 1,
            f"init_channels must be even, since a reduction makes halves. Received: init_channels={self.init_channels}",
        )
        self._refuse(
            self.resized_crop and self.crop_padding > 0,
            "crop_padding must be 0 with resized_crop, since an image is cropped in one way. "
            f"Received: crop_padding={self.crop_padding}",
        )
        self._refuse(
            self.eval_crop < 1 and self.image_size == 0,
            "eval_crop must be 1 where images are not resized; give an image_size with it. "
            f"Received: eval_crop={self.eval_crop}, image_size=0",
        )
