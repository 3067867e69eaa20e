"""The command line of a binary, generated from the fields of a config; nothing is defined when this is imported."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import flags

from darts_tf.config import Config, Run, SearchConfig, TrainConfig, presets
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.config.protocol import ProtocolConfig
from darts_tf.system import streams
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path

Kind = TypeVar("Kind", bound=Config)
AnyRun = TypeVar("AnyRun", bound=Run)
_ORIGINALS: dict[type[Config], str] = {
    SearchConfig: "the original search on images",
    TrainConfig: "the original's training on CIFAR-10",
    LanguageSearchConfig: "the original search on Penn Treebank",
    LanguageTrainConfig: "the original's training on Penn Treebank",
    ProtocolConfig: "the paper's on CIFAR-10",
}


def define(flag_values: flags.FlagValues, config_classes: Sequence[type[Config]]) -> None:
    """Defines `--preset`, `--workdir`, `--unrolled` and one flag per field; a flag that is not given is None.

    Args:
        flag_values: Where the flags go.
        config_classes: The dataclasses whose fields become flags, with help, defaults and choices from their metadata;
            what two of them share is one flag.
    """
    names = ", ".join(presets.names(tuple(config_classes)))
    flags.DEFINE_string("preset", None, f"settings to start from: {names}", flag_values=flag_values)
    flags.DEFINE_string(
        "workdir", None, "directory of the run; an interrupted run in it is resumed", flag_values=flag_values
    )
    fields: dict[str, list] = {}
    for config_class in config_classes:
        for field in dataclasses.fields(config_class):
            fields.setdefault(field.name, []).append((field, _ORIGINALS[config_class]))
    for found in fields.values():
        _define_field(found, flag_values)
    if "order" in fields:
        flags.DEFINE_bool(
            "unrolled",
            None,
            "the original code's name: --unrolled is --order=second, --nounrolled is --order=first",
            flag_values=flag_values,
        )


def config_from(flag_values: flags.FlagValues, default_preset: str, config_classes: Sequence[type[Kind]]) -> Kind:
    """The preset's config with the flags that were given on the command line.

    Args:
        flag_values: Parsed, after `define`; of a field whose flag was removed the preset's value stays.
        default_preset: The preset's name when `--preset` was not given.
        config_classes: The kinds of run.

    Raises:
        UserError: There is no such preset.
        flags.IllegalFlagValueError: The config has no such field or refuses a flag's value, or `--order` and
            `--unrolled` disagree.
    """
    name = flag_values["preset"].value
    name = default_preset if name is None else name
    config: Any = presets.get(name, tuple(config_classes)).config
    known = {field.name for field in dataclasses.fields(config)}
    for other in (field for each in config_classes for field in dataclasses.fields(each)):
        if other.name not in known and flag_values[other.name].value is not None:
            raise flags.IllegalFlagValueError(
                f"--{other.name} is no setting of {config.kind.replace('_', ' ')} runs, which the preset {name} is one "
                "of. Leave it out, or choose another --preset"
            )
    changes = {
        field.name: tuple(value) if field.type is tuple else value
        for field in dataclasses.fields(config)
        if field.name in flag_values and (value := flag_values[field.name].value) is not None
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
    name: str, flag_values: flags.FlagValues, default_preset: str, config_classes: Sequence[type[AnyRun]]
) -> tuple[AnyRun, str]:
    """Reads the command line of a run, says the first line, and sets TensorFlow up.

    Args:
        name: The binary's.
        flag_values: Parsed, after `define`.
        default_preset: The preset's name when `--preset` was not given.
        config_classes: The kinds of run.

    Returns:
        `(config, work directory)`; the directory is `runs/PRESET` where none was given.

    Raises:
        UserError, flags.IllegalFlagValueError: See `config_from`.
    """
    config = config_from(flag_values, default_preset, config_classes)
    preset, workdir = place(flag_values, default_preset)
    begin(name, f"preset {preset}", workdir, config)
    return config, workdir


def place(flag_values: flags.FlagValues, default_preset: str) -> tuple[str, str]:
    """The preset's name, and the work directory: `runs/PRESET` where none was given; raises as `directory`."""
    preset = flag_values["preset"].value or default_preset
    return preset, directory(flag_values, f"runs/{preset}")


def directory(flag_values: flags.FlagValues, default: str) -> str:
    """The work directory: `default` where none was given.

    Raises:
        UserError: It is no path of this machine.
    """
    workdir = flag_values["workdir"].value
    return default if workdir is None else str(user_path(workdir, "The work directory"))


def begin(name: str, about: str, workdir: str, config: Run) -> None:
    """Says the first line of a run, and sets TensorFlow up."""
    streams.out(f"{name}: {about}, work directory {workdir}; loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help waits for nothing

    if config.strategy == "multi_worker":
        worker, addresses = runtime.cluster()
        streams.out(f"{name}: worker {worker} of {len(addresses)}; all of them have to be started")
    runtime.configure(config.threads, config.jit_compile, config.strategy, config.replicas)


def keeps_files(config: Run) -> bool:
    """Whether this process has the run's work directory: not the workers of a cluster but for its chief."""
    from darts_tf.system import runtime

    return config.strategy != "multi_worker" or runtime.cluster()[0] == 0


def _define_field(found: Sequence[tuple[dataclasses.Field, str]], flag_values: flags.FlagValues) -> None:
    """One flag for the fields of one name, by their type; each comes with what its config's default is."""
    field = found[0][0]
    checks = [each.metadata["check"] for each, _ in found]
    defaults: dict[str, list[str]] = {}
    for each, original in found:
        defaults.setdefault(_shown(each.default), []).append(original)
    if len(defaults) == 1 and len(found) > 1:
        defaults = {next(iter(defaults)): ["the originals"]}
    told = ", ".join(f"{value} in {' and '.join(originals)}" for value, originals in defaults.items())
    texts = list(dict.fromkeys(each.metadata["help"] for each, _ in found))
    help_text = f"{'; or: '.join(texts)} (default: the preset's; {told})"
    choices = [choice for check in checks if check is not None for choice in check.choices]
    if choices:
        flags.DEFINE_enum(field.name, None, list(dict.fromkeys(choices)), help_text, flag_values=flag_values)
        return
    define: dict[Any, Callable] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        tuple: flags.DEFINE_list,
    }
    define[field.type](field.name, None, help_text, flag_values=flag_values)


def _shown(value: Any) -> str:
    return (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else repr(value)
    )
