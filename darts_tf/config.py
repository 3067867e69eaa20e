"""The experiment as data: one flat frozen dataclass whose fields carry default, type, help and check in one place.

The command line (`darts_tf.bin._flags`), the check at construction, `config.json` and the rule of what may change on
resume are all read from these fields. No TensorFlow here: `--help` is instant.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, Self

from darts_tf.errors import UserError
from darts_tf.genotype import CONV_PRIMITIVES

_MAX_SEED = 2**31 - 1
_TYPE_NAMES = {bool: "a bool", int: "an int", float: "a finite number", str: "a string", tuple: "a tuple of strings"}


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition on one field's value.

    Attributes:
        expected: The condition in words, to follow "must be".
        holds: `value -> bool`; the value already has the field's type.
        choices: The allowed words, for a field that has only some.
    """

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()


def _at_least(bound: float) -> Check:
    return Check(f"at least {bound}", lambda value: value >= bound)


def _above(bound: float) -> Check:
    return Check(f"above {bound}", lambda value: value > bound)


def _between(low: float, high: float) -> Check:
    return Check(f"at least {low} and at most {high}", lambda value: low <= value <= high)


def _fraction() -> Check:
    return Check("at least 0 and below 1", lambda value: 0 <= value < 1)


def _one_of(*choices: str) -> Check:
    return Check("one of " + ", ".join(choices), lambda value: value in choices, choices)


def _distinct_names() -> Check:
    return Check(
        "at least 2 names of operations, none twice",
        lambda value: len(value) >= 2 and len(set(value)) == len(value) and all(name.isidentifier() for name in value),
    )


def _field(default: Any, help: str, check: Check | None = None, resumable: bool = False) -> Any:
    """A dataclass field with its documentation and its check.

    Args:
        default: The value when nothing is said.
        help: One line, as `--help` prints it.
        check: The condition on the value beside its type.
        resumable: True when a run may go on with another value: it does not change what is computed.
    """
    return dataclasses.field(default=default, metadata={"help": help, "check": check, "resumable": resumable})


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One search for convolutional cells; the defaults are the CIFAR-10 search of the original code.

    Every field is checked at construction; no value is converted, except that an int may stand for a float.

    Raises:
        UserError: A field has the wrong type or a value outside its range; one line that begins with its name.

    Reference: Liu et al., arXiv:1806.09055, section 3.1.1 and appendix A.1; `cnn/train_search.py` and
    `cnn/architect.py` of quark0/darts at f276dd3.
    """

    # Data.
    dataset: str = _field(
        "cifar10", "data to search on; digits is embedded", _one_of("cifar10", "digits", "folder", "npz")
    )
    data_dir: str = _field("", "where the data lies: a folder, or the .npz file; empty = the usual place", None, True)
    image_size: int = _field(0, "height and width in pixels to resize to; 0 = as the data is", _at_least(0))
    max_train_examples: int = _field(0, "use only this many training examples, before the split; 0 = all", _at_least(0))
    train_portion: float = _field(
        0.5,
        "share of the examples that trains the weights; the rest trains the alphas",
        Check("above 0 and below 1", lambda value: 0 < value < 1),
    )
    split: str = _field(
        "index",
        "how the examples are split: index = first against last, stratified = shuffled within each class",
        _one_of("index", "stratified"),
    )
    crop_padding: int = _field(4, "pixels of zero padding before the random crop; 0 = no crop", _at_least(0))
    flip: bool = _field(True, "mirror half of the training images left to right")
    cutout: int = _field(0, "side in pixels of the square that is cut out of training images; 0 = off", _at_least(0))

    # The supernet.
    init_channels: int = _field(16, "channels of the first cells; doubled at each reduction", _at_least(1))
    num_cells: int = _field(8, "cells in the supernet, two of them reduction cells", _at_least(3))
    num_nodes: int = _field(4, "intermediate nodes of a cell", _at_least(1))
    concat: int = _field(0, "how many of the last nodes form the cell's output; 0 = all", _at_least(0))
    stem_multiplier: int = _field(3, "channels of the stem as a multiple of init_channels", _at_least(1))
    primitives: tuple = _field(CONV_PRIMITIVES, "names of the candidate operations, comma separated", _distinct_names())
    operations_file: str = _field("", "a Python file that adds operations of your own; it is executed")
    bn_eval: str = _field(
        "running",
        "statistics that batch norm uses in the supernet's validation: running averages or those of the batch",
        _one_of("running", "batch"),
    )

    # Training the weights.
    epochs: int = _field(50, "passes over the part of the data that trains the weights", _at_least(1))
    batch_size: int = _field(64, "examples in a batch, for weights and alphas alike", _at_least(1))
    learning_rate: float = _field(0.025, "learning rate of the weights in epoch 0", _above(0))
    learning_rate_min: float = _field(0.001, "where the cosine schedule of the weights would end", _at_least(0))
    momentum: float = _field(0.9, "momentum of the weights' SGD", _fraction())
    weight_decay: float = _field(3e-4, "L2 decay of the weights, added to the clipped gradient", _at_least(0))
    grad_clip: float = _field(5.0, "global norm at which the weights' gradient is clipped; 0 = off", _at_least(0))

    # Training the alphas.
    order: str = _field(
        "second",
        "gradient of the alphas: second = through one virtual step of the weights, first = without",
        _one_of("first", "second"),
    )
    hvp: str = _field(
        "finite_difference",
        "second order: the Hessian-vector product as in the paper, or exact by differentiating twice",
        _one_of("finite_difference", "exact"),
    )
    hvp_radius: float = _field(0.01, "radius of the finite difference, before division by the vector's norm", _above(0))
    arch_learning_rate: float = _field(3e-4, "learning rate of the alphas' Adam", _above(0))
    arch_beta1: float = _field(0.5, "decay of the first moment of the alphas' Adam", _fraction())
    arch_beta2: float = _field(0.999, "decay of the second moment of the alphas' Adam", _fraction())
    arch_epsilon: float = _field(1e-8, "epsilon of the alphas' Adam", _above(0))
    arch_weight_decay: float = _field(1e-3, "L2 decay of the alphas, added to their gradient", _at_least(0))
    alpha_init: str = _field(
        "normal",
        "alphas at the start: normal as in the original code, zeros as in the paper",
        _one_of("normal", "zeros"),
    )
    alpha_init_scale: float = _field(1e-3, "standard deviation of the alphas at the start", _at_least(0))
    warmup_epochs: int = _field(0, "epochs at the start in which the alphas are frozen", _at_least(0))
    arch_bn_updates: bool = _field(
        False, "let the passes for the alphas move batch norm's running statistics, as the original code does"
    )

    # The run.
    seed: int = _field(2, "seed of initial values, order of examples and augmentation", _between(0, _MAX_SEED))
    threads: int = _field(0, "CPU threads that TensorFlow may use; 0 = all cores", _at_least(0), True)
    steps_per_loop: int = _field(
        0, "steps between two looks at the metrics; 0 = chosen to take about a second", _at_least(0), True
    )
    jit_compile: bool = _field(False, "compile the step with XLA; pays on some GPUs, is slower on CPUs")
    checkpoint_minutes: float = _field(
        10.0, "minutes between checkpoints within an epoch; there is one at each epoch's end", _above(0), True
    )
    keep_checkpoints: int = _field(2, "how many of the newest checkpoints are kept", _at_least(1), True)
    valid_examples: int = _field(0, "examples for the supernet's validation accuracy; 0 = all", _at_least(0))
    tensorboard: bool = _field(True, "write TensorBoard files into the work directory", None, True)

    def __post_init__(self):
        """Checks each field by itself, then those that depend on each other."""
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        self._refuse(
            self.concat > self.num_nodes,
            f"concat must be at most num_nodes={self.num_nodes}, or 0 for all nodes. Received: concat={self.concat}",
        )
        self._refuse(
            self.learning_rate_min > self.learning_rate,
            f"learning_rate_min must be at most learning_rate={self.learning_rate}. "
            f"Received: learning_rate_min={self.learning_rate_min}",
        )
        self._refuse(
            self.warmup_epochs > self.epochs,
            f"warmup_epochs must be at most epochs={self.epochs}. Received: warmup_epochs={self.warmup_epochs}",
        )
        self._refuse(
            self.dataset in ("folder", "npz") and not self.data_dir,
            f"data_dir must say where the data lies when dataset={self.dataset}. Received: data_dir=''",
        )

    @staticmethod
    def _refuse(wrong: bool, message: str) -> None:
        if wrong:
            raise UserError(message)

    def to_json(self) -> dict[str, Any]:
        """The fields as a dict that `json.dump` writes; tuples become lists."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The config that `to_json` described. A field that is missing, as in an older file, gets its default.

        Raises:
            UserError: Not a mapping, an unknown field (the message names the closest), or a wrong value.
        """
        if not isinstance(data, Mapping):
            raise UserError(f"A config must be a JSON object. Received: {type(data).__name__} {_shorten(data)}")
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        values = {}
        for name, value in data.items():
            if name not in types:
                raise UserError(
                    f"{name} is not a field of {cls.__name__}. Received: {name}={_shorten(value)}"
                    + suggest(str(name), types)
                )
            values[name] = tuple(value) if types[name] is tuple and isinstance(value, list) else value
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again. Raises UserError as `from_json` does."""
        return type(self).from_json({**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, **changes})

    def differences(self, other: Self, include_resumable: bool = True) -> list[str]:
        """The fields in which `other` differs, each as `"field: own value -> other's value"`, in the fields' order.

        Args:
            other: A config of the same class.
            include_resumable: False leaves out the fields that may change when a run is resumed.
        """
        return [
            f"{field.name}: {_plain(a)} -> {_plain(b)}"
            for field in dataclasses.fields(self)
            if (a := getattr(self, field.name)) != (b := getattr(other, field.name))
            and (include_resumable or not field.metadata["resumable"])
        ]

    @classmethod
    def resumable_fields(cls) -> tuple[str, ...]:
        """Names of the fields that may change when a run is resumed."""
        return tuple(field.name for field in dataclasses.fields(cls) if field.metadata["resumable"])


def suggest(name: str, known: Any) -> str:
    """`". Did you mean X?"` for the closest of the known names, or nothing when none is close."""
    closest = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {closest[0]}?" if closest else ""


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises UserError unless the value has the field's type and meets its check."""
    if not _has_type(value, field.type):
        kind = "" if isinstance(value, float) else f" ({type(value).__name__})"
        raise UserError(
            f"{field.name} must be {_TYPE_NAMES[field.type]}. Received: {field.name}={_shorten(value)}{kind}"
        )
    check = field.metadata["check"]
    if check is not None and not check.holds(value):
        hint = suggest(value, check.choices) if isinstance(value, str) else ""
        raise UserError(f"{field.name} must be {check.expected}. Received: {field.name}={_shorten(value)}{hint}")


def _has_type(value: Any, wanted: type) -> bool:
    """True for a value of the type; a bool is not an int, an int is a float, NaN and infinity are not floats."""
    if wanted is bool or isinstance(value, bool):
        return wanted is bool and isinstance(value, bool)
    if wanted is float:
        try:
            return isinstance(value, int | float) and math.isfinite(value)
        except OverflowError:  # an int beyond the largest float
            return False
    if wanted is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    return isinstance(value, wanted)


def _plain(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else repr(value) if value == "" else str(value)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
