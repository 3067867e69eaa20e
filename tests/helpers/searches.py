"""Searches on images in this process, as the smoke preset has them."""

from darts_tf.config import presets
from darts_tf.tasks.search import search
from tests.helpers.runs import Console

SMOKE = presets.get("smoke").config


def run(workdir, console=None, **changes):
    """Searches in this process; returns `(genotype or None, what was printed)`."""
    console = console or Console()
    return search(SMOKE.replace(**changes), workdir, out=console), console.getvalue()
