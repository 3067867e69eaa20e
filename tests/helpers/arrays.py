"""Made-up images and weights, how close two results have to be, and what a graph multiplies."""

import numpy as np
import tensorflow as tf

from darts_tf.interop.conv import _operation_slots

TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
CHANNELS = 4


def fill(layer, seed=0):
    """Gives a layer's variables random values; moving variances stay positive."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        value = rng.normal(0, 0.5, variable.shape)
        variable.assign(1 + np.abs(value) if "variance" in variable.name else value + ("gamma" in variable.name))
    return layer


def images(*shape, dtype="float64", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def difference(mine, theirs):
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    assert mine.shape == theirs.shape
    return np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), 1e-12)


def assert_close(mine, theirs, dtype, what=""):
    error = difference(mine, theirs)
    assert error <= TOLERANCE[dtype], f"{what}: {error}"


def of_edge(operation, edge):
    """One edge's arrays under the original's names."""
    prefix = f"{edge}/"
    slots = _operation_slots(operation, [f"{e}/" for e in range(operation.edges)])
    return {s.name.removeprefix(prefix): s.read(s.variable) for s in slots if s.name.startswith(prefix)}


def macs_of_the_graph(network):
    """Counts one image's multiply-adds by what the traced graph does; right where nothing is padded or split."""
    folded = network.folded() if hasattr(network, "folded") else network
    spec = tf.TensorSpec((1, *network.image_shape))
    total = 0
    for op in tf.function(lambda x: folded(x)).get_concrete_function(spec).graph.get_operations():
        if op.type in ("Conv2D", "DepthwiseConv2dNative"):
            kernel, y = op.inputs[1].shape, op.outputs[0].shape
            reduced = tuple(kernel[:2]) == (2, 2)  # a factorized reduction: of four taps one is used by each half
            total += int(np.prod(kernel)) * y[0] * y[1] * y[2] // (4 if reduced else 1)
        elif op.type == "MatMul":
            total += int(np.prod(op.inputs[1].shape))
    return total
