"""What holds for the networks of every space: the search's form is the derived form, weights keep their names."""

import re

import keras
import numpy as np
import pytest

from darts_tf import genotypes, spaces
from darts_tf.interop.conv import load_arrays, to_arrays
from darts_tf.spaces.conv.norm import EPSILON
from darts_tf.spaces.recurrent import norm as node_norm
from tests.conformance.cases import SPACES, everything
from tests.helpers.arrays import assert_close, fill, images
from tests.helpers.recurrent import inputs

# The search form against the derived form


def one_hot(genotype, primitives):
    """Alphas that choose a genotype's operations, and `none` on all other edges."""
    found = {}
    for cell in genotype.cells:
        topology, pairs = genotype.topology_of(cell), getattr(genotype, cell)
        alphas = np.zeros((topology.num_edges, len(primitives)))
        alphas[:, primitives.index("none")] = 1e3
        for index, (name, source) in enumerate(pairs):
            row = topology.row(source, topology.edge_of(index))
            alphas[row] = [1e3 if primitive == name else 0 for primitive in primitives]
        found[cell] = alphas
    return found


def derived_conv():
    """Every primitive of the search in both cells; weights of the supernet go over by their names in the original."""
    primitives = genotypes.CONV_PRIMITIVES
    genotype = everything([name for name in primitives if name != "none"])
    config = SPACES["conv"].search.replace(primitives=primitives, num_nodes=4)
    train = SPACES["conv"].train.replace(genotype=genotype.to_text(), auxiliary=False)
    net = fill(spaces.get("conv").supernet(config, None, (8, 8, 3), 5))
    derived = spaces.get("conv").network(train, (8, 8, 3), 5)
    arrays, found = to_arrays(net), {}
    for name, array in arrays.items():  # those that follow pools in the search are absent in a derived cell
        if re.search(rf"_ops\.\d+\._ops\.({'|'.join(map(str, pools(primitives)))})\.1\.running", name):
            arrays[name] = np.full_like(array, 1 - EPSILON if name.endswith("var") else 0)
    load_arrays(net, arrays)
    for name, array in to_arrays(derived).items():
        if match := re.fullmatch(r"cells\.(\d+)\._ops\.(\d+)\.(.+)", name):
            cell, number, rest = int(match[1]), int(match[2]), match[3]
            kind = "reduce" if net.cells[cell].reduction else "normal"
            topology, (operation, source) = genotype.topology_of(kind), getattr(genotype, kind)[number]
            row = topology.row(source, topology.edge_of(number))
            searched = f"cells.{cell}._ops.{row}._ops.{primitives.index(operation)}.{rest}"
        else:
            searched = name
        found[name] = arrays.get(searched, array)  # scales and offsets, which a search does not learn
    load_arrays(derived, found)
    return net, derived, genotype, (images(3, 8, 8, 3),)


def pools(primitives):
    return [index for index, name in enumerate(primitives) if "pool" in name]


def derived_recurrent():
    """In inference, with moving statistics that normalise nothing."""
    config = SPACES["recurrent"].search.replace(num_nodes=4, concat=3, num_units=5)
    genotype = genotypes.RecurrentGenotype((("relu", 0), ("sigmoid", 1), ("tanh", 0), ("identity", 2)), (2, 3, 4))
    net = fill(spaces.get("recurrent").supernet(config, None, 11))
    train = SPACES["recurrent"].train.replace(genotype=genotype.to_text())
    derived = spaces.get("recurrent").network(train, 11)
    for mine, theirs in zip(net.weight_variables, derived.weight_variables, strict=True):
        theirs.assign(mine)
    statistics = [np.zeros((5, 5)), np.full((5, 5), 1 - node_norm.EPSILON)]
    net.cell.norm.moving.assign(np.stack(statistics))
    return net, derived, genotype, inputs()


DERIVED = {"conv": derived_conv, "recurrent": derived_recurrent}


@pytest.mark.parametrize("space", SPACES)
def test_a_supernet_of_one_hot_alphas_is_the_derived_network(space, float64):
    net, derived, genotype, given = DERIVED[space]()
    for cell, alphas in one_hot(genotype, list(net.primitives)).items():
        net.alphas[cell].assign(alphas)
    found, expected = ([*keras.tree.flatten(network(*given))] for network in (net, derived))
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, "float64")


# Weights


NETWORKS = {
    "conv, cifar": lambda: spaces.get("conv").network(SPACES["conv"].train, (8, 8, 3), 3),
    "conv, imagenet": lambda: spaces.get("conv").network(
        SPACES["conv"].train.replace(network="imagenet"), (64, 64, 3), 3
    ),
    "recurrent": lambda: spaces.get("recurrent").network(SPACES["recurrent"].train, 5),
} | {
    f"{name}, search": lambda name=name: spaces.get(name).supernet(SPACES[name].search, None, *SPACES[name].sizes)
    for name in SPACES
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_of_every_network_come_back_under_prefixes(kind):
    one, other = (fill(NETWORKS[kind](), seed) for seed in (1, 2))
    state = {f"module.{name}": array for name, array in to_arrays(one).items()}
    if "recurrent" in kind:
        state["module.decoder.weight"] = state["module.encoder.weight"]
    load_arrays(other, {"epoch": 3, "model_state_dict": state, "optimizer": {"lr": 0.1}})
    again = to_arrays(other)
    assert all(np.array_equal(array, again[name]) for name, array in to_arrays(one).items())
