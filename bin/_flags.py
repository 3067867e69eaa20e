"""The command line of a command, generated from the fields of a config; importing this defines nothing."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

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
# Flags that `--help` shows first, in this order; the others follow in the groups of `fields.GROUPS`.
COMMON = ("preset", "workdir", "search", "prior") + named(("genotype",), TrainConfig)
COMMON += named(("algorithm", "trials", "minutes", "budget_epochs"), Tune)
COMMON += named(
    ("dataset", "data_dir", "image_size", "init_channels", "num_cells", "num_units"), TrainConfig, LanguageTrainConfig
)
COMMON += named(("epochs", "batch_size", "learning_rate", "order", "seed"), SearchConfig) + ("help",)
_DEFINE: dict[Any, Callable] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


@dataclasses.dataclass(frozen=True)
class Settings(Generic[Kind]):
    """What a command is configured by: a preset, and a flag for each field. Flags are parsed after `define`.

    Attributes:
        default_preset: The preset's name if `--preset` was not given.
        kinds: The kinds of run, dataclasses whose fields become flags, with help and choices from their metadata; a
            shared field becomes one flag.
        workdir: The default work directory of a preset.
        own: A class whose fields are also flags of the command, although not of every preset.
        defaults: Values of flags for which the preset has none.
    """

    default_preset: str
    kinds: tuple[type[Kind], ...]
    workdir: str = "runs/{}"
    own: type[Config] = Config
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def define(self, flag_values: flags.FlagValues) -> None:
        """Defines `--preset`, `--workdir`, `--unrolled` and one flag per field; a flag that is not given is None."""
        flags.DEFINE_string("preset", None, "settings to start from; see below", flag_values=flag_values)
        flags.DEFINE_string(
            "workdir", None, "directory of the run; an interrupted run in it is resumed", flag_values=flag_values
        )
        fields = fields_of(self.kinds)
        for same in fields.values():
            define_field(same, flag_values)
        if "order" in fields:
            flags.DEFINE_bool(
                "unrolled",
                None,
                "the name of --order in quark0/darts: --unrolled = second, --nounrolled = first",
                flag_values=flag_values,
            )

    def describe(self, flag_values: flags.FlagValues) -> Iterator[_help.Part]:
        """The parts of `--help`: the flags of the chosen preset, with its values, the common ones first.

        Raises:
            UserError: There is no such preset.
        """
        name, config = self.chosen(flag_values)
        values = {"preset": name, "workdir": self.workdir.format(name), "help": None, **self.defaults}
        values |= dataclasses.asdict(config)
        fields = {field.name: field for each in (self.own, config) for field in dataclasses.fields(each)}
        others = fields_of(self.kinds).keys() - fields.keys()
        groups: dict[str, list[_help.Row]] = {group: [] for group in ("common flags", *GROUPS)}
        names = [each for each in flag_values if each not in others and each != flag_values[each].short_name]
        names.sort(key=(*COMMON, *names).index)
        for each in names:
            flag, field = flag_values[each], fields.get(each)
            text = field.metadata["help"] if each in values and field else None
            group = "common flags" if each in COMMON else field.metadata["group"] if field else "method"
            groups[group].append(_help.row(flag, values.get(each, flag.default), text))
        binary = self.own.binary or config.binary
        another = f"{binary} --preset=... --help shows those of another."
        yield f"Values in parentheses are those of the preset {name}; {another}"
        for group, rows in groups.items():
            yield group.capitalize(), rows
            if group == "common flags":
                yield "Presets", [(each, presets.PRESETS[each].about) for each in presets.names(self.kinds)]
        for other in self.kinds:
            if not isinstance(config, other):
                yield f"Flags of {other.title}: {binary} --preset={presets.names(other)[0]} --help"
        resumable = [f"--{each}" for each in names if each in fields and fields[each].metadata["resumable"]]
        yield f"An interrupted run is resumed with the same settings; only these may differ: {', '.join(resumable)}."

    def config(self, flag_values: flags.FlagValues, **own: Any) -> Kind:
        """The preset's config, changed by the flags on the command line.

        Args:
            flag_values: A field whose flag was removed keeps the preset's value.
            **own: Fields from other sources.

        Raises:
            UserError: There is no such preset.
            flags.IllegalFlagValueError: The config has no such field or refuses a flag's value, or `--order` and
                `--unrolled` disagree.
        """
        name, config = self.chosen(flag_values)
        known = {field.name for field in dataclasses.fields(config)}
        for other in fields_of(self.kinds):
            if other not in known and flag_values[other].value is not None:
                raise flags.IllegalFlagValueError(
                    f"--{other} is not a flag of {config.title}, which is what the preset {name} configures. Leave "
                    "it out, or choose another --preset"
                )
        changes = given(flag_values, known - own.keys())
        if "unrolled" in flag_values and (unrolled := flag_values["unrolled"].value) is not None:
            order = "second" if unrolled else "first"
            if changes.setdefault("order", order) != order:
                raise flags.IllegalFlagValueError(
                    f"--{'' if unrolled else 'no'}unrolled means --order={order}. Received: "
                    f"--order={changes['order']} as well; give only one of them"
                )
        try:
            return config.replace(**changes, **own)
        except UserError as error:
            raise flags.IllegalFlagValueError(f"--{error}") from error

    def start(self, flag_values: flags.FlagValues) -> tuple[Kind, str]:
        """Reads the command line of a run, prints the first line, and sets up TensorFlow.

        Returns:
            `(config, work directory)`.

        Raises:
            UserError, flags.IllegalFlagValueError: See `config` and `place`.
        """
        config: Any = self.config(flag_values)
        preset, workdir = self.place(flag_values)
        begin(f"preset {preset}", workdir, config)
        return config, workdir

    def place(self, flag_values: flags.FlagValues) -> tuple[str, str]:
        """The preset's name, and the work directory.

        Raises:
            UserError: There is no such preset, or the directory is not a path on this machine.
        """
        (preset, _), workdir = self.chosen(flag_values), flag_values["workdir"].value
        return preset, self.workdir.format(preset) if workdir is None else str(user_path(workdir, "The work directory"))

    def chosen(self, flag_values: flags.FlagValues) -> tuple[str, Kind]:
        """The preset's name, and its config; raises UserError if there is none."""
        name = flag_values["preset"].value
        name = self.default_preset if name is None else name
        config: Any = presets.get(name, self.kinds).config
        return name, config


def fields_of(kinds: Iterable[type[Config]]) -> dict[str, list[dataclasses.Field]]:
    """The fields of several configs by name: those of one name become one flag."""
    fields: dict[str, list[dataclasses.Field]] = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):
            fields.setdefault(field.name, []).append(field)
    return fields


def define_field(same: Sequence[dataclasses.Field], flag_values: flags.FlagValues) -> None:
    """Defines one flag for the fields of one name, by their type, with the choices of all."""
    name, help_text = same[0].name, same[0].metadata["help"]
    checks = [each.metadata["check"] for each in same if each.metadata["check"]]
    choices = [choice for check in checks for choice in check.choices]
    if choices and all(check.closed for check in checks):
        flags.DEFINE_enum(name, None, list(dict.fromkeys(choices)), help_text, flag_values=flag_values)
    else:
        _DEFINE[same[0].type](name, None, help_text, flag_values=flag_values)


def given(flag_values: flags.FlagValues, names: Iterable[str]) -> dict[str, Any]:
    """The values of those flags, of some that may have been defined, that were given; a list is a tuple, as a field."""
    values = {name: flag_values[name].value for name in names if name in flag_values}
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if value is not None
    }


def begin(about: str, workdir: str, config: Run) -> None:
    """Prints the first line of a run, and sets up TensorFlow."""
    streams.out(f"{config.binary}: {about}, work directory {workdir}; loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help is instant

    if config.strategy == "multi_worker":
        worker, addresses = runtime.cluster()
        streams.out(f"{config.binary}: worker {worker} of {len(addresses)}; start all of them")
    runtime.configure(config.threads, config.jit_compile, config.strategy, config.replicas)


def keeps_files(config: Run) -> bool:
    """Whether this process writes the run's work directory: in a cluster only the chief does."""
    from darts_tf.system import runtime

    return config.strategy != "multi_worker" or runtime.cluster()[0] == 0
