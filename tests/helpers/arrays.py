"""Made-up images and weights, and how close two results have to be."""

import numpy as np

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
