"""Searches for a cell: `darts-search --preset=digits_search --workdir=runs/digits_search`."""

import sys

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.system import streams

SETTINGS = _flags.Settings("digits_search", (SearchConfig, LanguageSearchConfig))


def search(flag_values: flags.FlagValues) -> int:
    """Searches for a cell by gradient descent on the architecture and prints its genotype.

    Without flags it searches on handwritten digits, which need no download.
    """
    config, workdir = SETTINGS.start(flag_values)
    from darts_tf.tasks import search as task  # here, so that --help is instant

    genotype = task.search(config, workdir)
    if genotype is None:
        return 130
    streams.out(genotype.to_text())
    if _flags.keeps_files(config):
        streams.out(f"genotype: {workdir}/genotype.json  drawings: {workdir}/plots")
    return 0


main = _main.Command("darts-search", search, SETTINGS.define, describe=SETTINGS.describe)

if __name__ == "__main__":
    sys.exit(main())
