"""Dynamic loss scaling for float16, and undoing steps that overflowed."""

import functools
from collections.abc import Callable, Iterable

import tensorflow as tf

START, SMALLEST = 2.0**15, 1.0
GOOD_STEPS = 2000  # after which the scale is doubled
SKIPPED = "skipped"  # in a step's report: 0, or 1 if it was undone, or `HOPELESS`
HOPELESS = 2  # undone, and no smaller scale can help
GROUP = "loss_scale"  # of a step's variables


class LossScale:
    """The factor of the loss: halved after a step that overflowed, doubled after 2000 that did not.

    Powers of two change no digit. The smallest scale is one: an overflow at that scale is not caused by it.

    Attributes:
        variables: What a checkpoint has to hold.
    """

    def __init__(self):
        self.scale = tf.Variable(START, trainable=False)
        self.good = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.variables = [self.scale, self.good]

    def read(self) -> tf.Tensor:
        """Returns the current scale, a float32 scalar."""
        return tf.convert_to_tensor(self.scale)

    def update(self, finite: tf.Tensor) -> None:
        """Updates the scale after a step; `finite`: whether all of its numbers were finite."""
        scale, good = self.read(), self.good + 1
        grown = good >= GOOD_STEPS
        self.scale.assign(tf.where(finite, tf.where(grown, 2 * scale, scale), tf.maximum(scale / 2, SMALLEST)))
        self.good.assign(tf.where(finite & ~grown, good, tf.zeros_like(good)))


def undone_on_overflow(call: Callable[..., dict]) -> Callable[..., dict]:
    """Decorates a step's `__call__`: if anything is not finite, everything that the step wrote is restored.

    Any overflow ends up in the loss or in a variable. The step has `variables` and `functions`, an
    `architect.SupernetLoss`, and reports a dict of tensors, which are zero if the step was undone; `SKIPPED` is added
    to it. Without a loss scale this changes nothing.
    """

    @functools.wraps(call)
    def guarded(self, *arguments, **named):
        scale = self.functions.precision.loss_scale
        if scale is None:
            return call(self, *arguments, **named)
        written = [v for name, group in self.variables.items() if name != GROUP for v in group]
        before = [tf.convert_to_tensor(v) for v in written]
        report = call(self, *arguments, **named)
        after = [tf.convert_to_tensor(v) for v in written]
        finite = all_finite([*after, *report.values()])
        for variable, old, new in zip(written, before, after, strict=True):
            variable.assign(tf.where(finite, new, old))
        hopeless = scale.read() <= SMALLEST
        scale.update(finite)
        report = {name: tf.where(finite, value, tf.zeros_like(value)) for name, value in report.items()}
        return report | {SKIPPED: tf.where(finite, 0, tf.where(hopeless, HOPELESS, 1))}

    return guarded


def all_finite(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Returns whether every number in tensors of any dtype is finite, a scalar."""
    floats = [t for t in tensors if t.dtype.is_floating]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(t)) for t in floats])


def reported(precision: str) -> list[str]:
    """Returns what a step in a precision reports in addition to the usual: `SKIPPED`, or nothing."""
    return [SKIPPED] if precision == "float16" else []
