"""What searches and trainings of every kind begin with: a work directory that is locked, and its reporter."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from darts_tf.training.loop import Loop
from darts_tf.training.reporting import Reporter
from darts_tf.workdir import WorkDir


@contextlib.contextmanager
def session(
    config, workdir, total: int, what: str, build: Callable, held_out: str, out=None, tensorboard: bool | None = None
) -> Iterator[tuple]:
    """Opens a run's work directory for as long as the run lasts.

    Args:
        config: Of the run.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        total: Steps of the whole run.
        what: What is built, as the first line calls it.
        build: `(directory, reporter) -> task`.
        held_out: See `Reporter`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Yields:
        `(task, directory, reporter)`.

    Raises:
        UserError: The settings make no network, or the directory cannot be used; nothing has been changed then.
    """
    events = config.tensorboard if tensorboard is None else tensorboard
    out = out or sys.stdout
    with WorkDir(workdir) as directory, Reporter(directory, total, events, out, held_out=held_out) as reporter:
        with reporter.working(f"building the {what}", f"{what} built"):
            task = build(directory, reporter)
        # Only now that the settings are known to make a network: a directory keeps those it was made with.
        for change in directory.open_for(config):
            reporter.message(f"changed since the last start: {change}")
        yield task, directory, reporter


def run(task, directory, config, reporter) -> Loop | None:
    """Runs a task's epochs; returns the loop, or None when it was told to stop, and says how to go on."""
    loop = Loop(task, directory, config, reporter)
    if loop.run():
        return loop
    reporter.message(f"stopped; the same command goes on from {directory.checkpoints}")
    return None
