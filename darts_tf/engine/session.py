"""The start of searches and trainings of every kind: a locked work directory, and its reporter."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TextIO, TypeVar

from darts_tf.bilevel.domain import Domain
from darts_tf.cluster.distribution import Distribution
from darts_tf.config import Run
from darts_tf.data.reading import reading
from darts_tf.engine import memory
from darts_tf.engine.callbacks import Callbacks
from darts_tf.engine.loop import Loop, Task
from darts_tf.engine.reporting import Reporter
from darts_tf.passes import graph
from darts_tf.runs.workdir import WorkDir
from darts_tf.system import keras_settings, streams
from darts_tf.system.scratch import scratch
from darts_tf.system.types import Path

Kind = TypeVar("Kind", bound="NetworkTask")


class NetworkTask(Task, Protocol):
    """A task that trains a network: a supernet, or a derived one."""

    @property
    def network(self) -> Any:
        """The network."""


@contextlib.contextmanager
def session(
    config: Run,
    workdir: Path,
    what: str,
    build: Callable[[WorkDir, Reporter], Kind],
    domain: Domain,
    out: TextIO | None = None,
    distribution: Distribution | None = None,
) -> Iterator[tuple[Kind, WorkDir, Reporter]]:
    """Opens a run's work directory for the duration of the run.

    Args:
        config: The settings of the run.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        what: Name of what is built, for the first line.
        build: `(directory, reporter) -> task`.
        domain: Refuses a directory whose run has other data, and describes its own data there.
        out: Stream for progress lines, by default standard output.
        distribution: A `Distribution`. Of several processes only the chief uses the work directory; the others
            have temporary ones and report nothing.

    Yields:
        `(task, directory, reporter)`.

    Raises:
        UserError: The settings describe no valid network, or the directory cannot be used; then nothing has been
            changed. Or memory has run out, or an image can no longer be read, including in the caller's code inside.
    """
    events = config.tensorboard
    out = sys.stdout if out is None else out
    with contextlib.ExitStack() as stack:
        stack.enter_context(keras_settings.standing("float32"))
        stack.enter_context(memory.told(config))
        stack.enter_context(graph.gradients_let_go())
        if distribution is not None and distribution.worker:
            streams.say(f"worker {distribution.worker}: the chief reports and writes the files", out)
            workdir, events = stack.enter_context(scratch()), False
            out = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        directory = stack.enter_context(WorkDir(workdir))
        reporter = stack.enter_context(
            Reporter(directory, sum(domain.epoch_steps), events, out, held_out=domain.held_out)
        )
        with reporter.working(f"building the {what}", f"{what} built"):
            task = build(directory, reporter)
        # Only after the settings are known to be valid, since a directory keeps those with which it was created.
        directory.open_for(config, reporter.message, check=lambda: domain.check(directory.path))
        domain.save(directory.path)
        for line in domain.lines(task.network):
            reporter.message(line)
        stack.enter_context(reading(*domain.splits))
        yield task, directory, reporter


def run(
    task: Task,
    directory: WorkDir,
    config: Run,
    reporter: Reporter,
    distribution: Distribution | None = None,
    callbacks: Callbacks | None = None,
) -> Loop | None:
    """Runs a task's epochs; returns the loop, or None if a signal stopped it, after printing how to resume."""
    loop = Loop(task, directory, config, reporter, distribution, callbacks)
    if loop.run():
        if callbacks and callbacks.stopped:
            reporter.message(f"stopped by a callback after epoch {len(loop.history)} of {config.epochs}")
        return loop
    reporter.message(f"stopped; the same command or call resumes from {directory.checkpoints}")
    return None
