"""The golden networks of the successors of DARTS, built by our spaces and methods."""

import functools

import keras
import numpy as np
import tensorflow as tf

from darts_tf import methods, spaces
from darts_tf.bilevel.objective import SupernetLoss, values
from darts_tf.config import SearchConfig
from darts_tf.interop.conv import load_arrays, slots, to_arrays
from tests.helpers.golden import nhwc, read, split, under

CELLS = ("normal", "reduce")


class Variant:
    """A golden supernet: its arrays, and our network and method with its weights and alphas.

    Args:
        folder: Of the golden numbers.
        name: Of `NAME_network.npz`; its config is `NAME_config.json`.
        dtype: Of the network.
        prefix: Of the arrays, where one file has several networks.
        sizes: Where the config has them, if not at its top: a name, or several, each inside of the one before.
        rename: Turns a name of the original's parameters into one of ours.
        **settings: Of the search.
    """

    def __init__(self, folder, name, dtype, prefix="", sizes=None, rename=lambda name: name, **settings):
        config = read(folder, f"{name.split('_')[0]}_config.json")
        self.config, self.dtype = config, dtype
        own = functools.reduce(
            lambda inner, name: inner[name], [sizes] if isinstance(sizes, str) else sizes or (), config
        )
        self.sizes = sizes = {**config, **own}
        self.arrays = arrays = under(read(folder, f"{name}.npz"), prefix)
        channels, height, width = arrays["x" if "x" in arrays else "valid_x"].shape[-3:]
        settings |= {"primitives": tuple(sizes["primitives"])} if "primitives" in sizes else {}
        self.search = SearchConfig(init_channels=sizes["C"], num_cells=sizes["layers"], **settings)
        self.method = methods.make(self.search)
        self.net = spaces.get("conv").supernet(self.search, self.method, (height, width, channels), sizes["classes"])
        self.functions = SupernetLoss(self.net, method=self.method)
        names = list(sizes["parameter_shapes"]), list(sizes["buffer_shapes"])
        stored = split(arrays["param_flat"], names[0], sizes["parameter_shapes"])
        stored |= split(arrays["buffer_flat"], names[1], sizes["buffer_shapes"])
        self.rename = rename
        self.order = [rename(name) for name in names[0]]
        stored = {rename(name): array for name, array in stored.items()}
        for cell in CELLS:
            stored[f"alphas_{cell}"] = self.spread(cell, arrays[f"alpha_{cell}"])
        assert {name: slot.shape for name, slot in slots(self.net).items()} == {
            name: array.shape for name, array in stored.items() if not name.startswith("alphas_")
        }
        load_arrays(self.net, stored)

    def spread(self, cell, array):
        """The rows of edges with candidates of their own, which the original keeps side by side, in our columns."""
        if self.search.masks is None:
            return array
        rows = np.zeros(self.search.masks[cell].shape, array.dtype)
        rows[self.search.masks[cell]] = np.ravel(array)
        return rows

    def batch(self, x="x", y="y", index=()):
        """Images and labels."""
        return nhwc(self.arrays[x][index], self.dtype), tf.constant(self.arrays[y][index], tf.int32)

    def tensors(self, *names):
        """Golden arrays in the network's type, by cell, where a name has a place for it."""
        return [{cell: tf.constant(self.arrays[name.format(cell)], self.dtype) for cell in CELLS} for name in names]

    def gradients(self, batch, noise=None, alphas=None):
        """The training loss with all gradients at the present values, or at other alphas."""
        weights = self.functions.weights.pack(self.net.weight_variables)
        alphas = values(self.functions.arch.values()) if alphas is None else alphas
        return self.functions.gradients(("weights", "alphas"), True)(weights, alphas, *batch, noise)

    def norms(self, packed):
        """The norm of each gradient, in the order of the original's parameters."""
        gradients = self.functions.weights.unpack(packed)
        pairs = [(v, np.asarray(g)) for v, g in zip(self.net.weight_variables, gradients, strict=True)]
        arrays = to_arrays(self.net, pairs)
        return np.array([np.linalg.norm(arrays[name]) for name in self.order])


def as_type(dtype):
    """The tolerances of outputs, losses, gradients of alphas and norms in a type: the table of the folder's README."""
    wide = dtype == "float64"
    return {
        "output": 1e-10 if wide else 1e-5,
        "loss": 1e-10 if wide else 2e-6,
        "alphas": 1e-9 if wide else 5e-5,
        "norms": 1e-9 if wide else 2e-5,
    }


def close(mine, theirs, tolerance, floor=1e-9):
    """Asserts that two arrays differ by little, relative to the norm of the second."""
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    assert mine.shape == theirs.shape
    error = np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), floor)
    assert error <= tolerance, error


def variable(value, dtype):
    """A variable of Keras with a value."""
    return keras.Variable(value, dtype=dtype)
