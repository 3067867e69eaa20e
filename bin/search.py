"""Searches for a cell: `darts-search --preset=digits_search --workdir=runs/digits`."""

import functools
import sys
from collections.abc import Sequence

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.system import streams

CONFIGS = (SearchConfig, LanguageSearchConfig)
DEFAULT_PRESET = "digits_search"
describe = functools.partial(_flags.describe, default_preset=DEFAULT_PRESET, config_classes=CONFIGS)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines a flag for each field of a search's config."""
    _flags.define(flag_values, CONFIGS)


def search(flag_values: flags.FlagValues) -> int:
    """Searches for a cell by gradient descent on the architecture and prints its genotype.

    Without flags it searches on handwritten digits, which need no download.
    """
    config, workdir = _flags.start("darts-search", flag_values, DEFAULT_PRESET, CONFIGS)
    from darts_tf.tasks import search as task  # here, so that --help is instant

    genotype = task.search(config, workdir)
    if genotype is None:
        return 130
    streams.out(genotype.to_text())
    if _flags.keeps_files(config):
        streams.out(f"genotype: {workdir}/genotype.json  drawings: {workdir}/plots")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    return _main.run("darts-search", search, define_flags, argv, describe=describe)


if __name__ == "__main__":
    sys.exit(main())
