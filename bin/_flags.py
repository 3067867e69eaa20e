"""The command line of a binary, generated from the fields of a config; nothing is defined when this is imported."""

import dataclasses
from typing import Any

from absl import flags

from darts_tf import presets
from darts_tf.config import Config, SearchConfig, TrainConfig
from darts_tf.errors import UserError

_ORIGINALS = {SearchConfig: "the original search", TrainConfig: "the original's training on CIFAR-10"}


def define(flag_values: flags.FlagValues, config_class: type[Config]) -> None:
    """Defines `--preset`, `--workdir`, `--unrolled` and one flag per field; a flag that is not given is None.

    Args:
        flag_values: Where the flags go.
        config_class: The dataclass whose fields become flags, with help, default and choices from their metadata.
    """
    names = ", ".join(presets.names(config_class))
    flags.DEFINE_string("preset", None, f"settings to start from: {names}", flag_values=flag_values)
    flags.DEFINE_string(
        "workdir", None, "directory of the run; an interrupted run in it is resumed", flag_values=flag_values
    )
    for field in dataclasses.fields(config_class):
        _define_field(field, flag_values, _ORIGINALS[config_class])
    if any(field.name == "order" for field in dataclasses.fields(config_class)):
        flags.DEFINE_bool(
            "unrolled",
            None,
            "the original code's name: --unrolled is --order=second, --nounrolled is --order=first",
            flag_values=flag_values,
        )


def config_from(flag_values: flags.FlagValues, default_preset: str, config_class: type[Config]) -> Config:
    """The preset's config with the flags that were given on the command line.

    Args:
        flag_values: Parsed, after `define`.
        default_preset: The preset's name when `--preset` was not given.
        config_class: The kind of run.

    Raises:
        UserError: There is no such preset.
        flags.IllegalFlagValueError: The config refuses a flag's value, or `--order` and `--unrolled` disagree.
    """
    name = flag_values["preset"].value
    config = presets.get(default_preset if name is None else name, config_class).config
    changes = {
        field.name: tuple(value) if field.type is tuple else value
        for field in dataclasses.fields(config)
        if (value := flag_values[field.name].value) is not None
    }
    if "unrolled" in flag_values and (unrolled := flag_values["unrolled"].value) is not None:
        order = "second" if unrolled else "first"
        if changes.setdefault("order", order) != order:
            raise flags.IllegalFlagValueError(
                f"--{'' if unrolled else 'no'}unrolled means --order={order}. Received: --order={changes['order']} "
                "beside it; give one of the two"
            )
    try:
        return config.replace(**changes)
    except UserError as error:
        raise flags.IllegalFlagValueError(f"--{error}") from error


def start(
    name: str, flag_values: flags.FlagValues, default_preset: str, config_class: type[Config]
) -> tuple[Config, str]:
    """Reads the command line of a run, says the first line, and sets TensorFlow up.

    Args:
        name: The binary's.
        flag_values: Parsed, after `define`.
        default_preset: The preset's name when `--preset` was not given.
        config_class: The kind of run.

    Returns:
        `(config, work directory)`; the directory is `runs/PRESET` where none was given.

    Raises:
        UserError, flags.IllegalFlagValueError: See `config_from`.
    """
    config = config_from(flag_values, default_preset, config_class)
    preset = flag_values["preset"].value or default_preset
    workdir = flag_values["workdir"].value
    if workdir is None:
        workdir = f"runs/{preset}"
    print(f"{name}: preset {preset}, work directory {workdir}; loading TensorFlow ...", flush=True)
    from darts_tf import runtime  # here, so that --help waits for nothing

    runtime.configure(config.threads, config.jit_compile)
    return config, workdir


def _define_field(field: dataclasses.Field, flag_values: flags.FlagValues, original: str) -> None:
    """One flag for one field, by the field's type."""
    check = field.metadata["check"]
    help_text = f"{field.metadata['help']} (default: the preset's; {_shown(field.default)} in {original})"
    if check is not None and check.choices:
        flags.DEFINE_enum(field.name, None, list(check.choices), help_text, flag_values=flag_values)
        return
    define_flag = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        tuple: flags.DEFINE_list,
    }[field.type]
    define_flag(field.name, None, help_text, flag_values=flag_values)


def _shown(value: Any) -> str:
    return (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else repr(value)
    )
