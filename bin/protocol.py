"""Searches, selects and evaluates as the paper does: `darts-protocol --preset=digits_protocol --workdir=runs/all`."""

import sys
from typing import Any

from absl import flags

from darts_tf.bin import _flags, _main
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.config.protocol import ComparisonConfig, ProtocolConfig
from darts_tf.system import runtime, streams
from darts_tf.system.types import Path

RUNS = (SearchConfig, TrainConfig, LanguageSearchConfig, LanguageTrainConfig)
SETTINGS = _flags.Settings("digits_protocol", (ProtocolConfig, ComparisonConfig))


def protocol(flag_values: flags.FlagValues) -> int:
    """Runs the whole experiment around a search, and random search at equal cost; prints a table.

    It searches with several seeds, trains each cell briefly, selects one on validation data, and trains that one in
    full several times; then it does the same with random cells at equal cost. A comparison searches with several
    methods in NAS-Bench-201, where the accuracy of every cell is known. The same command resumes an interrupted run.
    """
    config: Any = SETTINGS.config(flag_values)
    preset, workdir = SETTINGS.place(flag_values)
    streams.out(f"darts-protocol: preset {preset}, work directory {workdir}")
    if isinstance(config, ComparisonConfig):
        return _compare(config, workdir)
    from darts_tf.protocol import protocol as library  # here, so that --help is instant
    from darts_tf.protocol import results

    result = library.run(config, workdir, streams.out)
    if result is None:
        streams.out("stopped; the same command resumes the protocol")
        return 130
    streams.out(results.table(result))
    for method, arm in (("search", result["searches"]), ("random", result["random"])):
        streams.out(f"selected of {results.CELLS[method]}: {workdir}/{arm[result['selected'][method]]['workdir']}")
    streams.out(f"figures: {workdir}/protocol.json  page: {workdir}/report.html")
    return 0


def _compare(config: ComparisonConfig, workdir: Path) -> int:
    runtime.configure(config.threads)  # a few steps are timed in this process
    from darts_tf.protocol import comparison

    result = comparison.run(config, workdir, streams.out)
    if result is None:
        streams.out("stopped; the same command resumes the comparison")
        return 130
    streams.out(comparison.table(result))
    streams.out(f"figures: {workdir}/comparison.json  page: {workdir}/report.html")
    return 0


def _elsewhere(name):
    """A protocol takes settings of its runs as overrides."""
    return f"a setting of the runs: --overrides={name}=..." if name in _flags.fields_of(RUNS) else None


main = _main.Command("darts-protocol", protocol, SETTINGS.define, elsewhere=_elsewhere, describe=SETTINGS.describe)

if __name__ == "__main__":
    sys.exit(main())
