"""The fields of an experiment: default, type, help, group and check, and the dataclass that reads them.

The command line (`darts_tf.bin._flags`), the check at construction, `config.json` and the rules for what may change on
resume are all derived from the fields. This needs no TensorFlow: `--help` is instant.
"""

import dataclasses
import difflib
import functools
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self

from darts_tf.system.errors import UserError, short
from darts_tf.system.files import check_local

# The headings under which `--help` lists the flags, in this order.
GROUPS = ("data", "network", "weights", "architecture", "method", "protocol", "memory and devices", "run")

_TYPE_NAMES: dict[Any, str] = {
    bool: "a bool",
    int: "an int",
    float: "a finite number",
    str: "a string",
    tuple: "a tuple of strings",
}


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition on one field's value.

    Attributes:
        expected: The condition in words, to follow "must be".
        holds: `value -> bool`; the value already has the field's type.
        choices: The allowed words, for a field with a fixed set.
        closed: Whether these are all; False if a pattern allows others, too.
    """

    expected: str
    holds: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    closed: bool = True


def at_least(bound: float) -> Check:
    """The check for numbers of at least a bound."""
    return Check(f"at least {bound}", lambda value: value >= bound)


def above(bound: float) -> Check:
    """The check for numbers above a bound."""
    return Check(f"above {bound}", lambda value: value > bound)


def between(low: float, high: float) -> Check:
    """The check for numbers in a closed range."""
    return Check(f"at least {low} and at most {high}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Check:
    """The check for one of some words."""
    return Check("one of " + ", ".join(choices), lambda value: value in choices, choices)


SEED = between(0, 2**31 - 1)
FRACTION = Check("at least 0 and below 1", lambda value: 0 <= value < 1)
SHARE = Check("above 0 and at most 1", lambda value: 0 < value <= 1)


def field(
    default: Any, help: str, check: Check | None = None, resumable: bool = False, is_path: bool = False, *, group: str
) -> Any:
    """A dataclass field with its documentation and its check.

    Args:
        default: The default value.
        help: One line, as `--help` prints it; it names the choices, if any.
        check: The condition on the value, in addition to its type.
        resumable: True if a run may be resumed with another value, since it does not change what is computed.
        is_path: True for the path of a file or folder, or a text that may be a path; it is stored as the user wrote it.
        group: One of `GROUPS`.
    """
    metadata = {"help": help, "check": check, "resumable": resumable, "is_path": is_path, "group": group}
    return dataclasses.field(default=default, metadata=metadata)


def in_group(group: str) -> Callable[..., Any]:
    """`field` for the settings of one of `GROUPS`."""
    if group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(GROUPS)}. Received: {group!r}")
    return functools.partial(field, group=group)


def changed(base: type, name: str, default: Any) -> Any:
    """The field of a base class with another default."""
    inherited = next(each for each in dataclasses.fields(base) if each.name == name)
    return dataclasses.field(default=default, metadata=inherited.metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of the experiments: frozen, flat, checked at construction.

    No value is converted, except that an int may stand for a float, an `os.PathLike` for a path, and numbers in a tuple
    or list for a text with commas between them.

    Attributes:
        kind: The kind of experiment, as in `config.json`.
        title: The same in words, plural, for messages and `--help`.
        binary: The command that runs it.

    Raises:
        UserError: A field has the wrong type or a value outside its range; one line that begins with its name.
    """

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""
    binary: ClassVar[str] = ""

    def __post_init__(self):
        """Checks each field alone, then those that depend on each other."""
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0):
                value = value.item()  # a number from a NumPy array
            if each.metadata["is_path"] and isinstance(value, os.PathLike):
                value = os.fsdecode(value)
            elif each.type is str:
                value = joined(value)
            object.__setattr__(self, each.name, value)  # frozen, but still under construction
            _check(each, value)
        self._check_together()

    def _check_together(self) -> None:
        """Checks fields that depend on each other."""

    @staticmethod
    def _refuse(wrong: bool, message: str) -> None:
        if wrong:
            raise UserError(message)

    def to_json(self) -> dict[str, Any]:
        """The fields, and the kind, as a dict that `json.dump` writes; tuples become lists."""
        values = dataclasses.asdict(self).items()
        return {"kind": self.kind} | {name: list(v) if isinstance(v, tuple) else v for name, v in values}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The config that `to_json` described. A missing field, as in an older file, gets its default.

        Raises:
            UserError: It is not a mapping, a field is unknown (the message names the closest), or a value is wrong.
        """
        if not isinstance(data, Mapping):
            raise UserError(f"A config must be a JSON object. Received: {type(data).__name__} {short(repr(data))}")
        data = dict(data)
        if (kind := data.pop("kind", cls.kind)) != cls.kind:
            raise UserError(
                f"The settings are of another kind of run: expected {cls.kind}. Received: kind={_word(kind)}"
            )
        types = {each.name: each.type for each in dataclasses.fields(cls)}
        values = {}
        for name, value in data.items():
            if name not in types:
                word = _word(name)
                raise UserError(
                    f"{word} is not a field of {cls.__name__}. Received: {word}={short(repr(value))}"
                    + suggest(str(name), types)
                )
            values[name] = tuple(value) if types[name] is tuple and isinstance(value, list) else value
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again. Raises UserError as in `from_json`."""
        return type(self).from_json(dataclasses.asdict(self) | changes)

    def differences(self, other: Self, include_resumable: bool = True) -> list[str]:
        """The fields in which `other` differs, each as `"field: own value -> other's value"`, in the fields' order.

        Args:
            other: A config of the same class.
            include_resumable: False leaves out the fields that may change when a run is resumed.
        """
        return [
            f"{each.name}: {_plain(a)} -> {_plain(b)}"
            for each in dataclasses.fields(self)
            if (a := getattr(self, each.name)) != (b := getattr(other, each.name))
            and (include_resumable or not each.metadata["resumable"])
        ]


def named(names: Iterable[str], *configs: type[Config]) -> tuple[str, ...]:
    """Names of fields, checked at import, so that a wrong name fails early.

    Args:
        names: The names.
        *configs: The configs that have them, each name in at least one.

    Raises:
        AttributeError: No config has a field of that name.
    """
    known = {each.name for config in configs for each in dataclasses.fields(config)}
    if unknown := [name for name in names if name not in known]:
        kinds = ", ".join(config.__name__ for config in configs)
        raise AttributeError(f"{unknown[0]!r} is not a field of {kinds}{suggest(unknown[0], known)}")
    return tuple(names)


def joined(value: Any) -> Any:
    """Returns numbers in a tuple or list as a text, `"-1,1"` for `(-1, 1)`; anything else as it is."""
    several = isinstance(value, tuple | list) and value and all(isinstance(each, numbers.Real) for each in value)
    return ",".join(map(str, value)) if several else value


def suggest(name: str, known: Any) -> str:
    """`". Did you mean X?"` for the closest of the known names, or an empty string if none is close."""
    closest = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {closest[0]}?" if closest else ""


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raises UserError unless the value has the field's type and meets its check."""
    if not _has_type(value, field.type):
        kind = "" if isinstance(value, float) else f" ({type(value).__name__})"
        raise UserError(
            f"{field.name} must be {_TYPE_NAMES[field.type]}. Received: {field.name}={short(repr(value))}{kind}"
        )
    if field.metadata["is_path"]:
        check_local(value, field.name)
    check = field.metadata["check"]
    if check is not None and not check.holds(value):
        hint = suggest(value, check.choices) if isinstance(value, str) else ""
        raise UserError(f"{field.name} must be {check.expected}. Received: {field.name}={short(repr(value))}{hint}")


def _has_type(value: Any, wanted: Any) -> bool:
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


def _word(value: Any) -> str:
    """A name unchanged; anything else, which may contain line breaks, as its Python `repr`."""
    return value if isinstance(value, str) and value.isidentifier() else short(repr(value))
