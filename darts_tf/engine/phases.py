"""The in-graph loops of steps that a task runs, one for each kind of step, built on first use."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.cluster.distribution import Distribution
from darts_tf.config import Run
from darts_tf.engine import memory
from darts_tf.engine.reporting import Reporter
from darts_tf.passes.loss_scale import reported


class Phases:
    """Runs steps, many at a time.

    Args:
        config: A `config.Run`.
        reporter: A `Reporter`.
        variables: Everything that a step writes, by name.
        length: Length of the longest text window, see `memory.estimate`; 1 for images.
        distribution: See `step.loss_of`.
    """

    def __init__(
        self,
        config: Run,
        reporter: Reporter,
        variables: dict[str, list],
        length: int = 1,
        distribution: Distribution | None = None,
    ):
        self.config, self.reporter, self.variables = config, reporter, variables
        self.length, self.distribution = length, distribution
        self._loops: dict[Hashable, tf.types.experimental.PolymorphicFunction] = {}

    def run(
        self, phase: Hashable, step: Callable, names: list[str], iterators: list, count: int, now: Any
    ) -> dict[str, np.ndarray]:
        """Takes `count` steps.

        Args:
            phase: Name of the kind of step, whose loop is built once.
            step: See `steps_in_graph`.
            names: Which numbers to return, in addition to those of a loss scale.
            iterators: Iterators over the step's inputs.
            count: Number of steps.
            now: Further arguments of the step, a structure of tensors.
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


def steps_in_graph(
    step: Callable[..., dict], names: Sequence[str], jit_compile: bool = False
) -> tf.types.experimental.PolymorphicFunction:
    """Returns a traced function that takes many steps without returning to Python.

    Args:
        step: `(*batches, rate) -> dict` of scalars.
        names: Which of them to return.
        jit_compile: Whether XLA compiles a step.

    Returns:
        `(iterators, count, rate) -> {name: (count,)}`; count and rate (or other values that hold for an epoch, as a
        structure of tensors) are tensors, so nothing is retraced.
    """
    if jit_compile:
        step = tf.function(step, autograph=False, jit_compile=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def run(iterators, count, rate):
        def body(index, arrays):
            report = step(*[next(iterator) for iterator in iterators], rate)
            values = [tf.cast(report[name], tf.float32) for name in names]
            return index + 1, tuple(a.write(index, v) for a, v in zip(arrays, values, strict=True))

        arrays = tuple(tf.TensorArray(tf.float32, size=count, element_shape=()) for _ in names)
        _, arrays = tf.while_loop(lambda index, _: index < count, body, (tf.constant(0), arrays), parallel_iterations=1)
        return {name: array.stack() for name, array in zip(names, arrays, strict=True)}

    return run
