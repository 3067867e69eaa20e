"""Gradient checkpointing: the backward pass recomputes parts of a network instead of keeping their tensors."""

from collections.abc import Callable

import tensorflow as tf

from darts_tf.passes.context import now

GRAPH, XLA = "graph", "xla"  # the latter if XLA compiles the pass


def recomputed(function: Callable) -> Callable:
    """Returns a function whose backward pass keeps only its arguments and calls it again, if the pass recomputes.

    The backward pass is recomputed in the same way when it is itself differentiated, and so on: exact Hessian-vector
    products save memory, too. Gradients are those of the function, to the last operation.

    Args:
        function: `(*tensors) -> tensors`, all floating point. Everything that it depends on and that may need a
            gradient must be an argument. It must be deterministic in its arguments, since it runs more than once.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174. `tf.recompute_grad` has no
    second derivative.
    """
    return function if now().recompute is None else _recomputed(function, now().recompute)


def _recomputed(function, mode):
    @tf.custom_gradient
    def call(*tensors):
        count = len(tensors)

        def backward(*both):
            inputs = both[:count]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inputs)
                outputs = function(*inputs)
            return tape.gradient(outputs, inputs, both[count:], unconnected_gradients=tf.UnconnectedGradients.ZERO)

        def gradient(*upstream):
            return _recomputed(backward, mode)(*_after(upstream, tensors, mode), *upstream)

        return function(*tensors), gradient

    return call


def _after(others, tensors, mode):
    """Returns tensors after others are known; otherwise the second computation would be merged with the first."""
    if mode == GRAPH:
        with tf.control_dependencies(others):
            return [tf.identity(tensor) for tensor in tensors]
    # XLA has no control dependencies, but keeps computations that are zero for finite numbers only.
    zeros = [0 * tf.reshape(other, (-1,))[0] for other in others]
    return [tensor + tf.stop_gradient(sum(tf.cast(zero, tensor.dtype) for zero in zeros)) for tensor in tensors]
