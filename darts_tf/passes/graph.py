"""Constants created once per graph, which would otherwise be half of a supernet's nodes; release of graphs."""

import contextlib
import functools
import operator
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops as tf_ops

_made: weakref.WeakKeyDictionary[tf.Graph, dict[Hashable, str]] = weakref.WeakKeyDictionary()  # names of tensors


def _once(key, make):
    if tf.executing_eagerly():
        return make()
    graph = tf.compat.v1.get_default_graph()
    made = _made.setdefault(graph, {})
    if key in made:
        return graph.get_tensor_by_name(made[key])
    with tf.control_dependencies(None):
        tensor = make()
    made[key] = tensor.name  # the tensor itself would keep its graph alive
    return tensor


@contextlib.contextmanager
def gradients_let_go() -> Iterator[None]:
    """A context that unregisters, on exit, the gradient functions that `tf.custom_gradient` has registered in it.

    TensorFlow registers one for each call in a graph, under a unique name, and never removes it; each keeps its whole
    graph alive. Without this, a process would hold the graphs of every search that it has run.
    """
    registry = getattr(getattr(tf_ops, "gradient_registry", None), "_registry", {})  # not part of the public interface
    before = set(registry)
    try:
        yield
    finally:
        for name in [name for name in registry if name.startswith("CustomGradient-") and name not in before]:
            registry.pop(name, None)


def constant(value: float, shape: Iterable[int], dtype: tf.DType) -> tf.Tensor:
    """Returns a tensor filled with `value`."""
    return _once((value, tuple(shape), dtype), lambda: tf.constant(value, dtype, shape))


def array(values: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """Returns the tensor of a small NumPy array."""
    return _once((values.tobytes(), values.shape, dtype), lambda: tf.constant(values, dtype))


def integers(values: Sequence) -> tf.Tensor:
    """Returns an int32 tensor of nested Python integers: shapes, paddings, indices."""
    return _once(repr(values), lambda: tf.constant(values, tf.int32))


def reshape(x: tf.Tensor, *shape: int) -> tf.Tensor:
    """Reshapes to Python integers, of which one may be -1."""
    return tf.reshape(x, integers(shape))


def total(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Returns the sum, in the order of the tensors.

    `tf.add_n`, like the tape when a tensor has three or more readers, begins with whichever tensor's memory is free at
    that time, so the last bits differ from run to run.
    """
    return functools.reduce(operator.add, tensors)


def reader(x: tf.Tensor) -> Callable[[], tf.Tensor]:
    """Returns a function that returns a tensor again; the readers' gradients are added two at a time, see `total`."""

    def read():
        nonlocal x
        mine, x = tf.identity(x), tf.identity(x)
        return mine

    return read
