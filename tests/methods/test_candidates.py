"""Edges with candidate operations of their own: RobustDARTS' spaces, by golden numbers and in the step."""

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods, spaces
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.genotypes import ConvGenotype, candidates, selection
from darts_tf.methods.combined import OF_ALL_CANDIDATES, Combined
from darts_tf.methods.darts import Darts
from darts_tf.spaces.conv.mixed import MixedOp, mixed
from darts_tf.spaces.conv.operations import Noise
from darts_tf.system.errors import UserError
from tests.helpers.arrays import CHANNELS, assert_close, fill, images
from tests.helpers.golden import nhwc, read, under
from tests.helpers.steps import KINDS, array, batches, rate, search_step
from tests.helpers.variants import CELLS, Variant, as_type, close


def test_the_named_spaces_are_those_of_the_original(variants):
    for name, cells in read(variants, "robustdarts_config.json")["spaces"].items():
        assert candidates.read(name, ConvGenotype, 4) == cells
        config = SearchConfig(candidates=name)
        assert set(config.primitives) == {each for edges in cells.values() for names in edges for each in names}
        assert SearchConfig.from_json(config.to_json()) == config


def golden(variants, name, dtype):
    return Variant(variants, "robustdarts_network", dtype, f"{name}/", ("networks", name), candidates=name)


def check(variant, theirs, batch):
    told, gradients = variant.gradients(batch)
    close(told.outputs, theirs["logits"], as_type(variant.dtype)["output"])
    close(told.loss, theirs["loss"], as_type(variant.dtype)["loss"])
    for cell, gradient in zip(CELLS, gradients[1], strict=True):
        mask = variant.search.masks[cell]
        close(
            np.asarray(gradient)[mask].reshape(14, -1), theirs[f"grad_alpha_{cell}"], as_type(variant.dtype)["alphas"]
        )
        assert not np.any(np.asarray(gradient)[~mask])


@pytest.mark.parametrize("name", ["s1", "s3"])
def test_the_golden_networks(variants, dtype, name):
    variant = golden(variants, name, dtype)
    x, y = variant.batch()
    check(variant, under(variant.arrays, "train/"), (x, y))
    if name == "s1":
        factors = [variant.arrays[f"drop_mask/cell{c}_edge{e}"] for c in range(3) for e in range(14)]
        drop = tf.constant(np.stack(factors) / (1 - variant.sizes["rate"]), dtype)
        check(variant, under(variant.arrays, "drop/"), ((x, drop), y))
    mixing = variant.method.mixing_weights(dict(zip(CELLS, variant.functions.arch.values(), strict=True)), None)
    logits = variant.net(x, training=False, mixing=mixing)
    close(logits, variant.arrays["eval/logits"], as_type(dtype)["output"])
    close(variant.net(x, training=False), logits, 1e-12)


def test_the_golden_network_with_noise(variants, dtype, monkeypatch):
    variant = golden(variants, "s4", dtype)
    recorded = {}
    for c, cell in enumerate(variant.net.cells):
        for state, operation in enumerate(cell.mixed):
            names = [f"noise/cells.{c}._ops.{row}._ops.0" for row, _ in cell.topology.leaving(state)]
            drawn = tf.concat([nhwc(variant.arrays[name], dtype) for name in names], -1)
            recorded[operation.operations[0].number] = drawn
    monkeypatch.setattr(Noise, "drawn", lambda self, shape, like: tf.ensure_shape(recorded[self.number], shape))
    check(variant, under(variant.arrays, "train/"), variant.batch())
    close(variant.net(variant.batch()[0], training=False), variant.arrays["eval/logits"], as_type(dtype)["output"])


@pytest.mark.parametrize("name", ["s1", "s2", "s3", "s4"])
def test_the_golden_genotypes(variants, name):
    arrays, cases = read(variants, "robustdarts_genotypes.npz"), read(variants, "robustdarts_config.json")["genotypes"]
    config = SearchConfig(candidates=name)
    method = methods.make(config)
    for index, expected in enumerate(cases[name]):
        alphas = {cell: np.full((14, len(config.primitives)), 50.0, np.float32) for cell in CELLS}
        for cell in CELLS:
            alphas[cell][config.masks[cell]] = np.ravel(arrays[f"{name}_{cell}"][index])
        how = {"strength": method.strength, "select": method.selection(selection.select)}
        found = genotypes.derive(ConvGenotype, alphas, config.primitives, **how)
        for cell in CELLS:
            assert [*map(list, getattr(found, cell))] == expected[cell], index


ALLOWED = np.array([[1, 1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]], bool)
NAMES = ["none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_a_mixed_operation_of_edges_that_differ(stride, training, dtype):
    """Each edge against the plain sum of its own operations; what no edge may have does not exist."""
    x, fused = images(2, 6, 6, CHANNELS, dtype=dtype), fill(MixedOp(4, CHANNELS, stride, NAMES, ALLOWED))
    assert [operation and operation.edges for operation in fused.operations] == [2, 2, None, 3, None, 2, 1]
    weights = images(4, len(NAMES), dtype=dtype, seed=5)  # also where an edge has no such operation
    parts = np.split(np.asarray(fused(x, weights, training=training)), 4, -1)
    for edge, names in enumerate(ALLOWED):
        own = [index for index in np.flatnonzero(names)]
        single = MixedOp(1, CHANNELS, stride, [NAMES[index] for index in own])
        for mine, index in zip(single.operations, own, strict=True):
            place, theirs = fused.having[index].index(edge), fused.operations[index]
            for variable, source in zip(mine.variables, theirs.variables, strict=True):
                depthwise = len(variable.shape) == 4 and variable.shape[3] == 1
                axis = 2 if depthwise else len(variable.shape) - 1
                variable.assign(np.split(np.asarray(source), len(fused.having[index]), axis)[place])
        scales = [*map(tf.constant, [weights[edge : edge + 1, own]])][0]
        assert_close(parts[edge], mixed(single.operations, scales, x, CHANNELS, training), dtype, f"edge {edge}")


EDGES = [
    ["skip_connect"],
    ["max_pool_3x3", "sep_conv_3x3"],
    ["none", "skip_connect"],
    ["sep_conv_3x3"],
    ["skip_connect", "noise"],
]
OTHERS = [["max_pool_3x3"], ["noise", "skip_connect"], ["sep_conv_3x3"], ["skip_connect", "max_pool_3x3"], ["noise"]]
SMALL = {"init_channels": 4, "num_cells": 3, "num_nodes": 2, "epochs": 4, "alpha_init_scale": 0.5}
SMALL |= {"candidates": json.dumps({"normal": EDGES, "reduce": OTHERS})}
COMBINED = ("drnas,pc_darts,darts_minus,beta_darts",)
SETTINGS = {"drnas": {"drnas_kl": 0.1}}
SETTINGS |= dict.fromkeys(("smooth_darts", "smooth_darts,pc_darts"), {"smooth_darts_attack": "adversarial"})


def step_of(method, kind="first", trace=None, **changes):
    config = SearchConfig(method=method, **SMALL, **KINDS[kind], **SETTINGS.get(method, {}), **changes)
    made = methods.make(config)
    net = spaces.get("conv").supernet(config, made, (8, 8, 3), 4)
    return search_step(net, config, trace, method=made), config


@pytest.mark.parametrize("method", [*sorted(methods.METHODS.keys() - {*OF_ALL_CANDIDATES}), *COMBINED])
def test_masked_entries_have_no_weight_and_no_gradient(method):
    """In the relaxation of a step, in its gradient and in the step of the weights; none of it depends on them."""
    step, config = step_of(method, arch_weight_decay=0.0)
    masks, arch = config.masks, step.functions.arch
    alphas = {name: v.value for name, v in arch.items()}
    noise = step.method.noise(alphas, tf.constant([1, 2], tf.int64), 2.0)
    for drawn in (noise, None):
        with tf.GradientTape() as tape:
            tape.watch(alphas)
            mixing = step.method.mixing_weights(alphas, drawn)
            penalty = step.method.penalty(alphas, mixing, 2.0)
            loss = sum(tf.reduce_sum(tf.cos(each)) for each in mixing.values()) + (0.0 if penalty is None else penalty)
        assert np.isfinite(loss)
        for cell, gradient in tape.gradient(loss, {cell: alphas[cell] for cell in CELLS}).items():
            count = masks[cell].shape[1]
            assert not np.any(np.asarray(mixing[cell])[:, :count][~masks[cell]])
            assert not np.any(np.asarray(gradient)[~masks[cell]]) and np.isfinite(gradient).all()
    strength = step.method.strength({name: array(v) for name, v in arch.items()})
    assert all(not np.any(strength[cell][~masks[cell]]) for cell in CELLS)


@pytest.mark.parametrize("method", ["darts", "smooth_darts", "smooth_darts,pc_darts"])
def test_a_step_neither_moves_nor_reads_masked_entries(method):
    found = []
    for change in (0.0, 3.0):
        step, config = step_of(method, arch_weight_decay=0.0)
        for cell in CELLS:
            step.functions.arch[cell].assign_add(change * ~config.masks[cell])
        before = {cell: array(step.functions.arch[cell]) for cell in CELLS}
        step(*batches(), tf.constant(3, tf.int64), rate(0.1), rate(2))
        for cell, mask in config.masks.items():
            after = array(step.functions.arch[cell])
            assert np.array_equal(after[~mask], before[cell][~mask]) and not np.array_equal(after, before[cell])
        found.append([array(v) for v in step.supernet.weight_variables])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("settings", [{}, {"max_skips": 1}, {"method": "fair_darts"}])
def test_a_derived_cell_has_allowed_operations_only(settings):
    config = SearchConfig(**SMALL, **settings)
    method, rng = methods.make(config), np.random.default_rng(0)
    topology = ConvGenotype.topology(2)
    how = {"strength": method.strength, "select": method.selection(selection.select)}
    for scale in (1.0, 1e3):  # where all weights but the largest underflow
        shape = topology.num_edges, len(config.primitives)
        alphas = {cell: np.float32(rng.normal(size=shape) * scale) for cell in CELLS}
        alphas["normal"][2, [config.primitives.index("none")]] = 1e4
        found = genotypes.derive(ConvGenotype, alphas, config.primitives, 2, **how)
        for cell, edges in zip(CELLS, (EDGES, OTHERS), strict=True):
            for index, (name, source) in enumerate(getattr(found, cell)):
                assert name in edges[topology.row(source, topology.edge_of(index))]


def test_other_spaces_have_candidates_too():
    edges = [["relu", "tanh"], ["identity"], ["sigmoid", "none"]]
    config = LanguageSearchConfig(num_nodes=2, candidates=json.dumps({"recurrent": edges}))
    assert config.masks["recurrent"].sum(1).tolist() == [2, 1, 2]
    edges = [["none", "skip_connect"], ["nor_conv_3x3"], *[["nor_conv_1x1", "avg_pool_3x3"]] * 3, ["none"]]
    config = SearchConfig(
        space="nasbench201", num_nodes=3, candidates=json.dumps({"nasbench201": edges}), init_channels=4, num_cells=3
    )
    method = methods.make(config)
    net = spaces.get("nasbench201").supernet(config, method, (8, 8, 3), 4)
    step = search_step(net, config, method=method)
    before = sum(int(np.prod(v.shape)) for v in net.weight_variables)
    step(*batches(), tf.constant(3, tf.int64), rate(0.1), rate(2))
    every = spaces.get("nasbench201").supernet(config.replace(candidates="all"), None, (8, 8, 3), 4)
    assert before < sum(int(np.prod(v.shape)) for v in every.weight_variables)


def test_a_network_comes_back_from_its_settings():
    config = SearchConfig(**SMALL)
    net = spaces.get("conv").supernet(config, None, (8, 8, 3), 4)
    other = type(net).from_config(net.get_config())
    assert [v.shape for v in other.variables] == [v.shape for v in net.variables]


def test_a_file_is_read_once(tmp_path):
    path = tmp_path / "edges.json"
    path.write_text(SMALL["candidates"])
    config = SearchConfig(num_nodes=2, candidates=str(path))
    path.unlink()
    assert (
        SearchConfig.from_json(config.to_json())
        == config
        == SearchConfig(**{**SMALL, "candidates": config.candidates}).replace(
            **{name: getattr(config, name) for name in ("init_channels", "num_cells", "epochs", "alpha_init_scale")}
        )
    )
    assert config.primitives == ("noise", "none", "max_pool_3x3", "skip_connect", "sep_conv_3x3")


def with_edge(names):
    return json.dumps({"normal": [*EDGES[:4], names], "reduce": OTHERS})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s5", "candidates must be all, s1, s2, s3, s4, JSON, or the path of a file with JSON; there is no such file"),
        ("", "candidates must be the path"),
        ("{", "candidates: the JSON cannot be read"),
        ("[1]", "of the cells normal, reduce"),
        ('{"normal": []}', "of the cells normal, reduce"),
        (json.dumps({"normal": EDGES[:4], "reduce": OTHERS}), "cell normal has 5 edges.* Received: 4"),
        (json.dumps({"normal": EDGES, "reduce": {}}), "cell reduce has 5 edges"),
        (with_edge([]), "edge 4 of cell normal needs a list of at least one operation"),
        (with_edge("none"), "edge 4 of cell normal needs a list"),
        (with_edge([3]), "edge 4 of cell normal needs names of operations"),
        (with_edge(["noise", "noise"]), "edge 4 of cell normal names an operation twice"),
        (with_edge(["none"]), "edge 4 of cell normal needs an operation other than none"),
        ("s1", "candidates=s1 is for cells with 4 nodes"),
    ],
)
def test_bad_candidates_are_refused(text, message):
    with pytest.raises(UserError, match=message) as error:
        SearchConfig(num_nodes=2, candidates=text)
    assert "\n" not in str(error.value)


def test_methods_of_all_candidates_are_refused():
    for name, wrong in (("s1", True), ("s2", False)):
        config = SearchConfig(method="random_nas", candidates=name)
        made = Combined(config, {"random_nas": Darts(config)})
        with pytest.raises(UserError, match="random_nas chooses among all") if wrong else contextlib.nullcontext():
            made.check(made.base)


def test_unknown_operations_are_refused():
    config = SearchConfig(num_nodes=2, candidates=with_edge(["conv_9x9", "noise"]))
    with pytest.raises(UserError, match="Unknown primitive.*'conv_9x9'"):
        spaces.get("conv").check(config.primitives)
    with pytest.raises(UserError, match="image cells"):
        LanguageSearchConfig(candidates="s2")
