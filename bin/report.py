"""Writes a page about runs: `darts-report runs/digits_search runs/digits_train --output=report.html`."""

import sys

from absl import flags

from darts_tf.bin import _main
from darts_tf.genotypes import benchmark
from darts_tf.system import streams


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this command on `flag_values`."""
    flags.DEFINE_multi_string(
        "workdir",
        [],
        "work directory of a search, training run, tuning run or protocol, finished or not; may be given without the "
        "flag",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "nasbench201",
        None,
        benchmark.DATASETS,
        "for searches in NAS-Bench-201, plot the true test accuracy of each epoch's genotype: "
        + ", ".join(benchmark.DATASETS),
        flag_values=flag_values,
    )
    flags.DEFINE_string("output", "report.html", "HTML file to write; it is self-contained", flag_values=flag_values)


def report(flag_values: flags.FlagValues) -> None:
    """Writes one self-contained HTML page about one or more runs: tables, curves, mixing weights, every genotype."""
    from darts_tf.report import write_report  # here, so that --help is instant

    streams.out(str(write_report(flag_values.workdir, flag_values.output, flag_values.nasbench201 or "")))


main = _main.Command("darts-report", report, define_flags, positional="workdir")

if __name__ == "__main__":
    sys.exit(main())
