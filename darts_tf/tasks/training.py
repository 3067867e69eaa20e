"""The training that a method requests between its judgements of the supernet: in pieces, each saved when it is done."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from darts_tf.engine.loop import Diverged
from darts_tf.engine.state import restore, snapshot
from darts_tf.runs.checkpoint import Checkpoints

CHUNK = 10  # steps between two checks for signals


class Training:
    """Trains weights and alphas by Algorithm 1, like the last epoch of the search except for the learning rate.

    Its epochs follow those of the search: a piece begins where the previous one left the data streams, and ends with a
    checkpoint. An interrupted search resumes from the last checkpoint, bit for bit.

    Args:
        task: A `search.SearchTask` whose search is complete.
    """

    def __init__(self, task: Any):
        self.task, self.folder = task, task.workdir.path / "tuning"
        self.done = 0

    @functools.cached_property
    def _checkpoints(self):  # the first use creates the folder
        return Checkpoints(self.folder, self.task.config.keep_checkpoints, self.task.reporter.message)

    def resume(self, judged: int) -> None:
        """Restores the newest checkpoint, unless judgements that led to it are lost.

        Args:
            judged: How many judgements are known.
        """
        found = self._checkpoints.restore() if self.folder.is_dir() else None
        if found is not None and found.metadata["judged"] <= judged:
            restore(self.task.variables, found.arrays)
            self.done = found.step

    def run(self, number: int, rates: Sequence[float], judged: int, tell: Callable[[str], None]) -> None:
        """Trains, unless this piece is already done.

        Args:
            number: Number of the piece, from 0; all have as many epochs.
            rates: Learning rate of each of its epochs.
            judged: How many judgements came before it.
            tell: Called with the progress of the training, after every few steps.

        Raises:
            Diverged: The loss is not finite.
        """
        if number < self.done:
            return
        task, count = self.task, self.task.domain.steps_in
        if number == 0:
            for variable in task.step.weight_optimizer.buffers:
                variable.assign(np.zeros(variable.shape))
        begin = task.config.epochs + number * len(rates)
        task.start(sum(map(count, range(begin))))
        for epoch, rate in enumerate(rates, begin):
            steps = count(epoch)
            for first in range(0, steps, CHUNK):
                losses = task.steps(epoch, min(CHUNK, steps - first), rate)["loss"]
                if not math.isfinite(sum(losses)):
                    raise Diverged(
                        "The loss is not finite in the training between decisions. Expected a number; the weights "
                        f"have diverged. Use a lower learning rate in a new work directory. Received: {rate}."
                    )
                tell(f"tuning the supernet: after decision {number + 1}, epoch {epoch - begin + 1} of {len(rates)}")
        self._checkpoints.save(number + 1, snapshot(task.variables), {"judged": judged})
        self.done = number + 1
