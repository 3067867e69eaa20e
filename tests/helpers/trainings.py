"""Trainings on images in this process, as the smoke preset has them."""

from darts_tf.config import presets
from darts_tf.tasks.train import train
from tests.helpers.runs import Console

SMOKE = presets.get("smoke_train").config


def run(workdir, console=None, **changes):
    """Trains in this process; returns `(summary or None, what was printed)`."""
    console = console or Console()
    return train(SMOKE.replace(**changes), workdir, out=console), console.getvalue()
