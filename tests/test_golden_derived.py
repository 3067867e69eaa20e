"""Derived networks against numbers calculated with the original code; see `test_golden`, whose comparison is used."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel.objective import cross_entropy, values
from darts_tf.interop.conv import load_arrays, to_arrays
from darts_tf.spaces.conv.derived import CifarNetwork, ImageNetNetwork
from tests.helpers.golden import Comparison, nhwc, norm, norms, read, split, statistics_of, under
from tests.helpers.paths import GOLDEN
from tests.helpers.steps import collect_statistics

pytestmark = pytest.mark.usefixtures("deviations")

CLASSES = {"NetworkCIFAR": CifarNetwork, "NetworkImageNet": ImageNetNetwork}


def pytest_generate_tests(metafunc):
    """One test for each network in the golden folder."""
    if "network_name" in metafunc.fixturenames:
        found = sorted(p.name.removesuffix("_config.json") for p in GOLDEN.glob("cnn_eval_*_config.json"))
        metafunc.parametrize("network_name", found or [None])


def genotype_of(golden, config):
    if isinstance(config["genotype"], str):
        known = read(golden, "genotypes_cnn.json")
        return known.get("genotypes", known)[config["genotype"]]
    return config["genotype"]


def build(golden, config, arrays):
    cls = CLASSES[config["class_of_network"]]
    size = arrays["x" if "x" in arrays else "x_uint8"].shape
    shape = (*size[2:], size[1])
    return cls(
        genotype_of(golden, config), config["num_classes"], shape, config["C"], config["layers"], config["auxiliary"]
    )


def factors(net, masks, probability):
    """The recorded 0/1 masks as the network takes them: in the order of its cells, over the keep probability.

    They were recorded in float32, but the results are those of float64: divided in float32, 1 / 0.7 is off by 1e-8.
    """
    rows = [masks.pop(f"cell{c}_op{o}") for c, cell in enumerate(net.cells) for o in cell.dropped]
    assert not masks, sorted(masks)
    return (np.stack(rows) != 0) / (1 - probability)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "bool"])
@pytest.mark.parametrize("probability", [0.0, 0.05, 0.1, 0.2, 0.3, 0.7, 0.9])
def test_recorded_masks_are_divided_as_sharply_as_float64(probability, dtype):
    cells = [types.SimpleNamespace(dropped=[0, 2]), types.SimpleNamespace(dropped=[1])]
    kept = np.random.default_rng(0).random((3, 50)) >= probability
    names = ["cell0_op0", "cell0_op2", "cell1_op1"]
    recorded = {name: mask.astype(dtype) for name, mask in zip(names, kept, strict=True)}
    found = factors(types.SimpleNamespace(cells=cells), recorded, probability)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.where(kept, 1 / (1 - probability), 0.0))


def compare_gradients(comparison, what, net, gradients, theirs, config):
    mine = to_arrays(net, list(zip(net.weight_variables, gradients, strict=True)))
    total = np.sqrt(sum(norm(a) ** 2 for a in mine.values()))
    comparison.check(f"{what}/grad_norm_all", "norm", total, theirs["grad_norm_all"])
    mine = {name: mine[name] for name in config["parameter_order"]}
    comparison.check(f"{what}/norms", "norm", norms(mine), theirs["grad_norm_per_parameter"])
    if "grad_aux_features_5_first8" in theirs:
        kernel = mine.pop("auxiliary_head.features.5.weight")
        first = theirs["grad_aux_features_5_first8"]
        comparison.check(f"{what}/features.5", "weight gradient", kernel[: len(first)], first)
    if "grad_flat_without_aux_features_5" in theirs:
        shapes = config["parameter_shapes"]
        flat = split(theirs["grad_flat_without_aux_features_5"], list(mine), shapes)
        # Many images' worth of pixels cancel in the biases' gradients; the folder's README measures them together.
        comparison.group(f"{what}/grad", mine, flat, share=1e-3 if comparison.dtype == "float64" else 0.3)


def test_derived_network(golden, network_name, dtype):
    config = read(golden, f"{network_name}_config.json")
    arrays = read(golden, f"{network_name}_forward.npz")
    weights = read(golden, f"{network_name}_weights.npz")
    net, comparison = build(golden, config, arrays), Comparison(dtype)
    stored = under(weights, "param/") | under(weights, "buffer/")
    x = arrays["x"] if "x" in arrays else (arrays["x_uint8"].astype(np.float32) - 4) / 2
    x, y = nhwc(x, dtype), tf.constant(arrays["y"])
    for mode in ("train", "drop"):
        theirs = under(arrays, f"{mode}/")
        if not theirs:
            continue
        masks, drop = under(arrays, "drop_mask/"), None
        if mode == "drop":
            drop = tf.constant(factors(net, dict(masks), config["drop_path_prob"]), dtype)
        load_arrays(net, stored)
        with tf.GradientTape() as tape, collect_statistics() as statistics:
            stages = net.activations(x, training=True, drop=drop)
            loss = total = cross_entropy(stages["logits"], y)
            if config["auxiliary"]:
                auxiliary_loss = cross_entropy(stages["auxiliary_logits"], y)
                total = loss + config["auxiliary_weight"] * auxiliary_loss
        assert len(statistics) == len(net.state_variables)
        comparison.check(f"{mode} logits", "output", stages["logits"], theirs["logits"])
        comparison.check(f"{mode} loss", "loss", loss, theirs["loss"])
        if config["auxiliary"]:
            comparison.check(f"{mode} auxiliary", "output", stages["auxiliary_logits"], theirs["logits_aux"])
            comparison.check(f"{mode} total", "loss", total, theirs["loss_total"])
            if "loss_aux" in theirs:
                comparison.check(f"{mode} auxiliary loss", "loss", auxiliary_loss, theirs["loss_aux"])
        if "cell_output_norm" in theirs:
            cells = [stages[f"cell{i}"] for i in range(len(net.cells))]
            comparison.check(f"{mode} cells", "output", [norm(c) for c in cells], theirs["cell_output_norm"])
            means = [float(tf.reduce_mean(c)) for c in cells]
            comparison.check(f"{mode} cells' means", "output", means, theirs["cell_output_mean"])
        gradients = values(tape.gradient(total, [v.value for v in net.weight_variables]))
        compare_gradients(comparison, mode, net, gradients, theirs, config)
        if mode == "train":
            net.activations(x, training=True)  # moves the statistics itself
            after = split(theirs["buffer_after_flat"], config["buffer_order"], config["buffer_shapes"])
            comparison.statistics("statistics", statistics_of(net), after)
    load_arrays(net, stored)
    logits = net(x, training=False)
    comparison.check("eval logits", "output", logits, arrays["eval/logits"])
    comparison.check("eval loss", "loss", cross_entropy(logits, y), arrays["eval/loss"])
    comparison.done()


@pytest.mark.slow
def test_parameter_and_operation_counts(golden):
    """Weights and multiply-adds of the published cells in the paper's networks."""
    known = read(golden, "genotypes_cnn.json")
    known = known.get("genotypes", known)
    counts = json.loads((golden / "cnn_eval_param_counts.json").read_text())
    counts = {name: count for name, count in counts.items() if name.split("/")[0] in known}
    assert counts
    for name, theirs in counts.items():
        genotype, kind = name.split("/")
        cls = ImageNetNetwork if kind == "imagenet" else CifarNetwork
        shape = (theirs["image"], theirs["image"], 3)
        net = cls(known[genotype], theirs["num_classes"], shape, theirs["C"], theirs["layers"])
        assert net.parameters == theirs["params_as_the_code_counts"], name
        assert sum(np.prod(v.shape) for v in net.weight_variables) == theirs["params_with_auxiliary_head"], name
        assert net.macs() == theirs["macs_total"], name
