"""NAS-Bench-201's supernet, networks, operations and counts against numbers of AutoDL-Projects; see `golden`."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes
from darts_tf.bilevel.objective import cross_entropy, values
from darts_tf.bilevel.optimizers import adam_update
from darts_tf.genotypes import NasBench201Genotype
from darts_tf.spaces.nasbench201.cells import ResidualBlock
from darts_tf.spaces.nasbench201.networks import CELL, NasBench201Network, NasBench201Supernet
from darts_tf.spaces.nasbench201.operations import OPERATIONS
from tests.helpers import nasbench201
from tests.helpers.golden import Comparison, nchw, nhwc, read, split, under
from tests.helpers.paths import VARIANTS
from tests.helpers.steps import collect_statistics, stateless

pytestmark = [
    pytest.mark.usefixtures("deviations"),
    pytest.mark.skipif(not VARIANTS.is_dir(), reason=f"golden numbers of the variants are not at {VARIANTS}"),
]


def config():
    return read(VARIANTS, "nb201_config.json")


def named(arrays, about, kind):
    return split(arrays, list(about[f"{kind}_shapes"]), about[f"{kind}_shapes"])


def stored(arrays, about):
    """The original's weights and statistics, without the biases in front of batch norms."""
    return nasbench201.unbiased(
        named(arrays["param_flat"], about, "parameter") | named(arrays["buffer_flat"], about, "buffer")
    )


def compare(comparison, net, theirs, about, x, y, run, biases=None):
    """Compares passes in both modes; returns the gradients of the training pass by name."""
    places, alphas = nasbench201.slots(net), [v.value for v in net.alphas.values()]
    for mode in ("train", "eval"):
        expected = under(theirs, f"{mode}/")
        with tf.GradientTape() as tape, collect_statistics() as statistics:
            tape.watch(alphas)
            stages = run(x, mode == "train")
            loss = cross_entropy(stages["logits"], y)
        gradients = tape.gradient(
            loss, [*[v.value for v in net.weight_variables], *alphas], unconnected_gradients="zero"
        )
        for key, mine in (("features", stages["pooled"]), ("logits", stages["logits"])):
            comparison.check(f"{mode} {key}", "output", mine, expected[key])
        comparison.check(f"{mode} loss", "loss", loss, expected["loss"])
        for name, first in under(expected, "act_first/").items():
            comparison.check(f"{mode} {name}", "output", nchw(stages[name][:1]), first)
        if "grad_alpha" in expected:
            comparison.check(f"{mode} alphas", "alpha gradient", gradients[-1], expected["grad_alpha"])
        if mode == "eval":
            continue
        mine = nasbench201.named(places, list(zip(net.weight_variables, gradients, strict=False)))
        flat = named(expected["grad_flat"], about, "parameter")
        # Those of the biases in front of a batch norm are zero.
        comparison.group("gradients", mine, {name: array for name, array in flat.items() if name in mine}, share=0.01)
        batch = net.moved_state(values(net.state_variables), [statistics[id(v)] for v in net.state_variables])
        after = named(expected["buffer_after_flat"], about, "buffer")
        after = nasbench201.unbiased(after | (biases or {}))
        comparison.statistics(
            "statistics", nasbench201.named(places, zip(net.state_variables, batch, strict=True)), after
        )


def test_the_supernet(dtype):
    about, arrays = config(), read(VARIANTS, "nb201_supernet.npz")
    shape = (about["image"], about["image"], 3)
    net, comparison = NasBench201Supernet(about["classes"], shape, about["C"], 3 * about["N"] + 2), Comparison(dtype)
    nasbench201.load(nasbench201.slots(net), stored(arrays, about["supernet"]))
    net.alphas[CELL].assign(arrays["alpha"])
    x, y = nhwc(arrays["valid_x"][0], dtype), tf.constant(arrays["valid_y"][0])
    comparison.check("softmax", "output", tf.nn.softmax(net.alphas[CELL].value), arrays["forward/softmax_alpha"])
    biases = named(arrays["param_flat"], about["supernet"], "parameter")
    biases = {name: array for name, array in biases.items() if name.endswith("op.1.bias")}
    compare(comparison, net, arrays, about["supernet"], x, y, net.activations, biases)
    found = genotypes.derive(NasBench201Genotype, {CELL: arrays["alpha"]})
    assert found.string == about["genotype_of_alpha"]
    chosen = tf.one_hot(arrays["onehot/operations"], len(net.primitives), dtype=dtype)
    comparison.check("one-hot", "output", net(x, mixing={CELL: chosen}), arrays["onehot/eval_logits"])
    comparison.done()


def test_two_steps_of_the_original(float64):
    """Its order, weights before alphas, and Nesterov's momentum, made here of our gradients and our Adam."""
    about, arrays, comparison = config(), read(VARIANTS, "nb201_supernet.npz"), Comparison("float64")
    net = NasBench201Supernet(about["classes"], (about["image"], about["image"], 3), about["C"], 3 * about["N"] + 2)
    nasbench201.load(nasbench201.slots(net), stored(arrays, about["supernet"]))
    steps = about["steps"]
    weights, alphas = values(net.weight_variables), [tf.constant(arrays["alpha"], "float64")]
    buffers, means, squares = ([tf.zeros_like(t) for t in each] for each in (weights, alphas, alphas))
    for step in range(2):
        theirs = under(arrays, f"steps_noclip/it{step}/")
        loss, gradients = _gradients(net, weights, alphas, arrays, "train", step, weights)
        comparison.check(f"{step} loss", "loss along the iterations", loss, theirs["train_loss"])
        gradients = [g + steps["weight_decay"] * w for g, w in zip(gradients, weights, strict=True)]
        buffers = [steps["momentum"] * b + g for b, g in zip(buffers, gradients, strict=True)]
        ahead = [g + steps["momentum"] * b for g, b in zip(gradients, buffers, strict=True)]
        weights = [w - steps["lr"] * each for w, each in zip(weights, ahead, strict=True)]
        _, gradients = _gradients(net, weights, alphas, arrays, "valid", step, alphas)
        comparison.check(f"{step} gradient", "alpha gradient", gradients[0], theirs["alpha_grad"])
        rule = dict(rate=steps["arch_lr"], epsilon=1e-8, weight_decay=steps["arch_weight_decay"])
        rule |= dict(zip(("beta1", "beta2"), steps["arch_betas"], strict=True))
        alphas, means, squares = adam_update(alphas, gradients, means, squares, tf.constant(step + 1), **rule)
        comparison.check(f"{step} alphas", "alphas, absolute", alphas[0], theirs["alpha"])
    comparison.done()


def _gradients(net, weights, alphas, arrays, part, step, wrt):
    x, y = nhwc(arrays[f"{part}_x"][step], "float64"), tf.constant(arrays[f"{part}_y"][step])
    with tf.GradientTape() as tape:
        tape.watch(wrt)
        loss = cross_entropy(stateless(net, weights, alphas, x)[0], y)
    return loss, tape.gradient(loss, wrt)


@pytest.mark.parametrize("number", range(6))
def test_a_derived_network(number, dtype):
    about, arrays = config()["infer"][number], read(VARIANTS, "nb201_infer.npz")
    theirs, comparison = under(arrays, f"{about['name']}/"), Comparison(dtype)
    image = config()["image"]
    net = NasBench201Network(about["string"], config()["classes"], (image, image, 3), config()["C"], 5)
    assert (net.genotype.index, net.parameters) == (about["index"], about["n_params"])
    nasbench201.load(nasbench201.slots(net), stored(theirs, about))
    x = nhwc(arrays["x"], dtype)
    compare(comparison, net, theirs, about, x, tf.constant(arrays["y"]), net.activations)
    folded = net.folded()
    np.testing.assert_allclose(folded(x), net(x), rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-5)
    comparison.done()


@pytest.mark.parametrize("case", range(8))
def test_an_operation(case, float64):
    arrays, about, comparison = read(VARIANTS, "nb201_ops.npz"), config()["ops"][case], Comparison("float64")
    block = about["op"] not in OPERATIONS
    sizes = about["C_in"], about["C_out"]
    layer = ResidualBlock(*sizes) if block else OPERATIONS[about["op"]](about["C_in"], affine=about["affine"])
    places = {s.name: s for s in (nasbench201.block_slots if block else nasbench201.operation_slots)(layer)}
    theirs = under(arrays, f"{about['case']}/")
    given = under(theirs, "param/")
    nasbench201.load(places, nasbench201.unbiased(given | under(theirs, "buffer/")))
    cotangent, x = (nhwc(theirs[name], "float64") for name in ("cotangent", "x"))
    for mode in ("train", "eval"):
        with tf.GradientTape() as tape, collect_statistics():
            tape.watch(x)
            y = layer(x, training=mode == "train")
            loss = tf.reduce_sum(y * cotangent)
        gradient, *gradients = tape.gradient(
            loss, [x, *[v.value for v in layer.trainable_variables]], unconnected_gradients="zero"
        )
        comparison.check(f"{mode} out", "output", nchw(y), theirs[f"{mode}_out"])
        comparison.check(f"{mode} x", "weight gradient", nchw(gradient), theirs[f"{mode}_grad_x"])
        mine = nasbench201.named(places, list(zip(layer.trainable_variables, gradients, strict=True)))
        expected = under(theirs, f"{mode}_grad_param/")
        comparison.group(mode, mine, {name: expected[name] for name in mine})
    comparison.done()


@pytest.mark.parametrize("size", ["small", "full_cifar10", "full_cifar100", "full_imagenet16_120"])
def test_parameters_and_multiply_adds(size):
    """At full size of some cells only: what makes the others differ is counted at the small size."""
    golden = read(VARIANTS, "nb201_counts.json")
    sizes = golden["sizes"][size]
    for entry in golden["counts"] if size == "small" else golden["counts"][:2]:
        shape = (sizes["image"], sizes["image"], 3)
        net = NasBench201Network(entry["string"], sizes["classes"], shape, sizes["C"], 3 * sizes["N"] + 2)
        assert (net.parameters, net.macs()) == (entry[size]["params"], entry[size]["macs"]), entry["index"]
        assert NasBench201Genotype.of_index(entry["index"]) == net.genotype
