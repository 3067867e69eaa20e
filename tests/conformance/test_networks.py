"""What holds for the networks of every space: searched and derived form, folding, TFLite, multiply-adds, weights."""

import functools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, spaces
from darts_tf.export import exporting, tflite
from darts_tf.export.lowering import lower
from darts_tf.interop.conv import load_arrays, to_arrays
from darts_tf.spaces.conv.norm import EPSILON
from darts_tf.spaces.recurrent import norm as node_norm
from tests.helpers import trained_runs
from tests.helpers.arrays import assert_close, difference, fill, images, macs_of_the_graph
from tests.helpers.cases import IMAGES, SPACES, derived, everything, one_hot, searched
from tests.helpers.recurrent import inputs

# The search form against the derived form


def pair_of_conv():
    """Every primitive of the search in both cells; weights of the supernet go over by their names in the original."""
    primitives = genotypes.CONV_PRIMITIVES
    genotype = everything([name for name in primitives if name != "none"])
    config = SPACES["conv"].search.replace(primitives=primitives, num_nodes=4)
    net = fill(spaces.get("conv").supernet(config, None, (8, 8, 3), 5))
    other = derived("conv", ((8, 8, 3), 5), genotype=genotype.to_text(), auxiliary=False)
    arrays, found = to_arrays(net), {}
    pools = "|".join(str(index) for index, name in enumerate(primitives) if "pool" in name)
    for name, array in arrays.items():  # the norms that follow pools in the search are absent in a derived cell
        if re.search(rf"_ops\.\d+\._ops\.({pools})\.1\.running", name):
            arrays[name] = np.full_like(array, 1 - EPSILON if name.endswith("var") else 0)
    load_arrays(net, arrays)
    for name, array in to_arrays(other).items():
        if match := re.fullmatch(r"cells\.(\d+)\._ops\.(\d+)\.(.+)", name):
            cell, number, rest = int(match[1]), int(match[2]), match[3]
            kind = "reduce" if net.cells[cell].reduction else "normal"
            topology, (operation, source) = genotype.topology_of(kind), getattr(genotype, kind)[number]
            row = topology.row(source, topology.edge_of(number))
            searched = f"cells.{cell}._ops.{row}._ops.{primitives.index(operation)}.{rest}"
        else:
            searched = name
        found[name] = arrays.get(searched, array)  # scales and offsets, which a search does not learn
    load_arrays(other, found)
    return net, other, (images(3, 8, 8, 3),)


def pair_of_recurrent():
    """In inference, with moving statistics that normalise nothing."""
    config = SPACES["recurrent"].search.replace(num_nodes=4, concat=3, num_units=5)
    genotype = genotypes.RecurrentGenotype((("relu", 0), ("sigmoid", 1), ("tanh", 0), ("identity", 2)), (2, 3, 4))
    net = fill(spaces.get("recurrent").supernet(config, None, 11))
    other = derived("recurrent", (11,), genotype=genotype.to_text(), num_units=5)
    for mine, theirs in zip(net.weight_variables, other.weight_variables, strict=True):
        theirs.assign(mine)
    net.cell.norm.moving.assign(np.stack([np.zeros((5, 5)), np.full((5, 5), 1 - node_norm.EPSILON)]))
    return net, other, inputs()


@pytest.mark.parametrize("pair", [pair_of_conv, pair_of_recurrent])
def test_a_supernet_of_one_hot_alphas_is_the_derived_network(pair, float64):
    net, other, given = pair()
    for cell, mixing in one_hot(other.genotype, net.primitives).items():
        net.alphas[cell].assign(1e3 * mixing)
    found, expected = ([*keras.tree.flatten(network(*given))] for network in (net, other))
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, "float64")


def used(network, mixing, batch):
    """Counts the numbers that the logits depend on, but for scales and offsets, which a search does not learn."""
    weights = [v.value for v in network.weight_variables]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        outputs, _ = network.stateless(weights, mixing, batch)
        logits, *_ = keras.tree.flatten(outputs)
        loss = tf.reduce_sum(logits**3)
    gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    pairs = zip(network.weight_variables, gradients, strict=True)
    return sum(np.count_nonzero(gradient) for v, gradient in pairs if v.name not in ("gamma", "beta"))


@pytest.mark.parametrize("space", SPACES)
def test_one_hot_mixing_uses_as_many_weights_as_the_derived_network(space, float64):
    """Whatever the way from one to the other is. By gradients, at a size where every tap of a kernel meets pixels."""
    if space in IMAGES:
        sizes, batch = ((32, 32, 3), 10), images(2, 32, 32, 3)
        other, read = derived(space, sizes, auxiliary=False), (batch, None)
    else:
        sizes, batch = (11,), inputs(20, units=8, batch=8)
        other, read = derived(space, sizes), batch
    genotype = other.genotype
    primitives = tuple(dict.fromkeys(("none", *genotype.operations)))
    config = SPACES[space].search.replace(num_nodes=genotype.num_nodes, primitives=primitives)
    net = spaces.get(space).supernet(config, None, *sizes)  # at its start values, of which no ReLU is zero everywhere
    mixing = {cell: tf.constant(weights) for cell, weights in one_hot(genotype, primitives).items()}
    assert used(net, mixing, batch) == used(other, {}, read) > 0


# Derived networks of images

DERIVED = {space: functools.partial(derived, space) for space in IMAGES} | {
    "conv, imagenet": functools.partial(derived, "conv", ((64, 64, 3), 3), network="imagenet")
}
of_images = pytest.mark.parametrize("make", DERIVED.values(), ids=DERIVED)


@of_images
def test_folding_and_lowering_change_nothing(make, float64):
    net = fill(make())
    x = images(2, *net.image_shape)
    expected = net(x)
    assert difference(lower(net)(x), expected) < 1e-6  # its constants are of float32
    if hasattr(net, "folded"):
        folded = net.folded()
        assert getattr(folded, "auxiliary_head", None) is None and folded.parameters == net.parameters
        assert difference(folded(x), expected) < 1e-12
    assert np.array_equal(net(x), expected)


@of_images
def test_multiply_adds_are_those_of_the_graph(make):
    net = make()
    bias = net.num_classes  # which NAS-Bench-201 counts and others do not
    assert net.macs() - macs_of_the_graph(net) in (0, bias)


@pytest.mark.parametrize("space", IMAGES)
def test_a_network_becomes_a_tflite_file(space, tmp_path):
    """In float32 equal to the network, in float16 and int8 close: `darts-export` measures them on real images."""
    genotype = everything().to_text() if space == "conv" else SPACES[space].train.genotype
    own = {name: getattr(SPACES[space].train, name) for name in ("auxiliary", "drop_path")}
    trained_runs.write(tmp_path / "run", genotype, init_channels=8, space=space, **own)
    lines = []
    path = exporting.export(tmp_path / "run", tmp_path / "exports", formats=["tflite"], say=lines.append)
    found = json.loads((path / "assets" / "model_card.json").read_text())["checks"]["tflite"]
    assert found["float32"]["agreement"] == 1 and found["float16"]["agreement"] > 0.97
    assert found["int8"]["agreement"] > 0.8, found
    assert found["int8"]["bytes"] < found["float16"]["bytes"] < found["float32"]["bytes"]
    assert sum("points from the network's" in line for line in lines) == 3
    one = tflite.run(path / "tflite" / "int8.tflite", np.full((1, 8, 8, 1), 100, np.float32))
    assert one["probabilities"].shape == (1, 10) and one["classes"].shape == (1,)


# Weights of the original

NETWORKS = {
    **{f"{space}, search": lambda space=space: searched(space)[2] for space in SPACES},
    **{space: functools.partial(derived, space) for space in SPACES},
    **DERIVED,
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_weights_of_every_network_come_back_under_prefixes(kind):
    one, other = (fill(NETWORKS[kind](), seed) for seed in (1, 2))
    arrays = to_arrays(one)
    if not arrays and not kind.startswith(("conv", "recurrent")):
        pytest.skip("a space that the original does not have")
    state = {f"module.{name}": array for name, array in arrays.items()}
    if "recurrent" in kind:
        state["module.decoder.weight"] = state["module.encoder.weight"]
    load_arrays(other, {"epoch": 3, "model_state_dict": state, "optimizer": {"lr": 0.1}})
    again = to_arrays(other)
    assert all(np.array_equal(array, again[name]) for name, array in arrays.items())
    for mine, theirs in zip(other.weight_variables, one.weight_variables, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
