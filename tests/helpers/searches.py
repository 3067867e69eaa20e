"""Searches on images in this process, as the smoke preset has them, of half of its operations."""

from darts_tf.config import presets
from darts_tf.tasks.search import search
from tests.helpers.runs import Console
from tests.helpers.steps import FEW

SMOKE = presets.get("smoke").config.replace(primitives=FEW)


def run(workdir, console=None, **changes):
    """Searches in this process; returns `(genotype or None, what was printed)`."""
    console = console or Console()
    return search(SMOKE.replace(**changes), workdir, out=console), console.getvalue()
