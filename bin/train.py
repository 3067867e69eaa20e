"""Trains a derived network: `darts-train --preset=digits_train --genotype=runs/digits_search`."""

import functools
import itertools
import sys
from collections.abc import Sequence

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.config import TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.runs import scores
from darts_tf.system import streams

CONFIGS: tuple[type[TrainConfig | LanguageTrainConfig], ...] = (TrainConfig, LanguageTrainConfig)
DEFAULT_PRESET = "digits_train"
describe = functools.partial(_flags.describe, default_preset=DEFAULT_PRESET, config_classes=CONFIGS)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines a flag for each field of a training's config."""
    _flags.define(flag_values, CONFIGS)


def train(flag_values: flags.FlagValues) -> int:
    """Builds the network of a genotype, trains it from scratch and prints its accuracy or perplexity.

    Without flags it trains the paper's cell on handwritten digits, which need no download.
    """
    config, workdir = _flags.start("darts-train", flag_values, DEFAULT_PRESET, CONFIGS)
    from darts_tf.tasks import train as task  # here, so that --help is instant

    summary = task.train(config, workdir)
    if summary is None:
        return 130
    for metric, which in itertools.product((summary["metric"], "bits_per_character"), ("valid", "test")):
        if (value := summary.get(f"{which}_{metric}")) is not None:
            what = f"{'validation' if which == 'valid' else which} {metric.replace('_', ' ')}"
            streams.out(f"{what} {scores.shown(value, metric)} ({summary['recommended_weights']} weights)")
    if _flags.keeps_files(config):
        streams.out(f"networks: {workdir}/best.keras, {workdir}/last.keras  figures: {workdir}/summary.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    return _main.run("darts-train", train, define_flags, argv, describe=describe)


if __name__ == "__main__":
    sys.exit(main())
