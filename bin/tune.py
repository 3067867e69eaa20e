"""Trains genotypes that a search makes probable: `darts-tune --search=runs/digits_search --workdir=runs/tuning`."""

import dataclasses
import sys
from typing import Any

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.bin.train import SETTINGS as TRAINING
from darts_tf.config import TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.config.tuning import ALGORITHMS, IN_FULL, LanguageTuneConfig, Tune, TuneConfig, tuning_of
from darts_tf.system import streams
from darts_tf.system.errors import UserError, some_of

OWN = {field.name: field.default for field in dataclasses.fields(Tune) if field.name != "prior"}
SETTINGS = _flags.Settings[TrainConfig | LanguageTrainConfig](
    TRAINING.default_preset,
    (*TRAINING.kinds, TuneConfig),
    workdir="runs/tune",
    own=Tune,
    defaults={name: default for name, default in OWN.items() if name != "budget_epochs"},
)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines a flag for each field of a training's config, and those of a tuning."""
    SETTINGS.define(flag_values)
    for name in ("genotype", "prior"):  # each trial has its own genotype
        delattr(flag_values, name)
    text = "source of the proposals: a search's work directory, a genotype, or alphas as .npz"
    flags.DEFINE_string("search", None, text, flag_values=flag_values)
    flags.DEFINE_enum(
        "prior", None, ["uniform"], "instead of --search: uniform = propose at random", flag_values=flag_values
    )


def config_from(flag_values: flags.FlagValues) -> TuneConfig | LanguageTuneConfig:
    """Returns the tuning's config: the preset's training or tuning, changed by the flags that were given."""
    _, preset = SETTINGS.chosen(flag_values)
    given = _flags.given(flag_values, ("search", "prior"))
    if len(given) > 1 or (not given and not isinstance(preset, Tune)):
        came = ", ".join(f"--{name}={value}" for name, value in given.items()) or "neither"
        raise flags.IllegalFlagValueError(
            "expected either --search=... (a work directory, a genotype, an .npz file) or --prior=uniform. Received: "
            f"{came}"
        )
    prior = {"prior": next(iter(given.values()))} if given else {}
    own = _flags.given(flag_values, OWN)
    if "primitives" in own and "search" in given:
        raise flags.IllegalFlagValueError(
            "--primitives has no effect with --search, which has its own. Leave it out, or use --prior=uniform. "
            f"Received: --primitives={some_of(own['primitives'])}"
        )
    _refuse_without_effect(own.get("algorithm", getattr(preset, "algorithm", ALGORITHMS[0])), own)
    if isinstance(preset, Tune):
        tuning: Any = SETTINGS.config(flag_values, **prior)
        return tuning
    training = TRAINING.config(flag_values)
    try:
        return tuning_of(training, **prior, **own)
    except UserError as error:
        raise flags.IllegalFlagValueError(f"--{error}") from error


def _refuse_without_effect(algorithm, own):
    """Refuses flags that an algorithm ignores."""
    unused: tuple[str, ...] = ("refine",) if algorithm != "refine" else ()
    unused += ("reduction_factor", "rungs") if algorithm in IN_FULL else ()
    for name in unused:
        if name in own:
            raise flags.IllegalFlagValueError(
                f"--{name} has no effect with --algorithm={algorithm}. Leave it out, or choose another --algorithm. "
                f"Received: --{name}={own[name]}"
            )
    if own.get("budget_epochs") == 0:
        raise flags.IllegalFlagValueError(
            "--budget_epochs must be at least 1, or left out for no limit. Received: --budget_epochs=0"
        )


def tune(flag_values: flags.FlagValues) -> int:
    """Trains genotypes from scratch, the most probable first, and keeps the best on validation data.

    With --search, proposals are those that a search, a genotype or alphas make probable; with --prior=uniform, they
    are random, as a baseline. --algorithm=halving trains all of them for a few epochs and only the best to the end.
    --preset selects images or texts. The same command resumes an interrupted tuning run.
    """
    config = config_from(flag_values)
    _, workdir = SETTINGS.place(flag_values)
    _flags.begin(f"proposals from {config.prior}", workdir, config)
    from darts_tf.tuner import tuning  # here, so that --help is instant

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


main = _main.Command("darts-tune", tune, define_flags, describe=SETTINGS.describe)

if __name__ == "__main__":
    sys.exit(main())
