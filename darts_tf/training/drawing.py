"""Drawings of a run's cells, which never stop the run."""

import warnings

from darts_tf import visualize


def draw(genotype, directory, message) -> None:
    """Draws a genotype; a missing Graphviz is told in one line and stops nothing.

    Args:
        genotype: What to draw.
        directory: Where to.
        message: Is told a warning, as a line.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        visualize.draw(genotype, directory)
    for warning in caught:
        message(f"warning: {warning.message}")
