"""Trains genotypes that a search makes probable: `darts-tune --search=runs/digits_search --workdir=runs/tuning`."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.bin.train import CONFIGS, DEFAULT_PRESET
from darts_tf.config.tuning import LanguageTuneConfig, Tune, TuneConfig, tuning_of
from darts_tf.system import streams
from darts_tf.system.errors import UserError

OWN: dict[str, Callable] = {"trials": flags.DEFINE_integer, "minutes": flags.DEFINE_float}
OWN |= {"temperature": flags.DEFINE_float, "refine": flags.DEFINE_float}
describe = functools.partial(
    _flags.describe, default_preset=DEFAULT_PRESET, config_classes=CONFIGS, own=Tune, workdir="runs/tune"
)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines a flag for each field of a training's config, and those of a tuning."""
    _flags.define(flag_values, CONFIGS)
    delattr(flag_values, "genotype")  # each trial has its own
    text = "source of the proposals: a search's work directory, a genotype, or alphas as .npz"
    flags.DEFINE_string("search", None, text, flag_values=flag_values)
    flags.DEFINE_enum(
        "prior", None, ["uniform"], "instead of --search: uniform = propose at random", flag_values=flag_values
    )
    fields = {field.name: field for field in dataclasses.fields(Tune)}
    for name, define in OWN.items():
        define(name, fields[name].default, fields[name].metadata["help"], flag_values=flag_values)


def config_from(flag_values: flags.FlagValues) -> TuneConfig | LanguageTuneConfig:
    """Returns the tuning's config: the preset's training, changed by the flags that were given."""
    given = {name: flag_values[name].value for name in ("search", "prior") if flag_values[name].value is not None}
    if len(given) != 1:
        came = ", ".join(f"--{name}={value}" for name, value in given.items()) or "neither"
        raise flags.IllegalFlagValueError(
            f"expected one of --search=... (a work directory, a genotype, an .npz file) and --prior=uniform, got {came}"
        )
    training = _flags.config_from(flag_values, DEFAULT_PRESET, CONFIGS)
    try:
        return tuning_of(training, prior=next(iter(given.values())), **{name: flag_values[name].value for name in OWN})
    except UserError as error:
        raise flags.IllegalFlagValueError(f"--{error}") from error


def tune(flag_values: flags.FlagValues) -> int:
    """Trains genotypes from scratch, the most probable first, and keeps the best on validation data.

    With --search it proposes what a search, a genotype or alphas make probable; with --prior=uniform at random, the
    baseline. --preset says whether images or texts are trained on. The same command resumes an interrupted tuning.
    """
    config = config_from(flag_values)
    workdir = _flags.directory(flag_values, "runs/tune")
    _flags.begin("darts-tune", f"proposals from {config.prior}", workdir, config)
    from darts_tf.tuner import tuning  # here, so that --help waits for nothing

    summary = tuning.tune(config, workdir)
    if summary is None:
        return 130
    streams.out(tuning.table(summary))
    if summary["best"] is None:
        return 1
    streams.out(
        f"best genotype: {workdir}/genotype.json  its network: {workdir}/{summary['best']['workdir']}/best.keras"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    return _main.run("darts-tune", tune, define_flags, argv, describe=describe)


if __name__ == "__main__":
    sys.exit(main())
