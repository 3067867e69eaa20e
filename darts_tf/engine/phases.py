"""The loops of steps in the graph that a task runs, one for each kind of step, built when first used."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.engine import memory
from darts_tf.engine.loop import steps_in_graph
from darts_tf.passes.loss_scale import reported


class Phases:
    """Runs steps, many at a time.

    Args:
        config: A `config.Run`.
        reporter: A `Reporter`.
        variables: Everything that a step writes, by name.
        length: Of the longest window of a text, see `memory.estimate`; 1 for images.
        distribution: See `step.loss_of`.
    """

    def __init__(self, config, reporter, variables: dict[str, list], length: int = 1, distribution=None):
        self.config, self.reporter, self.variables = config, reporter, variables
        self.length, self.distribution, self._loops = length, distribution, {}

    def run(
        self, phase: Hashable, step: Callable, names: list[str], iterators: list, count: int, now: Any
    ) -> dict[str, np.ndarray]:
        """Takes `count` steps.

        Args:
            phase: Names the kind of step, whose loop is built once.
            step: See `loop.steps_in_graph`.
            names: Which numbers to return, next to those of a loss scale.
            iterators: Over what the step takes.
            count: How many.
            now: What else the step takes, a structure of tensors.
        """
        if phase not in self._loops:
            names = [*names, *reported(self.config.precision)]
            loop = steps_in_graph(step, names, self.config.jit_compile)
            with self.reporter.working("building the graph", "graph built"):
                built = loop.get_concrete_function(iterators, tf.constant(1), now)
            memory.tell(
                self.reporter.message,
                built,
                self.variables,
                self.config,
                self.length,
                distribution=self.distribution,
            )
            self._loops[phase] = loop
        report = self._loops[phase](iterators, tf.constant(count), now)
        return {name: value.numpy() for name, value in report.items()}
