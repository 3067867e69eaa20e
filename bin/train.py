"""Trains a derived network: `darts-train --preset=digits_train --genotype=runs/digits_search`."""

import itertools
import sys

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.config import TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.runs import scores
from darts_tf.system import streams

SETTINGS = _flags.Settings[TrainConfig | LanguageTrainConfig]("digits_train", (TrainConfig, LanguageTrainConfig))


def train(flag_values: flags.FlagValues) -> int:
    """Builds the network of a genotype, trains it from scratch and prints its accuracy or perplexity.

    Without flags it trains the paper's cell on handwritten digits, which need no download.
    """
    config, workdir = SETTINGS.start(flag_values)
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


main = _main.Command("darts-train", train, SETTINGS.define, describe=SETTINGS.describe)

if __name__ == "__main__":
    sys.exit(main())
