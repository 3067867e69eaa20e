"""The experiments as data: one flat frozen dataclass each; see `config_fields` for what a field carries."""

import dataclasses

from darts_tf.config_fields import (
    Check,
    Config,
    above,
    at_least,
    between,
    changed,
    field,
    fraction,
    one_of,
    suggest,
)
from darts_tf.genotype import CONV_PRIMITIVES

__all__ = ["Config", "SearchConfig", "TrainConfig", "suggest"]

# Upper bounds of sizes are far beyond what anybody has trained, and low enough that lists as long as that are no harm.
_MAX_SEED = 2**31 - 1
_STRENGTH = Check("at least 0 and at most 1", lambda value: 0 <= value <= 1)


def _distinct_names() -> Check:
    return Check(
        "at least 2 names of operations, none twice",
        lambda value: len(value) >= 2 and len(set(value)) == len(value) and all(name.isidentifier() for name in value),
    )


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
class Run(Config):
    """What every run has."""

    epochs: int = field(50, "passes over the training examples", between(1, 100_000))
    batch_size: int = field(64, "examples in a batch", between(1, 1_000_000))
    learning_rate: float = field(0.025, "learning rate of the weights in epoch 0", above(0))
    accumulate: int = field(
        1,
        "parts that a batch is computed in, one after the other, for want of memory; batch norm sees the parts",
        at_least(1),
    )
    recompute: bool = field(
        False,
        "compute each cell, or time step, again in the backward pass, for want of memory; may change on resume",
        None,
        True,
    )
    precision: str = field(
        "float32",
        "type of activations and products; variables, statistics, loss and optimisers stay float32",
        one_of("float32", "bfloat16", "float16"),
    )
    strategy: str = field(
        "none",
        "devices that share each batch: none = one; mirrored = all of this machine; multi_worker = of the machines in "
        "TF_CONFIG",
        one_of("none", "mirrored", "multi_worker"),
        True,
    )
    replicas: int = field(
        0,
        "how many devices mirrored takes; 0 = all GPUs; without a GPU so many pieces of the CPU",
        between(0, 1024),
        True,
    )
    weight_decay: float = field(3e-4, "L2 decay of the weights, added to the clipped gradient", at_least(0))
    grad_clip: float = field(5.0, "global norm at which the weights' gradient is clipped; 0 = off", at_least(0))
    seed: int = field(0, "seed of initial values, order of examples and augmentation", between(0, _MAX_SEED))
    threads: int = field(0, "CPU threads that TensorFlow may use; 0 = all cores", between(0, 4096), True)
    steps_per_loop: int = field(
        0, "steps between two looks at the metrics; 0 = chosen to take about a second", at_least(0), True
    )
    jit_compile: bool = field(False, "compile the step with XLA; pays on some GPUs, is slower on CPUs")
    checkpoint_minutes: float = field(
        10.0, "minutes between checkpoints within an epoch; there is one at each epoch's end", above(0), True
    )
    keep_checkpoints: int = field(2, "how many of the newest checkpoints are kept", at_least(1), True)
    tensorboard: bool = field(True, "write TensorBoard files into the work directory", None, True)

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.batch_size % self.accumulate != 0,
            f"accumulate must divide batch_size={self.batch_size}, so that the parts are equal. "
            f"Received: accumulate={self.accumulate}",
        )
        self._refuse(
            self.jit_compile and self.strategy != "none",
            f"jit_compile must be off with strategy={self.strategy}, since XLA compiles for one device. "
            "Received: jit_compile=True",
        )
        self._refuse(
            self.replicas > 0 and self.strategy != "mirrored",
            f"replicas is for strategy=mirrored; {self.strategy} has "
            f"{'one' if self.strategy == 'none' else 'what TF_CONFIG says'}. Received: replicas={self.replicas}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Run):
    """What every search has: its cell, and how the alphas are trained."""

    num_nodes: int = field(4, "intermediate nodes of a cell", between(1, 100))
    concat: int = field(0, "how many of the last nodes form the cell's output; 0 = all", at_least(0))
    primitives: tuple = field(CONV_PRIMITIVES, "names of the candidate operations, comma separated", _distinct_names())
    order: str = field(
        "second",
        "gradient of the alphas: second = through one virtual step of the weights, first = without",
        one_of("first", "second"),
    )
    hvp: str = field(
        "finite_difference",
        "second order: the Hessian-vector product as in the paper, or exact by differentiating twice",
        one_of("finite_difference", "exact"),
    )
    hvp_radius: float = field(0.01, "radius of the finite difference, before division by the vector's norm", above(0))
    arch_learning_rate: float = field(3e-4, "learning rate of the alphas' Adam", above(0))
    arch_beta1: float = field(0.5, "decay of the first moment of the alphas' Adam", fraction())
    arch_beta2: float = field(0.999, "decay of the second moment of the alphas' Adam", fraction())
    arch_epsilon: float = field(1e-8, "epsilon of the alphas' Adam", above(0))
    arch_weight_decay: float = field(1e-3, "L2 decay of the alphas, added to their gradient", at_least(0))
    alpha_init: str = field(
        "normal",
        "alphas at the start: normal as in the original code, zeros as in the paper",
        one_of("normal", "zeros"),
    )
    alpha_init_scale: float = field(1e-3, "standard deviation of the alphas at the start", at_least(0))
    warmup_epochs: int = field(0, "epochs at the start in which the alphas are frozen", at_least(0))
    arch_bn_updates: bool = field(
        False, "let the passes for the alphas move batch norm's running statistics, as the original code does"
    )

    # Watching over them.
    eigenvalue: bool = field(
        True, "log the dominant eigenvalue of the validation loss in alpha after every second epoch", None, True
    )
    early_stop: str = field(
        "none",
        "eigenvalue = stop when the dominant eigenvalue rises, with the genotype from before, as RobustDARTS does",
        one_of("none", "eigenvalue"),
        True,
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.concat > self.num_nodes,
            f"concat must be at most num_nodes={self.num_nodes}, or 0 for all nodes. Received: concat={self.concat}",
        )
        self._refuse(
            self.warmup_epochs > self.epochs,
            f"warmup_epochs must be at most epochs={self.epochs}. Received: warmup_epochs={self.warmup_epochs}",
        )


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
    cell = "conv"

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
        cell: The kind of its genotype.
        metric: What networks are compared by, where `better` is `higher` or `lower`.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and appendix A.2; `cnn/train.py` of quark0/darts at f276dd3.
    """

    kind = "train"
    binary = "darts-train"
    cell, metric, better = "conv", "accuracy", "higher"

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
