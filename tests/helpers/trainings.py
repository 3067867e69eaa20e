"""Trainings on images in this process, as the smoke preset has them, of a smaller cell."""

from darts_tf.config import presets
from darts_tf.genotypes import ConvGenotype
from darts_tf.tasks.train import train
from tests.helpers.runs import Console

_CELL = [("sep_conv_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 2), ("max_pool_3x3", 0)]
CELL = ConvGenotype(_CELL, (2, 3), _CELL, (2, 3))
SMOKE = presets.get("smoke_train").config.replace(genotype=CELL.to_text())


def run(workdir, console=None, **changes):
    """Trains in this process; returns `(summary or None, what was printed)`."""
    console = console or Console()
    return train(SMOKE.replace(**changes), workdir, out=console), console.getvalue()
