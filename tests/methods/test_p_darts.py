"""P-DARTS against numbers calculated with its authors' code, and its stages as runs."""

import json

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods, spaces
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, ConvGenotype, selection
from darts_tf.methods import p_darts
from darts_tf.passes.context import within
from darts_tf.protocol.results import search_records
from darts_tf.report import runs
from darts_tf.runs.metrics import read_metrics
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.nasbench201.networks import CELL
from darts_tf.spaces.nasbench201.operations import NasBench201MixedOp
from darts_tf.system.errors import UserError
from darts_tf.tasks import stages
from darts_tf.tuner.searched import found_alphas
from tests.helpers.golden import nhwc, read, under
from tests.helpers.runs import Console
from tests.helpers.searches import SMOKE, run
from tests.helpers.steps import KINDS, array, rate, search_step
from tests.helpers.variants import CELLS, Variant, as_type, close

NASBENCH201 = {"space": "nasbench201", "num_nodes": 3, "primitives": NASBENCH201_PRIMITIVES}


def masks_of(alive, count=8):
    return {cell: np.array([np.isin(range(count), own) for own in alive[cell]]) for cell in CELLS}


def pairs(cell):
    return [sorted(map(tuple, cell[first : first + 2])) for first in range(0, len(cell), 2)]


def test_the_stages_end_with_the_golden_genotypes(variants):
    """What is left after each stage, through the settings of each, and the cell of the last one."""
    arrays, golden = read(variants, "pdarts_genotypes.npz"), read(variants, "pdarts_genotypes.json")
    start = SearchConfig(method="p_darts", primitives=tuple(golden["primitives"]))
    for index, case in enumerate(golden["cases"]):
        config = start.replace(p_darts_stage=1)
        for stage, keep in enumerate((5, 3, None)):
            alive = config.masks or {cell: np.ones((14, 8), bool) for cell in CELLS}
            alphas = {cell: np.zeros(rows.shape, np.float32) for cell, rows in alive.items()}
            for cell, rows in alive.items():
                alphas[cell][rows] = np.ravel(arrays[f"stage{stage}_{cell}"][index])
            method = methods.make(config)
            if keep:
                following = stages.following(config, method.strength(alphas), keep)
                config = start.replace(p_darts_stage=stage + 2, candidates=following)
                left = {
                    cell: rows[:, [config.primitives.index(name) for name in golden["primitives"]]]
                    for cell, rows in config.masks.items()
                }
                for cell, expected in masks_of(case["alive_after_stage"][stage]).items():
                    np.testing.assert_array_equal(left[cell], expected)
            else:
                how = {"strength": method.strength, "select": method.selection(selection.select)}
                found = genotypes.derive(ConvGenotype, alphas, config.primitives, **how)
                for cell in CELLS:
                    assert pairs(getattr(found, cell)) == pairs(case["genotype"][cell]), index


def test_the_golden_rates(variants):
    for schedule in read(variants, "pdarts_genotypes.json")["skip_dropout_schedules"]:
        method = p_darts.PDarts(
            SearchConfig(
                method="p_darts",
                epochs=schedule["epochs"],
                warmup_epochs=schedule["epochs_without_arch"],
                p_darts_skip_dropout=f"0,{schedule['drop_rate']},0.7",
                p_darts_stage=2,
            )
        )
        found = [method.noise({}, None, tf.constant(epoch, tf.float64)) for epoch in range(schedule["epochs"])]
        close(found, schedule["p"], 1e-12)


def golden_network(variants, dtype, rate):
    golden = read(variants, "pdarts_config.json")
    names = {cell: [[golden["primitives"][i] for i in own] for own in golden["alive"][cell]] for cell in CELLS}
    return Variant(
        variants,
        "pdarts_network",
        dtype,
        rename=lambda name: name.replace("cell_ops", "_ops").replace("m_ops", "_ops"),
        method="p_darts",
        p_darts_stage=2,
        p_darts_skip_dropout=f"0,{rate},0.7",
        candidates=json.dumps(names),
    )


@pytest.mark.parametrize("case", ["train_p0", "train_drop"])
def test_the_golden_network_of_the_second_stage(variants, dtype, monkeypatch, case):
    p = read(variants, "pdarts_config.json")["p"]
    variant = golden_network(variants, dtype, 0 if case == "train_p0" else p)
    theirs, recorded = under(variant.arrays, case + "/"), {}
    for c, cell in enumerate(variant.net.cells):
        for state, mixed in enumerate(cell.mixed):
            if case == "train_drop" and mixed.skip is not None and mixed.having[mixed.skip]:
                rows = [cell.topology.leaving(state)[edge][0] for edge in mixed.having[mixed.skip]]
                prefixes = [f"dropout_mask/cells.{c}.cell_ops.{row}.m_ops." for row in rows]
                own = [next(a for n, a in variant.arrays.items() if n.startswith(each)) for each in prefixes]
                recorded[mixed.number] = tf.concat([nhwc(mask, dtype) for mask in own], -1) / (1 - p)
    monkeypatch.setattr(p_darts.DroppedSkips, "factors", lambda self, *_: recorded[self.number])
    x, y = variant.batch()
    inputs, noise = (
        (x, ((),)) if case == "train_p0" else ((x, None, tf.zeros((5, 2), tf.int32)), (tf.constant(p, dtype),))
    )
    told, gradients = variant.gradients((inputs, y), noise)
    limit = as_type(dtype)
    close(told.outputs, theirs["logits"], limit["output"])
    close(told.loss, theirs["loss"], limit["loss"])
    close(variant.norms(gradients[0]), theirs["grad_norm_per_parameter"], limit["norms"])
    for cell, gradient in zip(CELLS, gradients[1], strict=True):
        mask = variant.search.masks[cell]
        close(np.asarray(gradient)[mask].reshape(14, -1), theirs[f"grad_alpha_{cell}"], limit["alphas"])
        assert not np.any(np.asarray(gradient)[~mask])
    mixing = variant.method.mixing_weights(dict(zip(CELLS, variant.functions.arch.values(), strict=True)), None)
    evaluated = variant.net(x, training=False, mixing=mixing)
    close(evaluated, variant.arrays["eval/logits"], limit["output"])


def test_what_is_dropped():
    """A share of about the rate, of what the skip connection gives alone; scaled; another share for other numbers."""
    usual = methods.make(SearchConfig(method="p_darts", p_darts_stage=2)).mixed_operation(MixedOp)
    layer = usual(2, 4, 1, ["none", "skip_connect", "avg_pool_3x3"], np.array([[1, 1, 0], [1, 0, 1]], bool))
    x, weights = tf.ones((8, 8, 8, 4)), tf.constant([[0.5, 0.5, 0, 0.25], [0, 0, 1, 0.25]])
    with within(seed=tf.constant([1, 2], tf.int64), statistics={}):
        first, again = (np.asarray(layer(x, weights, training=True)) for _ in range(2))
        layer.number = 1
        other = np.asarray(layer(x, weights, training=True))
        evaluated = np.asarray(layer(x, weights))
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first[..., :4].round(6))) == {0.0, np.float32(0.5 / 0.75).round(6)}
    assert abs(np.mean(first[..., :4] == 0) - 0.25) < 0.05 and np.mean(first != other) > 0.1
    np.testing.assert_array_equal(evaluated[..., :4], 0.5)


@pytest.mark.parametrize("allowed", [None, np.array([[1, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 0, 0]], bool)])
def test_a_rate_of_zero_is_the_plain_operation_of_nasbench201(allowed, float64):
    """With gradients; operations that no edge has left do not exist."""
    rng = np.random.default_rng(0)
    sizes = 3, 4, 1, NASBENCH201_PRIMITIVES, allowed
    dropped, plain = p_darts.DroppedSkips(NasBench201MixedOp, *sizes), NasBench201MixedOp(*sizes)
    for mine, theirs in zip(dropped.variables, plain.variables, strict=True):
        mine.assign(rng.uniform(0.5, 1.5, mine.shape))
        theirs.assign(mine.value)
    assert dropped.having == plain.having
    x, weights = (tf.constant(rng.normal(size=shape)) for shape in ((2, 6, 6, 4), (3, 5)))
    found = []
    for layer, columns in ((dropped, [weights, tf.zeros((3, 1), weights.dtype)]), (plain, [weights])):
        with tf.GradientTape() as tape, within(seed=tf.constant([1, 2], tf.int64)):
            tape.watch([x, weights])
            y = layer(x, tf.concat(columns, -1), training=True)
            found.append((y, *tape.gradient(tf.reduce_sum(y * tf.sin(y)), [x, weights])))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)


def test_a_stage_in_nasbench201_has_only_its_candidates():
    """Weights of the operations that are left, and no gradient for the others; its skip connections are numbered."""
    rng = np.random.default_rng(0)
    alive = {CELL: np.ones((6, 5), bool)}
    left = p_darts.pruned({CELL: rng.random((6, 5))}, alive, 3)[CELL]
    names = {CELL: [[*np.array(NASBENCH201_PRIMITIVES)[own]] for own in left]}
    settings = NASBENCH201 | {"method": "p_darts", "p_darts_stage": 2, "candidates": json.dumps(names)}
    config = SearchConfig(**settings, init_channels=4, num_cells=5, order="first", epochs=4, arch_weight_decay=0.0)
    made, space = methods.make(config), spaces.get("nasbench201")
    net, every = (space.supernet(config.replace(**each), made, (8, 8, 3), 4) for each in ({}, {"candidates": "all"}))
    counts = [sum(np.prod(v.shape) for v in each.weight_variables) for each in (net, every)]
    one, three = (sum(~left[:, NASBENCH201_PRIMITIVES.index(f"nor_conv_{n}x{n}")]) for n in (1, 3))
    squares = sum(width**2 for width in (4, 8, 16))  # one cell of each width
    assert left.sum() == 18 and counts[1] - counts[0] == squares * (one + 9 * three) > 0
    skips = [each for cell in net.cells if cell.drops for each in cell.mixed]
    assert net.draws and sorted(each.number for each in skips) == [*range(len(skips))]
    step = search_step(net, config, None, method=made)
    batches = [(tf.constant(rng.normal(size=(4, 8, 8, 3)), tf.float32), tf.constant([0, 3, 1, 2])) for _ in "tv"]
    start = array(net.alphas[CELL])
    step(*batches, tf.constant(3, tf.int64), rate(0.1), rate(1.0))
    np.testing.assert_array_equal((array(net.alphas[CELL]) != start)[~left], False)
    assert (array(net.alphas[CELL]) != start)[left].all()


def moved(kind, **changes):
    small = {"init_channels": 4, "num_cells": 3, "num_nodes": 1, "epochs": 4, "alpha_init_scale": 0.5}
    config = SearchConfig(**small, primitives=("none", "skip_connect", "sep_conv_3x3"), **KINDS[kind], **changes)
    made = methods.make(config)
    step = search_step(spaces.get("conv").supernet(config, made, (8, 8, 3), 4), config, None, method=made)
    rng = np.random.default_rng(0)
    batches = [(tf.constant(rng.normal(size=(4, 8, 8, 3)), tf.float32), tf.constant([0, 3, 1, 2])) for _ in "tv"]
    step(*batches, tf.constant(3, tf.int64), rate(0.1), rate(1.0))
    return [array(v) for v in (*step.functions.arch.values(), *step.supernet.weight_variables)]


def test_a_step_with_and_without_dropout():
    plain, own = moved("first"), {"method": "p_darts", "p_darts_keep": "3,2,2"}
    for mine, theirs in zip(moved("first", **own, p_darts_stage=1), plain, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    dropped = moved("first", **own, p_darts_stage=2)
    assert any(not np.array_equal(a, b) for a, b in zip(dropped, plain, strict=True))
    for mine, theirs in zip(moved("first", **own, p_darts_stage=2, recompute=True), dropped, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


FEW = {"primitives": ("none", "max_pool_3x3", "skip_connect"), "order": "first", "epochs": 2, "num_nodes": 2}
FEW |= {"method": "p_darts", "p_darts_cells": "3,4", "p_darts_keep": "3,2", "p_darts_skip_dropout": "0,0.4"}
FEW |= {"tensorboard": False, "eigenvalue": False, "max_skips": 1}
FEW_NASBENCH201 = FEW | NASBENCH201 | {"primitives": ("none", "skip_connect", "avg_pool_3x3")}


def test_the_stages_without_their_searches(tmp_path):
    """Each with the settings that follow from the one before; what was interrupted comes again."""
    config = SMOKE.replace(**FEW, p_darts_stage=0)
    rng, seen = np.random.default_rng(0), []
    genotype = genotypes.load("DARTS_V2")
    strength = {cell: rng.random((5, 3)) for cell in CELLS}

    def one(own, path):
        seen.append((own, path.name))
        return None if len(seen) == 2 else (genotype, strength)

    assert stages.run(config, tmp_path, one, str) is None and not (tmp_path / "genotype.json").exists()
    assert stages.run(config, tmp_path, one, str) == genotype == genotypes.load(tmp_path)
    assert [name for _, name in seen] == ["stage_1", "stage_2"] * 2
    assert [own for own, _ in seen[:2]] == [own for own, _ in seen[2:]]
    assert [own.num_cells for own, _ in seen[:2]] == [3, 4] and [own.max_skips for own, _ in seen[:2]] == [-1, 1]
    assert seen[0][0].masks is None
    for cell, rows in seen[1][0].masks.items():
        np.testing.assert_array_equal(rows, strength[cell] > strength[cell].min(1, keepdims=True))
    with pytest.raises(UserError, match="p_darts_cells"):
        stages.run(config.replace(p_darts_cells="3,5"), tmp_path, one, str)


class Second(Console):
    """Sends its signal in the second stage."""

    def write(self, text):
        if "stage 2 of 2" in text:
            self.until = "epoch 1 done"
        return super().write(text)


def files(path):
    return {f.relative_to(path): f.read_bytes() for f in path.rglob("*.json") if "time" not in f.name}


@pytest.mark.slow
@pytest.mark.parametrize("few", [FEW, FEW_NASBENCH201], ids=["conv", "nasbench201"])
def test_the_stages_are_searches_that_resume(tmp_path, few):
    """Stopped in the second stage, the same call ends with the same cell; other settings are refused."""
    whole, printed = run(tmp_path / "whole", **few)
    assert "stage 1 of 2: 3 cells" in printed and "stage 2 of 2: 4 cells" in printed
    assert genotypes.load(tmp_path / "whole") == whole and list((tmp_path / "whole" / "plots").iterdir())
    assert sum(name == "skip_connect" for name, _ in getattr(whole, next(iter(whole.cells)))) <= 1
    first, second = (json.loads((tmp_path / "whole" / f"stage_{n}" / "config.json").read_text()) for n in (1, 2))
    assert first["candidates"] == "all" and (first["num_cells"], second["num_cells"]) == (3, 4)
    assert {len(names) for edges in json.loads(second["candidates"]).values() for names in edges} == {2}
    assert (first["max_skips"], second["max_skips"]) == (-1, 1)
    found, _ = run(tmp_path / "halves", Second(), **few)
    assert found is None and not (tmp_path / "halves" / "genotype.json").exists()
    found, _ = run(tmp_path / "halves", **few)
    assert found == whole
    one, other = (files(tmp_path / name) for name in ("whole", "halves"))
    assert one == other
    told = runs.read(tmp_path / "whole", "mine")
    assert (told.name, told.genotype, len(told.history)) == ("mine", whole, second["epochs"])
    records = [read_metrics(tmp_path / "whole" / f"stage_{n}" / "metrics.jsonl") for n in (1, 2)]
    assert all(records) and search_records(tmp_path / "whole") == [*records[0], *records[1]]
    prior = found_alphas(tmp_path / "whole", str)
    sizes = second["primitives"], second["num_nodes"]
    assert whole == genotypes.derive(type(whole), prior.alphas, *sizes, strength=prior.strength, select=prior.select)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p_darts_cells": "5,11"}, "a number for each stage"),
        ({"p_darts_cells": "5,x,17"}, "p_darts_cells must be comma-separated whole numbers"),
        ({"p_darts_cells": "2,11,17"}, "p_darts_cells must be .* at least 3"),
        ({"p_darts_keep": "8,5,1"}, "p_darts_keep must be .* at least 2"),
        ({"p_darts_keep": "7,5,3"}, "begin with at least the number of candidates, 8"),
        ({"p_darts_keep": "8,3,5"}, "must not increase"),
        ({"p_darts_skip_dropout": "0,0.4,1"}, "below 1"),
        ({"p_darts_stage": 4}, "must not exceed their count"),
        ({"method": "darts", "p_darts_stage": 2}, "setting of the method p_darts"),
        ({"method": "p_darts,pc_darts"}, "cannot be combined with pc_darts"),
        (NASBENCH201 | {"p_darts_keep": "4,3,2"}, "begin with at least the number of candidates, 5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message) as error:
        methods.make(SearchConfig(**{"method": "p_darts"} | settings))
    assert "\n" not in str(error.value)


def test_recurrent_cells_are_refused():
    with pytest.raises(UserError, match="a recurrent network has one cell.*Received: space=recurrent"):
        methods.make(LanguageSearchConfig(method="p_darts"))
