"""Draws a genotype: `darts-visualize DARTS_V2 --output_dir=plots`."""

import sys
import warnings

from absl import flags

from darts_tf.bin import _main
from darts_tf.system import streams


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this command on `flag_values`."""
    flags.DEFINE_string(
        "genotype",
        None,
        "published name such as DARTS_V2, file with the JSON or the text form, a search's work directory, or the text; "
        "may be given without the flag",
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "kind",
        None,
        ["conv", "recurrent", "nasbench201"],
        "accept only conv, recurrent or nasbench201; conv or recurrent also resolves names that exist as both",
        flag_values=flag_values,
    )
    flags.DEFINE_string("output_dir", ".", "folder for the drawings; created if missing", flag_values=flag_values)
    flags.DEFINE_list(
        "formats",
        ["svg", "png"],
        "svg, png, pdf (needs dot), comma separated; the Graphviz source is also written",
        flag_values=flag_values,
    )


def draw(flag_values: flags.FlagValues) -> None:
    """Draws the cells of a genotype: normal.svg and reduction.svg, or recurrent.svg, or nasbench201.svg.

    It also writes their Graphviz source.
    """
    from darts_tf import genotypes as genotype
    from darts_tf.genotypes import drawing as visualize  # here, so that --help is instant

    if flag_values.genotype is None:
        known = ", ".join(genotype.names(flag_values.kind))
        raise genotype.UserError(f"no genotype given; expected a file, a text or one of {known}")
    found = genotype.load(flag_values.genotype, flag_values.kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        written = visualize.draw(found, flag_values.output_dir, filter(None, flag_values.formats))
    for warning in caught:
        streams.err(f"darts-visualize: warning: {warning.message}")
    streams.out("\n".join(str(path) for path in written))


main = _main.Command("darts-visualize", draw, define_flags, positional="genotype")

if __name__ == "__main__":
    sys.exit(main())
