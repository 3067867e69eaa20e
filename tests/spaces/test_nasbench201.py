"""The search space NAS-Bench-201: from a search to a served network, its supernet against the plain sum of eq. 2."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, spaces
from darts_tf.bilevel.objective import values
from darts_tf.config import presets
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, NasBench201Genotype
from darts_tf.report import write_report
from darts_tf.spaces.conv.mixed import mixed
from darts_tf.spaces.nasbench201 import query
from darts_tf.spaces.nasbench201.cells import TOPOLOGY, ResidualBlock
from darts_tf.spaces.nasbench201.networks import CELL, NasBench201Network, NasBench201Supernet
from darts_tf.spaces.nasbench201.operations import NasBench201MixedOp
from darts_tf.system.errors import UserError
from darts_tf.tasks.evaluate import evaluate
from darts_tf.tasks.search import search
from darts_tf.tasks.train import train
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.space import genotype_from, values_from
from tests.helpers.runs import Console, metrics, same_run
from tests.helpers.steps import array, rate, search_step, snapshot

SECOND = [("second", "finite_difference"), ("second", "exact")]
SEARCH = presets.get("smoke").config.replace(
    space="nasbench201", num_nodes=3, primitives=NASBENCH201_PRIMITIVES, init_channels=4, tensorboard=False
)
TRAIN = presets.get("smoke_train").config.replace(
    space="nasbench201", auxiliary=False, drop_path=0.0, tensorboard=False, init_channels=4
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    path = tmp_path_factory.mktemp("nasbench201")
    return path, search(SEARCH, path / "search", Console())


# From a search to a served network.


def test_it_searches_resumes_and_derives(searched, tmp_path):
    path, found = searched
    assert isinstance(found, NasBench201Genotype)
    written = json.loads((path / "search" / "genotype.json").read_text())
    assert query(written["nasbench201"]).string == found.string and genotypes.load(path / "search") == found
    assert search(SEARCH, tmp_path / "search", Console("epoch 1 done")) is None
    assert search(SEARCH, tmp_path / "search", Console()) == found
    same_run(path / "search", tmp_path / "search")


def test_it_is_drawn_and_reported(searched, tmp_path):
    path, found = searched
    picture = (path / "search" / "plots" / "nasbench201.gv").read_text()
    for name in NASBENCH201_PRIMITIVES:
        assert picture.count(f" {name} ") == [operation for operation, _ in found.nasbench201].count(name)
    weights = json.loads((path / "search" / "alphas" / "nasbench201" / "epoch_002.json").read_text())
    assert weights["edges"] == TOPOLOGY.edge_labels and np.shape(weights["mixing_weights"]) == (6, 5)
    record = metrics(path / "search")[-1]
    assert {"skip_nasbench201", "pool_nasbench201", "entropy_nasbench201"} <= record.keys()
    best = np.sort(np.array(weights["mixing_weights"]), 1)
    assert record["gap_nasbench201"] == pytest.approx((best[:, -1] - best[:, -2]).mean(), rel=1e-4)
    page = write_report([path / "search"], tmp_path / "page.html", "cifar100").read_text()
    true = f"{query(found).test['cifar100']:.2f} %"
    assert "true test accuracy on cifar100" in page and page.count(true) >= 1
    assert "mean of all cells" in page and "61.41 %" in page and "73.51 %" in page


def test_it_is_trained_evaluated_and_exported(searched):
    from darts_tf.export import exporting

    path, found = searched
    summary = train(TRAIN.replace(genotype=str(path / "search")), path / "train", Console())
    assert summary["genotype"] == found.to_json() and summary["parameters"] > 0
    result = evaluate(str(path / "train"))
    assert result["accuracy"] == pytest.approx(summary["test_accuracy"])
    exporting.export(str(path / "train"), str(path / "models"))
    assert list((path / "models").rglob("saved_model.pb"))


def test_the_tuner_proposes_in_it(searched):
    path, found = searched
    prior = load_prior(str(path / "search"))
    assert prior.space.operations == list(NASBENCH201_PRIMITIVES)  # `none`, too
    random, tried = np.random.default_rng(0), []
    for _ in range(20):
        tried.append(propose(prior, 1.0, tried, [], 0.3, random))
    assert tried[0] == found and len(set(tried)) == 20
    assert {name for each in tried for name, _ in each.nasbench201} == set(NASBENCH201_PRIMITIVES)
    for each in tried:
        assert genotype_from(values_from(each)) == each
    assert load_prior(found).first == load_prior(found.string).first == found
    uniform = load_prior(None, kind="nasbench201")
    assert isinstance(propose(uniform, 1.0, [], [], 0.3, random), NasBench201Genotype)


# Settings.


def test_what_is_not_of_this_space_is_refused():
    space, sizes = spaces.get("nasbench201"), ((8, 8, 3), 4)
    with pytest.raises(UserError, match="a cell of NAS-Bench-201 has 3 nodes in addition to its input. Received: 4"):
        space.supernet(SEARCH.replace(num_nodes=4), None, *sizes)
    with pytest.raises(UserError, match="concat must be 0 or 1.*Received: 2"):
        space.supernet(SEARCH.replace(concat=2), None, *sizes)
    with pytest.raises(UserError, match="Unknown primitive. Expected some of: none, skip_connect, nor_conv_1x1"):
        space.check(presets.get("smoke").config.primitives)
    for changes in ({"auxiliary": True}, {"drop_path": 0.1}):
        with pytest.raises(UserError, match="neither an auxiliary head nor drop path. Expected auxiliary=False and"):
            space.network(TRAIN.replace(genotype=query(0).string, **changes), *sizes)
    with pytest.raises(UserError, match="expected a nasbench201 genotype. Received: a conv genotype"):
        NasBench201Network("DARTS_V2")


def test_the_presets_are_the_benchmarks():
    config, training = presets.get("nasbench201_search").config, presets.get("nasbench201_train").config
    assert (config.epochs, config.batch_size, config.learning_rate, config.learning_rate_min) == (50, 64, 0.025, 0.001)
    assert (config.weight_decay, config.grad_clip, config.arch_learning_rate) == (5e-4, 5, 3e-4)
    assert (config.arch_beta1, config.arch_beta2, config.arch_weight_decay) == (0.5, 0.999, 1e-3)
    assert (training.epochs, training.batch_size, training.learning_rate, training.learning_rate_min) == (
        200,
        256,
        0.1,
        0,
    )
    assert (training.weight_decay, training.grad_clip, training.flip, training.crop_padding) == (5e-4, 0, True, 4)
    net = spaces.get("nasbench201").network(training, (32, 32, 3), 10)
    record = query(training.genotype)
    assert (net.parameters, net.macs()) == (record.parameters, record.flops) and record.index == 6111


# The supernet.


@pytest.mark.parametrize("training", [True, False])
def test_the_fused_operations_are_the_plain_sum(training, float64):
    """Weights that do not sum to one, too."""
    rng = np.random.default_rng(0)
    fused = NasBench201MixedOp(3, 4, 1, NASBENCH201_PRIMITIVES)
    for variable in fused.variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    x, weights = (tf.constant(rng.normal(size=shape)) for shape in ((2, 6, 6, 4), (3, 5)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, weights])
        found = fused(x, weights, training=training)
        plain = mixed(fused.operations, weights, x, 4, training)
        sums = [tf.reduce_sum(y * tf.sin(y)) for y in (found, plain)]
    np.testing.assert_allclose(found, plain, rtol=1e-10, atol=1e-12)
    for one, other in zip(*(tape.gradient(each, [x, weights]) for each in sums), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("index", [0, 6111, 1835, 9, 10])
def test_one_hot_weights_are_the_derived_network(index, float64):
    """In training mode and otherwise; in cell 10 nothing reaches the output."""
    genotype = NasBench201Genotype.of_index(index)
    keras.utils.set_random_seed(1)
    supernet = NasBench201Supernet(4, (8, 8, 3), 4, 5)
    network = NasBench201Network(genotype, 4, (8, 8, 3), 4, 5)
    chosen = np.array([NASBENCH201_PRIMITIVES.index(name) for name, _ in genotype.nasbench201])
    rng = np.random.default_rng(0)
    for variable in supernet.state_variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    for ours, theirs in zip(supernet.cells, network.cells, strict=True):
        if isinstance(ours, ResidualBlock):
            _copy(ours.variables, theirs.variables)
            continue
        for state, operations in enumerate(ours.mixed):
            edges = TOPOLOGY.leaving(state)
            for part, (row, _) in enumerate(edges):
                source, target = operations.operations[chosen[row]], theirs.operations[row]
                if not hasattr(target, "conv"):
                    continue
                target.conv.assign(np.split(array(source.conv), len(edges), -1)[part])
                for name in ("moving_mean", "moving_variance"):
                    share = np.split(array(getattr(source.bn, name)), len(edges))[part]
                    getattr(target.bn, name).assign(share)
    for name in ("stem", "last_bn"):
        _copy(getattr(supernet, name).variables, getattr(network, name).variables)
    _copy([supernet.classifier, supernet.bias], [network.classifier, network.bias])
    x, mixing = rng.normal(size=(3, 8, 8, 3)), {CELL: tf.constant(np.eye(5)[chosen])}
    for training in (False, True):
        np.testing.assert_allclose(
            supernet(x, training=training, mixing=mixing), network(x, training=training), rtol=1e-9, atol=1e-11
        )


def _copy(sources, targets):
    for source, target in zip(sources, targets, strict=True):
        target.assign(source.value)


def small(dtype="float64", **changes):
    """A small search step, with equal start values at every call, and its batches."""
    config = SEARCH.replace(**{"num_cells": 3} | changes, alpha_init_scale=0.5)
    supernet = spaces.get("nasbench201").supernet(config, None, (8, 8, 3), 4)
    rng = np.random.default_rng(0)
    batches = [(tf.constant(rng.normal(size=(4, 8, 8, 3)), dtype), tf.constant([0, 3, 1, 2])) for _ in "tv"]
    return search_step(supernet, config, None), batches


def gradients(**changes):
    step, batches = small(**changes)
    return [np.asarray(g) for g in step.architect.gradient(*batches, rate(0.1))[1]]


def test_both_orders(float64):
    found = {hvp: gradients(order=order, hvp=hvp, hvp_radius=1e-6)[0] for order, hvp in SECOND}
    first = gradients(order="first")[0]
    exact, difference = found["exact"], found["finite_difference"]
    assert np.linalg.norm(exact - first) > 1e-3 * np.linalg.norm(first)
    np.testing.assert_allclose(difference, exact, rtol=0, atol=1e-3 * np.linalg.norm(exact))


@pytest.mark.parametrize("changes", [{"recompute": True}, {"accumulate": 2}], ids=str)
def test_recomputed_and_in_parts(changes, float64):
    plain, other = (gradients(order="second", hvp="exact", **each) for each in ({}, changes))
    same = np.allclose(plain, other, rtol=1e-9, atol=1e-12)
    assert same == ("recompute" in changes) and np.isfinite(other).all()


def test_drop_path_on_mixed_edges(float64):
    """One row of factors for each edge of each cell, not of the blocks; nothing is dropped in the first epoch."""
    step, batches = small(order="first", edge_drop_path=0.6, num_cells=4)
    net, (images, _) = step.supernet, batches[0]
    factors = np.asarray(net.drop_factors(4, 0.6, tf.constant([3, 4])))
    assert factors.shape == (12, 4) and set(np.unique(factors.round(6))) == {0.0, 2.5}
    weights, mixing = values(net.weight_variables), {CELL: tf.fill([6, 5], tf.constant(0.2, "float64"))}
    plain = net.stateless(weights, mixing, images)[0]
    np.testing.assert_allclose(net.stateless(weights, mixing, (images, tf.ones([12, 4], "float64")))[0], plain)
    kept = np.array([[1.0], [0], [1], [0], [1], [1]])
    dropped = net.stateless(weights, {CELL: kept * mixing[CELL]}, images)[0]
    found = net.stateless(weights, mixing, (images, tf.constant(np.tile(kept, (2, 4)))))[0]
    np.testing.assert_allclose(found, dropped, rtol=1e-9)
    assert np.abs(found - plain).max() > 1e-3
    other, _ = small(order="first", num_cells=4)
    for each in (step, other):
        each(*batches, tf.constant(3, tf.int64), rate(0.1), rate(0.0))
    for mine, theirs in zip(snapshot(step), snapshot(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_half_precision(precision):
    step, batches = small("float32", order="first", precision=precision)
    before = snapshot(step)
    report = step(*batches, tf.constant(0, tf.int64), rate(0.1))
    assert np.isfinite(report["loss"]) and step.supernet.weight_variables[0].dtype == "float32"
    assert sum(not np.array_equal(a, b) for a, b in zip(before, snapshot(step), strict=True)) > 10


def test_odd_sizes_and_saving(tmp_path):
    network = NasBench201Network(query(0).string, 4, (9, 7, 1), 4, 4)
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 1)).astype(np.float32)
    network(x, training=True)
    network.save(tmp_path / "network.keras")
    read = keras.models.load_model(tmp_path / "network.keras")
    assert read.genotype == network.genotype
    np.testing.assert_array_equal(read(x), network(x))
    supernet = NasBench201Supernet(4, (9, 7, 1), 4, 4, primitives=("skip_connect", "nor_conv_3x3"))
    copy = NasBench201Supernet.from_config(supernet.get_config())
    copy.set_weights(supernet.get_weights())
    np.testing.assert_array_equal(copy(x), supernet(x))
    assert len(values(copy.arch_variables)) == 1
