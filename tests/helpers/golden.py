"""How our numbers are compared with those calculated with the original code."""

import functools
import json

import numpy as np
import tensorflow as tf

from darts_tf.interop.conv import to_arrays

# Quantity -> relative tolerance in float64 and in float32: the table of the golden folder's README.
TOLERANCES = {
    "output": (1e-10, 1e-5),
    "loss": (1e-10, 2e-6),
    "loss along the iterations": (1e-9, 1e-5),
    "weight gradients together": (1e-6, 2e-5),
    "weight gradient": (1e-6, 1e-4),
    "alpha gradient": (1e-9, 5e-5),
    "alpha gradient at w'": (1e-9, 5e-4),  # of the same pass as the vector; PyTorch's own float32 is 8e-5 away
    "alpha gradient at shifted weights": (1e-9, 3e-3),  # "right to a few 1e-3", which tells a jump from an error
    "statistics": (1e-10, 1e-5),
    "unrolled weights": (1e-6, 1e-6),
    "vector": (1e-6, 5e-4),
    "norm": (1e-9, 1e-4),
    "implicit_exact": (1e-8, 5e-4),
    "implicit_fd": (1e-8, 2e-3),
    "dalpha_final": (1e-8, 1e-3),
    "alphas, absolute": (1e-9, 1e-5),
    "weights after steps": (1e-9, 1e-5),
    "weights after steps, stored as float32": (1e-6, 1e-5),
    "optimiser": (1e-10, 1e-5),
}
JUMP = 0.2  # the largest relative error of a finite difference in float32 that a switching point may explain
WORST = {}


def norm(array):
    return float(np.linalg.norm(np.asarray(array, np.float64)))


class Comparison:
    """Collects deviations, so that one failure does not hide the others."""

    def __init__(self, dtype):
        self.dtype, self.problems = dtype, []

    def check(self, what, quantity, mine, theirs, floor=1e-9):
        """Compares; an array whose norm is below `floor` is measured against that."""
        mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
        assert mine.shape == theirs.shape, f"{what}: {mine.shape} instead of {theirs.shape}"
        if quantity == "alphas, absolute":
            error = float(np.abs(mine - theirs).max())
        else:
            error = norm(mine - theirs) / max(norm(theirs), floor)
        WORST[quantity, self.dtype] = max(WORST.get((quantity, self.dtype), (0.0, "")), (error, what))
        tolerance = TOLERANCES[quantity][self.dtype == "float32"]
        if not error <= tolerance:
            self.problems.append(f"{what} ({quantity}): {error:.2e} above {tolerance:.0e}")
        return error

    def group(self, what, mine, theirs, share=1e-3):
        """Compares weight gradients under equal names: together, and one by one.

        An array whose norm is below that share of the typical one is measured against that.
        """
        assert mine.keys() == theirs.keys(), sorted(mine.keys() ^ theirs.keys())
        if not mine:
            return
        everything = [np.concatenate([np.ravel(g[name]) for name in theirs]) for g in (mine, theirs)]
        self.check(what, "weight gradients together", *everything)
        floor = share * norm(everything[1]) / len(theirs) ** 0.5
        for name in theirs:
            self.check(f"{what}/{name}", "weight gradient", mine[name], theirs[name], floor)

    def statistics(self, what, mine, theirs):
        assert mine.keys() == theirs.keys(), sorted(mine.keys() ^ theirs.keys())
        for name in theirs:
            self.check(f"{what}/{name}", "statistics", mine[name], theirs[name], 1e-3)

    def done(self):
        assert not self.problems, "\n".join(["", *self.problems])


@functools.cache
def read(folder, name):
    path = folder / name
    return json.loads(path.read_text()) if path.suffix == ".json" else dict(np.load(path))


def under(arrays, prefix):
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def split(flat, order, shapes):
    """The named arrays of one long vector."""
    ends = np.cumsum([int(np.prod(shapes[name])) for name in order])
    assert ends[-1] == len(flat)
    return {n: part.reshape(shapes[n]) for n, part in zip(order, np.split(flat, ends[:-1]), strict=True)}


def nhwc(x, dtype):
    return tf.constant(np.transpose(x, (0, 2, 3, 1)), dtype)


def nchw(x):
    return np.transpose(x, (0, 3, 1, 2))


def statistics_of(layer):
    return {n: a for n, a in to_arrays(layer).items() if "running_" in n}


def flat(named):
    return np.concatenate([np.ravel(a) for a in named.values()])


def norms(named):
    return np.array([norm(a) for a in named.values()])


def files(golden, pattern):
    names = sorted(path.name for path in golden.glob(pattern))
    assert names
    return names
