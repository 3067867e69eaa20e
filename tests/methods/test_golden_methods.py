"""The methods against numbers calculated with their authors' code, in both types."""

import json

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods
from darts_tf.config import SearchConfig
from darts_tf.genotypes import ConvGenotype, selection
from darts_tf.methods import beta_darts, drnas, fair_darts, gumbel, limits, pc_darts, smooth_darts
from darts_tf.methods.combined import Combined
from tests.helpers.golden import read, under
from tests.helpers.variants import CELLS, Variant, as_type, close


def check(variant, theirs, told, gradients, names=("grad_alpha_normal", "grad_alpha_reduce")):
    """Compares loss, norms of the weights' gradients and gradients of alphas, as far as there are golden ones."""
    limit = as_type(variant.dtype)
    close(told.outputs, theirs["logits"], limit["output"])
    close(told.loss, theirs["loss"], limit["loss"])
    if "grad_norm_per_parameter" in theirs:
        close(variant.norms(gradients[0]), theirs["grad_norm_per_parameter"], limit["norms"])
    for mine, name in zip(gradients[1], names, strict=False):
        close(mine, theirs[name], limit["alphas"])


def same_genotypes(cases, alphas, method, primitives):
    """Compares the genotypes of many alphas, by name -> (cases, ...)."""
    assert len(cases)
    for index, expected in enumerate(cases):
        arrays = {name: np.asarray(array[index], np.float64) for name, array in alphas.items()}
        choose = method.selection(selection.select)
        found = genotypes.derive(ConvGenotype, arrays, primitives, strength=method.strength, select=choose)
        for cell in CELLS:
            assert _sorted(getattr(found, cell)) == _sorted(expected[cell]), index


def _sorted(pairs):
    pairs = [tuple(pair) for pair in pairs]
    return [sorted(pairs[first : first + 2]) for first in range(0, len(pairs), 2)]


def test_beta_darts(variants, dtype):
    arrays = under(read(variants, "betadarts_penalty.npz"), "beta/")
    for case in ("nb201", "nb201_wide", "darts"):
        theirs = under(arrays, case + "/")
        method = beta_darts.BetaDarts(SearchConfig(method="beta_darts", epochs=100))
        alpha = tf.constant(theirs["alpha"], dtype)
        for epoch in (0, 1, 37, 99):
            with tf.GradientTape() as tape:
                tape.watch(alpha)
                penalty = method.penalty({"cell": alpha}, {"cell": alpha}, tf.constant(epoch, dtype))
            gradient = tape.gradient(penalty, alpha) + theirs["cotangent"]
            close(gradient, theirs[f"grad_of_linear_loss_plus_penalty_epoch{epoch}"], as_type(dtype)["alphas"])
        close(penalty, theirs["penalty"] * 50 * 0.99, as_type(dtype)["loss"])


def test_fair_darts(variants, dtype):
    variant = Variant(variants, "fairdarts_network", dtype, method="fair_darts")
    theirs = under(variant.arrays, "train/")
    told, gradients = variant.gradients(variant.batch())
    check(variant, theirs | {"loss": theirs["cross_entropy"]}, told, gradients)
    alphas = variant.functions.named([tf.convert_to_tensor(v) for v in variant.functions.arch.values()])
    for cell, sigmoid in variant.method.strength({name: np.asarray(a) for name, a in alphas.items()}).items():
        close(sigmoid, variant.arrays[f"sigmoid_alpha_{cell}"], as_type(dtype)["output"])
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        penalty = variant.method.penalty(alphas, variant.method.mixing_weights(alphas, None), 3)
    found = tape.gradient(penalty, alphas)
    for number, cell in enumerate(CELLS):
        close(found[cell], theirs[f"l2_penalty_grad_alpha_{cell}"], as_type(dtype)["alphas"])
        close(found[cell] + gradients[1][number], theirs[f"l2_grad_alpha_{cell}"], as_type(dtype)["alphas"])
    close(told.loss + penalty, theirs["l2_total"], as_type(dtype)["loss"])


def test_genotypes_of_fair_darts(variants):
    arrays, config = read(variants, "fairdarts_genotypes.npz"), read(variants, "fairdarts_config.json")
    method = fair_darts.FairDarts(SearchConfig())
    alphas = {cell: arrays[f"alphas_{cell}"] for cell in CELLS}
    same_genotypes([case["darts"] for case in config["cases"]], alphas, method, config["primitives"])


@pytest.mark.parametrize("case", ["small", "middle", "large"])
def test_a_dirichlet_draw(variants, dtype, case):
    theirs = under(read(variants, "drnas_dirichlet.npz"), case + "/")
    alpha, gamma = (tf.constant(theirs[name], dtype) for name in ("alpha", "gamma"))
    limit = as_type(dtype)
    close(drnas.concentration(alpha), theirs["concentration"], limit["output"])
    with tf.GradientTape() as tape:
        tape.watch(alpha)
        mixing = drnas.DrNAS().relax({"cell": alpha}, {"cell": gamma})["cell"]
        loss = tf.reduce_sum(mixing * tf.constant(theirs["cotangent"], dtype))
    close(mixing, theirs["mixing"], limit["output"])
    # TensorFlow's derivative of a gamma draw is itself an approximation, to some 1e-6.
    close(tape.gradient(loss, alpha), theirs["grad_alpha_gamma_exact"], max(limit["alphas"], 2e-5))


@pytest.mark.parametrize("scale", ["0.8", "2.5"])
def test_the_divergence_of_drnas(variants, dtype, scale):
    theirs = under(read(variants, "drnas_dirichlet.npz"), f"kl/scale{scale}/")
    method = drnas.DrNAS(SearchConfig(method="drnas", drnas_kl=1e-3))
    alphas = {cell: tf.constant(theirs[f"alpha_{cell}"], dtype) for cell in CELLS}
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        penalty = method.penalty(alphas, alphas, 0)
    close(penalty, theirs["value"], 1e-8 if dtype == "float64" else 1e-4)
    for cell, gradient in tape.gradient(penalty, alphas).items():
        close(gradient, theirs[f"grad_alpha_{cell}"], 1e-8 if dtype == "float64" else 1e-3)


@pytest.mark.parametrize("share", [1, 4])
def test_drnas(variants, dtype, share):
    name, method = f"drnas_network_k{share}", "drnas" if share == 1 else "drnas,pc_darts"
    partial = {} if share == 1 else {"pc_darts_k": share, "pc_darts_edges": False}
    variant = Variant(variants, name, dtype, sizes=f"network_k{share}", rename=_pools, method=method, **partial)
    theirs = under(variant.arrays, "train/")
    gamma = variant.tensors("gamma_{}")[0]
    names = [f"grad_alpha_{cell}_gamma_exact" for cell in CELLS]
    told, gradients = variant.gradients(variant.batch(), (gamma, ()) if share > 1 else (gamma,))
    limit = as_type(dtype)
    close(told.outputs, theirs["logits"], limit["output"])
    close(told.loss, theirs["loss"], limit["loss"])
    for mine, name in zip(gradients[1], names, strict=True):
        close(mine, theirs[name], max(limit["alphas"], 2e-5))


def _pools(name):
    return name.replace(".op.1.running", ".1.running") if "_ops.0.op" in name or "_ops.1.op" in name else name


def test_genotypes_of_drnas(variants):
    arrays, config = read(variants, "drnas_genotypes.npz"), read(variants, "drnas_config.json")
    alphas = {cell: arrays[f"alphas_{cell}"] for cell in CELLS}
    method = drnas.DrNAS(SearchConfig())
    same_genotypes([case["genotype"] for case in config["genotypes"]], alphas, method, config["primitives"])


def test_gumbel(variants, dtype):
    arrays, snas = read(variants, "gdas_nb201.npz"), read(variants, "snas_relaxation.npz")
    alpha = read(variants, "nb201_supernet.npz")["alpha"]
    for draw in ("draw0", "draw1", "draw2"):
        theirs = under(arrays, f"gdas/{draw}/")
        method, a = gumbel.Gdas(SearchConfig(method="gdas")), tf.constant(alpha, dtype)
        noise = {"cell": tf.constant(theirs["gumbel"], dtype)}, tf.constant(theirs["tau"], dtype)
        with tf.GradientTape() as tape:
            tape.watch(a)
            hard = method.relax({"cell": a}, noise)["cell"]
            loss = tf.reduce_sum(hard * tf.constant(theirs["train/grad_hard"], dtype))
        soft = gumbel.Snas.relax(method, {"cell": a}, noise)["cell"]
        close(soft, theirs["soft"], as_type(dtype)["output"])
        close(hard, theirs["hard"], 1e-6)
        close(tape.gradient(loss, a), theirs["train/grad_alpha"], as_type(dtype)["alphas"])
    for case in ("T1.0", "T0.4", "T0.05"):
        theirs = under(snas, f"snas/{case}/")
        a, drawn = (tf.constant(theirs[name], dtype) for name in ("alpha", "uniform"))
        noise = {"cell": -tf.math.log(-tf.math.log(drawn))}, tf.constant(theirs["T"], dtype)
        with tf.GradientTape() as tape:
            tape.watch(a)
            soft = gumbel.Snas(SearchConfig(method="snas")).relax({"cell": a}, noise)["cell"]
            loss = tf.reduce_sum(soft * tf.constant(theirs["cotangent"], dtype))
        close(soft, theirs["soft"], 1e-10 if dtype == "float64" else 1e-4)
        close(tape.gradient(loss, a), theirs["grad_alpha"], 1e-9 if dtype == "float64" else 1e-3)
    schedule = json.loads((variants / "gumbel_config.json").read_text())["gdas_tau_schedules"][0]
    method = gumbel.Gdas(SearchConfig(method="gdas", epochs=schedule["epochs"]))
    close([method.temperature(float(epoch)) for epoch in range(len(schedule["tau"]))], schedule["tau"], 1e-10)


def test_darts_minus(variants, dtype):
    auxiliary = Variant(variants, "dartsminus_network", dtype, rename=_auxiliary, method="darts_minus")
    for beta in ("1.0", "0.58", "0.0"):
        theirs = under(auxiliary.arrays, f"beta{beta}/train/")
        told, gradients = auxiliary.gradients(auxiliary.batch(), (tf.constant(float(beta), dtype),))
        check(auxiliary, theirs, told, gradients)
    for schedule in auxiliary.config["beta_schedules"]:
        if schedule["decay"] == "linear":
            method = methods.make(
                auxiliary.search.replace(epochs=schedule["epochs"], darts_minus_skip=schedule["base"])
            )
            mine = [method.parts[0].noise({}, None, float(epoch)) for epoch in range(len(schedule["beta"]))]
            close(mine, schedule["beta"], 1e-10)
    arrays = {cell: auxiliary.arrays[f"alpha_{cell}"] for cell in CELLS}
    found = genotypes.derive(ConvGenotype, arrays, auxiliary.search.primitives, strength=auxiliary.method.strength)
    for cell in CELLS:
        assert _sorted(getattr(found, cell)) == _sorted(auxiliary.config["genotype_of_alphas"][cell])


def _auxiliary(name):
    return name.replace(".auxiliary_op.", "._ops.8.")


@pytest.mark.parametrize("case", ["eps0", "eps1", "eps2"])
def test_smooth_darts(variants, dtype, case):
    variant = Variant(variants, "smoothdarts_network", dtype, method="smooth_darts", smooth_darts_attack="adversarial")
    theirs = under(variant.arrays, case + "/")
    alphas, uniform = variant.tensors("alpha_{}", case + "/noise_{}")
    if case == "eps2":
        alphas = {cell: tf.tensor_scatter_nd_update(a, [[3]], [[0.0] * 7]) for cell, a in alphas.items()}
    weights = variant.functions.weights.pack(variant.net.weight_variables)
    losses = []

    def training(mixing):
        found = variant.functions.training_loss(weights, alphas, variant.batch())(mixing)
        losses.append(float(found[0]))
        return found

    epsilon = tf.constant(theirs["epsilon"], dtype)
    for attack in ("random", "adversarial"):
        method = smooth_darts.SmoothDarts(variant.search.replace(smooth_darts_attack=attack))
        at = method.training_alphas(alphas, (uniform, epsilon), training)
        for cell in CELLS:
            close(tf.nn.softmax(at[cell]), theirs[f"{attack}/{cell}"], 1e-9 if dtype == "float64" else 1e-4)
        told, gradients = variant.gradients(variant.batch(), None, [at[cell] for cell in CELLS])
        expected = under(theirs, f"{attack}/weight_step/")
        close(told.loss, expected["loss"], 1e-9 if dtype == "float64" else 1e-4)
        close(variant.norms(gradients[0]), expected["grad_norm_per_parameter"], 1e-8 if dtype == "float64" else 1e-3)
    close(losses, theirs["adversarial/losses"], 1e-9 if dtype == "float64" else 1e-4)
    for schedule in variant.config["epsilon_schedules"]:
        method.config = method.config.replace(epochs=schedule["epochs"], smooth_darts_epsilon=schedule["epsilon_alpha"])
        mine = [method.epsilon(float(epoch)) for epoch in range(len(schedule["epsilon"]))]
        close(mine, schedule["epsilon"], 1e-10)


def test_an_ascent_that_lowers_the_loss_is_not_taken():
    mixing = {"cell": tf.constant([[0.5, 0.5]])}
    start = smooth_darts.perturbed(mixing, {"cell": tf.constant([[0.5, -0.5]])}, 0.2)
    found = smooth_darts.ascended(mixing, start, 0.2, 2, lambda now: (-tf.reduce_sum(now["cell"][0, 0]), now))
    np.testing.assert_allclose(found["cell"], start["cell"])


def test_pc_darts(variants, dtype):
    variant = Variant(variants, "pcdarts_network", dtype, method="pc_darts")
    for cell in CELLS:
        edges = variant.functions.arch[pc_darts.PREFIX + cell]
        edges.assign(variant.arrays[f"beta_{cell}"])
        mine = variant.method.parts[0].edge_weights(edges.value)
        close(mine, variant.arrays[f"edge_weights/{cell}"], as_type(dtype)["output"])
    told, gradients = variant.gradients(variant.batch("valid_x", "valid_y", 0))
    names = ["grad_alpha_normal", "grad_alpha_reduce", "grad_beta_normal", "grad_beta_reduce"]
    check(variant, under(variant.arrays, "train/"), told, gradients, names)


def test_genotypes_of_pc_darts(variants, dtype):
    arrays, cases = read(variants, "pcdarts_genotypes.npz"), read(variants, "pcdarts_genotypes.json")
    variant = Variant(variants, "pcdarts_network", dtype, method="pc_darts")
    alphas = {cell: arrays[f"alpha_{cell}"] for cell in CELLS}
    alphas |= {pc_darts.PREFIX + cell: arrays[f"beta_{cell}"] for cell in CELLS}
    same_genotypes([case["genotype"] for case in cases["cases"]], alphas, variant.method, cases["primitives"])


def test_equal_weights_of_edges_are_darts_over_their_number():
    config = SearchConfig(method="pc_darts", pc_darts_k=1, num_nodes=4)
    method = methods.make(config)
    net = type("Net", (), {"alphas": dict.fromkeys(CELLS, np.zeros((14, 2))), "variable_dtype": "float32"})
    edges = method.variables(net)
    alphas = {**dict.fromkeys(CELLS, tf.zeros([14, 2])), **{name: tf.zeros_like(v.value) for name, v in edges.items()}}
    found = method.mixing_weights(alphas, ((),))["normal"]
    counts = np.repeat([2, 3, 4, 5], [2, 3, 4, 5])
    np.testing.assert_allclose(found, np.stack([0.5 / counts] * 2, 1), rtol=1e-6)


def test_limits_of_p_darts(variants):
    arrays, cases = read(variants, "pdarts_genotypes.npz"), read(variants, "pdarts_genotypes.json")
    topology = ConvGenotype.topology(4)
    names = cases["primitives"]
    seen = 0
    for index, case in enumerate(cases["cases"]):
        alive = case["alive_after_stage"][-1]["normal"]
        logits = arrays["stage2_normal"][index]
        strength = np.zeros((14, len(names)))
        for edge, (row, kept) in enumerate(zip(logits, alive, strict=True)):
            strength[edge, kept] = selection.softmax(row)
        for limit, expected in case["normal_by_limit"].items():
            select = limits.limited(selection.select, limits.SKIPS, int(limit), "max_skips")
            pairs = select(strength, topology, names, "normal")
            assert _sorted(pairs) == _sorted(expected), (index, limit)
            seen += 1
    assert seen > 50


def test_what_is_combined(variants):
    both = methods.make(SearchConfig(method="drnas,beta_darts"))
    assert isinstance(both, Combined)
    assert isinstance(both.base, drnas.DrNAS)
