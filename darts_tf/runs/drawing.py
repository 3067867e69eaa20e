"""Drawings of a run's cells; a failure never stops the run."""

import warnings
from collections.abc import Callable

from darts_tf.genotypes import Genotype
from darts_tf.genotypes import drawing as visualize
from darts_tf.system.types import Path


def draw(genotype: Genotype, directory: Path, message: Callable[[str], None]) -> None:
    """Draws a genotype; failures are reported in one line and stop nothing. For how often see `engine.repeats`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        visualize.draw(genotype, directory)
    for warning in caught:
        message(f"warning: {warning.message}")
