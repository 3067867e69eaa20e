"""The command line of a command, generated from the fields of a config; importing this defines nothing."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from darts_tf.bin import _help
from darts_tf.config import Config, Run, SearchConfig, TrainConfig, presets
from darts_tf.config.fields import GROUPS, named
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.config.tuning import Tune
from darts_tf.system import streams
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path

Kind = TypeVar("Kind", bound=Config)
AnyRun = TypeVar("AnyRun", bound=Run)
# Flags that `--help` shows first, in this order; the others follow in the groups of `fields.GROUPS`.
COMMON = ("preset", "workdir", "search", "prior") + named(("genotype",), TrainConfig)
COMMON += named(("algorithm", "trials", "minutes", "budget_epochs"), Tune)
COMMON += named(
    ("dataset", "data_dir", "image_size", "init_channels", "num_cells", "num_units"), TrainConfig, LanguageTrainConfig
)
COMMON += named(("epochs", "batch_size", "learning_rate", "order", "seed"), SearchConfig) + ("help",)


def define(flag_values: flags.FlagValues, config_classes: Sequence[type[Config]]) -> None:
    """Defines `--preset`, `--workdir`, `--unrolled` and one flag per field; a flag that is not given is None.

    Args:
        flag_values: Receives the flags.
        config_classes: The dataclasses whose fields become flags, with help and choices from their metadata; a shared
            field becomes one flag.
    """
    flags.DEFINE_string("preset", None, "settings to start from; see below", flag_values=flag_values)
    flags.DEFINE_string(
        "workdir", None, "directory of the run; an interrupted run in it is resumed", flag_values=flag_values
    )
    fields: dict[str, list[dataclasses.Field]] = {}
    for config_class in config_classes:
        for field in dataclasses.fields(config_class):
            fields.setdefault(field.name, []).append(field)
    for same in fields.values():
        _define_field(same, flag_values)
    if "order" in fields:
        flags.DEFINE_bool(
            "unrolled",
            None,
            "the name of --order in quark0/darts: --unrolled = second, --nounrolled = first",
            flag_values=flag_values,
        )


def describe(
    flag_values: flags.FlagValues,
    default_preset: str,
    config_classes: Sequence[type[Config]],
    own: type[Config] | None = None,
    workdir: str = "runs/{}",
    defaults: Mapping[str, Any] | None = None,
) -> Iterator[_help.Part]:
    """The parts of `--help`: the flags of the chosen preset, with its values, the common ones first.

    Args:
        flag_values: Parsed, after `define`.
        default_preset: The preset's name if `--preset` was not given.
        config_classes: The kinds of run.
        own: A class whose fields are also flags of the command, with their own defaults.
        workdir: The default work directory of a preset.
        defaults: Values of flags for which the preset has none.

    Raises:
        UserError: There is no such preset.
    """
    kinds = tuple(config_classes)
    name = flag_values["preset"].value or default_preset
    config = presets.get(name, kinds).config
    values = {"preset": name, "workdir": workdir.format(name), "help": None, **(defaults or {})}
    values |= {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    fields = {field.name: field for each in (own or Config, type(config)) for field in dataclasses.fields(each)}
    others = {field.name for each in kinds for field in dataclasses.fields(each)} - fields.keys()
    groups: dict[str, list[_help.Row]] = {group: [] for group in ("common flags", *GROUPS)}
    names = [each for each in flag_values if each not in others and each != flag_values[each].short_name]
    names.sort(key=(*COMMON, *names).index)
    for each in names:
        flag, field = flag_values[each], fields.get(each)
        text = field.metadata["help"] if each in values and field else None
        group = "common flags" if each in COMMON else field.metadata["group"] if field else "method"
        groups[group].append(_help.row(flag, values.get(each, flag.default), text))
    binary = config.binary if own is None else own.binary
    yield f"Values in parentheses are those of the preset {name}; {binary} --preset=... --help shows those of another."
    for group, rows in groups.items():
        yield group.capitalize(), rows
        if group == "common flags":
            yield "Presets", [(each, presets.PRESETS[each].about) for each in presets.names(kinds)]
    for other in kinds:
        if not isinstance(config, other):
            yield f"Flags of {other.title}: {binary} --preset={presets.names(other)[0]} --help"
    resumable = [f"--{each}" for each in names if each in fields and fields[each].metadata["resumable"]]
    yield f"An interrupted run is resumed with the same settings; only these may differ: {', '.join(resumable)}."


def config_from(
    flag_values: flags.FlagValues, default_preset: str, config_classes: Sequence[type[Kind]], **own: Any
) -> Kind:
    """The preset's config, changed by the flags on the command line.

    Args:
        flag_values: Parsed, after `define`; a field whose flag was removed keeps the preset's value.
        default_preset: The preset's name if `--preset` was not given.
        config_classes: The kinds of run.
        **own: Fields from other sources.

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
                f"--{other.name} is not a flag of {config.title}, which is what the preset {name} configures. Leave "
                "it out, or choose another --preset"
            )
    changes = {
        field.name: tuple(value) if field.type is tuple else value
        for field in dataclasses.fields(config)
        if field.name not in own and field.name in flag_values and (value := flag_values[field.name].value) is not None
    }
    if "unrolled" in flag_values and (unrolled := flag_values["unrolled"].value) is not None:
        order = "second" if unrolled else "first"
        if changes.setdefault("order", order) != order:
            raise flags.IllegalFlagValueError(
                f"--{'' if unrolled else 'no'}unrolled means --order={order}. Received: --order={changes['order']} as "
                "well; give only one of them"
            )
    try:
        return config.replace(**changes, **own)
    except UserError as error:
        raise flags.IllegalFlagValueError(f"--{error}") from error


def start(
    name: str, flag_values: flags.FlagValues, default_preset: str, config_classes: Sequence[type[AnyRun]]
) -> tuple[AnyRun, str]:
    """Reads the command line of a run, prints the first line, and sets up TensorFlow.

    Args:
        name: The command's name.
        flag_values: Parsed, after `define`.
        default_preset: The preset's name if `--preset` was not given.
        config_classes: The kinds of run.

    Returns:
        `(config, work directory)`; by default the directory is `runs/PRESET`.

    Raises:
        UserError, flags.IllegalFlagValueError: See `config_from`.
    """
    config = config_from(flag_values, default_preset, config_classes)
    preset, workdir = place(flag_values, default_preset)
    begin(name, f"preset {preset}", workdir, config)
    return config, workdir


def place(flag_values: flags.FlagValues, default_preset: str) -> tuple[str, str]:
    """The preset's name, and the work directory, by default `runs/PRESET`; raises the errors of `directory`."""
    preset = flag_values["preset"].value or default_preset
    return preset, directory(flag_values, f"runs/{preset}")


def directory(flag_values: flags.FlagValues, default: str) -> str:
    """The work directory, or `default` if none was given.

    Raises:
        UserError: It is not a path on this machine.
    """
    workdir = flag_values["workdir"].value
    return default if workdir is None else str(user_path(workdir, "The work directory"))


def begin(name: str, about: str, workdir: str, config: Run) -> None:
    """Prints the first line of a run, and sets up TensorFlow."""
    streams.out(f"{name}: {about}, work directory {workdir}; loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help is instant

    if config.strategy == "multi_worker":
        worker, addresses = runtime.cluster()
        streams.out(f"{name}: worker {worker} of {len(addresses)}; start all of them")
    runtime.configure(config.threads, config.jit_compile, config.strategy, config.replicas)


def keeps_files(config: Run) -> bool:
    """Whether this process writes the run's work directory: in a cluster only the chief does."""
    from darts_tf.system import runtime

    return config.strategy != "multi_worker" or runtime.cluster()[0] == 0


def _define_field(same: Sequence[dataclasses.Field], flag_values: flags.FlagValues) -> None:
    """Defines one flag for the fields of one name, by their type, with the choices of all."""
    field = same[0]
    help_text = field.metadata["help"]
    checks = [each.metadata["check"] for each in same if each.metadata["check"]]
    choices = [choice for check in checks for choice in check.choices]
    if choices and all(check.closed for check in checks):
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
