"""What watches over a search: its numbers, the eigenvalue, the rule that stops it, the warnings."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes as genotype
from darts_tf.bilevel.curvature import AlphaCurvature, dominant_eigenvalue
from darts_tf.bilevel.objective import values
from darts_tf.bilevel.step import traced
from darts_tf.config import SearchConfig
from darts_tf.engine import early_stop, monitor
from darts_tf.engine.early_stop import Verdict
from darts_tf.genotypes import RECURRENT_PRIMITIVES
from darts_tf.genotypes.selection import softmax
from darts_tf.system.errors import UserError
from darts_tf.tasks.search import SearchTask
from darts_tf.tuner.prior import load_prior
from tests.helpers.runs import Console, metrics, same_run
from tests.helpers.searches import run
from tests.helpers.steps import rate, small_step, snapshot, stateless

TRACE = (0.18, 0.15, 0.17, 0.15, 0.12, 0.25, 0.23, 0.36, 0.22, 0.39, 0.21, 0.43)
"""RobustDARTS' space S1 on CIFAR-10, seed 1."""

QUICK = {
    "order": "first",
    "num_nodes": 1,
    "primitives": ("none", "skip_connect", "sep_conv_3x3"),
    "tensorboard": False,
}


# The rule.


def rule(measured):
    return early_stop.verdict([{"epoch": epoch, "eigenvalue": value} for epoch, value in measured], math.inf)


@pytest.mark.parametrize("first", [0, 2])  # as RobustDARTS counts, and from 1 with the first pair's end
def test_the_published_trace_stops_at_22_and_returns_10(first):
    measured = [(first + 2 * i, value) for i, value in enumerate(TRACE)]
    found = rule(measured)
    assert (found.seen, found.epoch) == (22, 10)
    now = (22 - first) // 2
    assert found.ratio == pytest.approx(np.mean(TRACE[now - 4 : now + 1]) / np.mean(TRACE[now - 8 : now - 3]))
    assert rule(measured[:now]) is None
    assert rule([*measured, (100, 0.0)]) == found  # the first verdict stays


def test_the_rule_as_the_original_states_it():
    """Against its bookkeeping: local averages that grow to a window and then slide, an offset of half a window."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.lognormal(0, 0.5, 25)
        averages, expected = [], None
        for i in range(25):
            if i >= 2:
                averages.append(np.mean(values[max(0, i - 4) : i + 1]))
            middle = 2 * i - 4
            if middle - 8 >= 10 and averages[-1] / averages[-5] > 1.3:
                expected = (middle - 8, 2 * i)
                break
        found = rule((2 * i, v) for i, v in enumerate(values))
        assert (found and (found.epoch, found.seen)) == expected


@pytest.mark.parametrize("values", [[0.2] * 30, np.linspace(1, 0.1, 30), [-0.5] * 15 + [-0.9] * 15, []])
def test_nothing_rises(values, monkeypatch):
    monkeypatch.setattr(early_stop, "START", 0)
    assert rule((2 * i, v) for i, v in enumerate(values)) is None


# The numbers.


def test_entropy_and_gap():
    even, sure = np.zeros((1, 4)), np.array([[0.0, 100, 0, 0]])
    names = ("none", "a", "b", "c")
    for logits, entropy, gap in ((even, math.log(4), 0), (sure, 0, 1)):
        weights = softmax(logits)
        assert monitor.entropies(weights) == pytest.approx([entropy], abs=1e-12)
        assert monitor.gaps(weights, names) == pytest.approx([gap], abs=1e-12)
    weights = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]])
    assert monitor.gaps(weights, names) == pytest.approx([0.1, 0.1])  # none is never chosen
    assert monitor.gaps(weights, ("d", *names[1:])) == pytest.approx([0.2, 0.1])
    assert monitor.gaps(weights[:, :2], ("none", "a")) == pytest.approx([0.3, 0.2])
    assert monitor.entropies(weights[1]) == pytest.approx(-sum(w * math.log(w) for w in weights[1]))


def test_health_of_both_kinds_of_cells():
    even = np.full((14, 8), 1 / 8)
    found = monitor.health(genotype.load("DARTS_V1"), {"normal": even, "reduce": even}, genotype.CONV_PRIMITIVES)
    assert (found["skip_normal"], found["pool_normal"]) == (3, 0)
    assert (found["skip_reduce"], found["pool_reduce"]) == (3, 5)
    assert found["entropy_reduce"] == pytest.approx(math.log(8)) and found["gap_normal"] == 0
    recurrent = genotype.load("DARTS_V1", "recurrent")
    found = monitor.health(recurrent, {"recurrent": np.full((36, 5), 1 / 5)}, RECURRENT_PRIMITIVES)
    assert found.keys() == {"skip_recurrent", "entropy_recurrent", "gap_recurrent"}
    assert found["skip_recurrent"] == [name for name, _ in recurrent.recurrent].count("identity")


# The eigenvalue.


def test_eigenvalue_of_a_quadratic():
    rng = np.random.default_rng(3)
    square, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    spectrum = np.array([3.0, 1, 0.5, 0.2, *[0] * 7, -5])
    matrix = square * spectrum @ square.T

    def product(parts):
        moved = matrix @ np.concatenate([part.ravel() for part in parts])
        return [moved[:8].reshape(2, 4), moved[8:].reshape(4, 1)]

    start = [rng.normal(size=(2, 4)), rng.normal(size=(4, 1))]
    found = [dominant_eigenvalue(product, start, n) for n in range(1, 13)]
    assert found[5:] == pytest.approx([3] * 7)  # as many products as distinct eigenvalues; the largest, not |-5|
    assert np.all(np.diff(found) > -1e-12) and found[0] < 3
    calls = []
    eigenvector = [square[:, 1][:8].reshape(2, 4), square[:, 1][8:].reshape(4, 1)]
    assert dominant_eigenvalue(lambda v: calls.append(v) or product(v), eigenvector) == pytest.approx(1)
    assert len(calls) == 1  # nothing else can be reached from there


def test_no_eigenvalue_where_nothing_is_finite():
    assert math.isnan(dominant_eigenvalue(lambda v: v, [np.zeros(3)]))
    assert math.isnan(dominant_eigenvalue(lambda v: v, [np.array([1, math.inf])]))
    assert math.isnan(dominant_eigenvalue(lambda v: [math.nan * v[0]], [np.ones(3)]))


def test_eigenvalue_of_a_supernet(float64):
    """Against the whole Hessian by automatic differentiation; a few products from the gradient on come close."""
    step, (_, batch) = small_step("first", traced)
    net, functions = step.supernet, step.functions
    before = snapshot(step)
    weights, alphas = functions.weights.pack(net.weight_variables), values(net.arch_variables)
    flat = tf.concat([tf.reshape(a, [-1]) for a in alphas], 0)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(flat)
        with tf.GradientTape() as inner:
            inner.watch(flat)
            parts = [tf.reshape(p, a.shape) for p, a in zip(tf.split(flat, 2), alphas, strict=True)]
            logits, _ = stateless(net, functions.weights.unpack(weights), parts, batch[0])
            loss = functions.loss(logits, batch[1])
        gradient = inner.gradient(loss, flat)
        entries = tf.unstack(gradient)
    hessian = np.stack([outer.gradient(entry, flat).numpy() for entry in entries])
    expected = np.linalg.eigvalsh(hessian)[-1]
    assert expected > 1e-3
    curvature = AlphaCurvature(functions, batch)

    def product(vector):
        return functions.product("alphas")(weights, alphas, *batch, [tf.constant(v) for v in vector])

    start = [p.numpy() for p in tf.split(gradient, 2)]
    start = [s.reshape(a.shape) for s, a in zip(start, alphas, strict=True)]
    assert dominant_eigenvalue(product, start, flat.shape[0]) == pytest.approx(expected, rel=1e-9)
    assert curvature() == pytest.approx(dominant_eigenvalue(product, start), rel=1e-12)
    assert 0.9 * expected < curvature() <= expected * (1 + 1e-9)
    vector = [np.random.default_rng(i).normal(size=a.shape) for i, a in enumerate(alphas)]
    moved = np.concatenate([np.ravel(p) for p in product(vector)])
    np.testing.assert_allclose(moved, hessian @ np.concatenate([v.ravel() for v in vector]), rtol=1e-9, atol=1e-12)
    for a, b in zip(before, snapshot(step), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_eigenvalue_is_that_of_now():
    step, (train, valid) = small_step("first", traced, alpha_init_scale=0.1)
    curvature = AlphaCurvature(step.functions, valid)
    first = curvature()
    assert curvature() == first
    step(train, valid, 0, rate(0.1))
    assert curvature() != first


# Warnings and the end.


class Settings:
    """What the monitor reads of a config."""

    epochs, warmup_epochs, eigenvalue, early_stop = 50, 0, True, "none"

    def __init__(self, **changes):
        vars(self).update(changes)


def cells(skips):
    """A genotype whose normal cell has so many skip connections."""
    found = genotype.load("DARTS_V2").to_json()
    found["normal"] = [["skip_connect" if i < skips else "sep_conv_3x3", s] for i, (_, s) in enumerate(found["normal"])]
    return genotype.from_json(found)


def watched(eigenvalues, skips=lambda epoch: 0, until=50, history=(), **settings):
    """Runs a monitor; returns it, its records and what it said, by epochs."""
    said, records = [], list(history)
    values = iter(eigenvalues[len(history) // 2 :])
    watch = monitor.Monitor(Settings(**settings), lambda: next(values), lambda line: said.append((epoch, line)))
    watch.resumed(records)
    alphas = {"normal": np.zeros((14, 8)), "reduce": np.zeros((14, 8))}
    for epoch in range(len(history) + 1, until + 1):
        found = cells(skips(epoch))
        added = watch.end_epoch(epoch, found, alphas, genotype.CONV_PRIMITIVES)
        records.append({"epoch": epoch, **added, "genotype": found.to_json()})
        if watch.stopped:
            break
    return watch, records, said


def test_a_collapse_is_said_once_and_stopped_on_demand():
    trace = [*TRACE, *[0.45] * 13]
    watch, records, said = watched(trace)
    assert watch.stopped is None and len(records) == 50
    assert [epoch for epoch, _ in said] == [22] and "genotypes/epoch_010.json" in said[0][1]
    assert "early_stop=eigenvalue" in said[0][1] and "\n" not in said[0][1]
    assert [record["epoch"] for record in records if "eigenvalue" in record] == list(range(2, 51, 2))
    watch, records, said = watched(trace, early_stop="eigenvalue", eigenvalue=False)
    assert (watch.stopped.epoch, watch.stopped.seen, len(records), said) == (10, 22, 22, [])
    _, records, said = watched(trace, eigenvalue=False)
    assert len(records) == 50 and not said and not any("eigenvalue" in record for record in records)


def test_a_search_too_short_for_the_rule_is_told_so():
    said = []
    watch = monitor.Monitor(Settings(epochs=22, early_stop="eigenvalue"), lambda: 0.0, said.append)
    assert len(said) == 1 and "after epoch 22 at the earliest, never in a search of 22" in said[0]
    records = [{"epoch": 2 * i + 2, "eigenvalue": v, "genotype": cells(0).to_json()} for i, v in enumerate(TRACE)]
    watch.resumed(records)
    assert watch.stopped is None  # the last epoch stops nothing
    monitor.Monitor(Settings(epochs=23, early_stop="eigenvalue"), lambda: 0.0, pytest.fail)
    assert [early_stop.earliest(n) for n in (1, 2, 3)] == [16, 22, 30]


@pytest.mark.parametrize("at", [1, 12, 21])
def test_a_resumed_monitor_is_the_same(at):
    whole = watched(TRACE, skips=lambda epoch: epoch // 6, until=23, early_stop="eigenvalue")
    _, history, first = watched(TRACE, skips=lambda epoch: epoch // 6, until=at, early_stop="eigenvalue")
    history = json.loads(json.dumps(history))
    again = watched(TRACE, skips=lambda epoch: epoch // 6, until=23, history=history, early_stop="eigenvalue")
    assert again[0].stopped == whole[0].stopped == Verdict(10, 22, whole[0].stopped.ratio)
    assert again[1] == whole[1] and first + again[2] == whole[2]


def test_skip_connections_are_said_once():
    _, _, said = watched([0.1] * 25, skips=lambda epoch: 3 if epoch in (4, 5) else 4 if 10 <= epoch < 15 else 2)
    assert [epoch for epoch, _ in said] == [12]
    assert "more than 2 of the 8 edges of the normal cell" in said[0][1] and "now 4" in said[0][1]
    assert "genotypes/epoch_009.json" in said[0][1] and "early_stop=eigenvalue" in said[0][1]
    _, _, said = watched([0.1] * 25, skips=lambda epoch: 8, warmup_epochs=15)
    assert [epoch for epoch, _ in said] == [18] and "last genotype" not in said[0][1]


def test_a_recurrent_search_is_watched_too():
    pairs = [["identity", node] for node in range(8)]
    found = genotype.from_json({"recurrent": pairs, "concat": list(range(1, 9))})
    said, alphas = [], {"recurrent": np.full((36, 5), 1 / 5)}
    watch = monitor.Monitor(Settings(), lambda: 0.1, said.append)
    for epoch in range(1, 5):
        added = watch.end_epoch(epoch, found, alphas, RECURRENT_PRIMITIVES)
        assert added["skip_recurrent"] == 8 and ("eigenvalue" in added) == (epoch % 2 == 0)
    assert len(said) == 1 and "of the 8 edges of the recurrent cell" in said[0]


def test_measurements_that_are_not_finite_count_for_nothing():
    trace = [math.nan, *TRACE]
    watch, _, _ = watched([*trace, *[0.45] * 12], early_stop="eigenvalue")
    assert (watch.stopped.epoch, watch.stopped.seen) == (10, 22)


def test_records_of_an_older_version():
    old = [{"epoch": epoch, "genotype": cells(4).to_json()} for epoch in range(1, 9)]
    _, records, said = watched([0.1] * 25, skips=lambda epoch: 0, history=old)
    assert len(records) == 50 and not said


def test_a_flag_that_is_no_rule():
    with pytest.raises(UserError, match="early_stop must be one of none, eigenvalue"):
        SearchConfig(early_stop="sometimes")


def test_a_search_that_is_stopped(tmp_path, monkeypatch):
    """Whole searches under a rule that stops after epoch 4 of 6: at once, after a kill, and when asked for later."""
    for name, value in {"WINDOW": 1, "DELTA": 1, "FACTOR": -1e9, "START": 2}.items():
        monkeypatch.setattr(early_stop, name, value)
    # The real thing takes its time to build, and is in the test below; this too is a function of the present state.
    monkeypatch.setattr(SearchTask, "_eigenvalue", lambda task: float(np.abs(task.supernet.arch_variables[0]).max()))
    settings = {**QUICK, "epochs": 6}
    found, printed = run(tmp_path / "whole", early_stop="eigenvalue", **settings)
    assert "stopped early, after epoch 4 of 6" in printed and "epoch 5" not in printed
    assert found == genotype.load(tmp_path / "whole" / "genotypes" / "epoch_002.json")
    assert found == genotype.load(tmp_path / "whole" / "genotype.json")
    assert found == load_prior(tmp_path / "whole").first  # what a tuning proposes first
    numbers = {"skip_normal", "entropy_normal", "gap_normal", "skip_reduce", "entropy_reduce", "gap_reduce"}
    records = metrics(tmp_path / "whole")
    assert all(numbers <= record.keys() for record in records) and len(records) == 4
    assert [record["epoch"] for record in records if "eigenvalue" in record] == [2, 4]

    console = Console(until="epoch 3 done")
    assert run(tmp_path / "killed", console, early_stop="eigenvalue", **settings)[0] is None
    assert run(tmp_path / "killed", early_stop="eigenvalue", **settings)[0] == found
    same_run(tmp_path / "whole", tmp_path / "killed")
    again, printed = run(tmp_path / "killed", early_stop="eigenvalue", **settings)
    assert again == found and "stopped early, after epoch 4" in printed and "building the graph" not in printed

    last, printed = run(tmp_path / "killed", eigenvalue=True, **settings)  # on, to the end
    assert len(metrics(tmp_path / "killed")) == 6 and "stopped early" not in printed
    assert run(tmp_path / "killed", early_stop="eigenvalue", **settings)[0] == found  # and asked for afterwards


def test_a_search_that_is_measured(tmp_path):
    """By default every second epoch; measuring changes nothing else."""
    settings = {**QUICK, "epochs": 3}
    _, printed = run(tmp_path / "with", eigenvalue=True, **settings)
    run(tmp_path / "without", eigenvalue=False, **settings)
    assert "building the eigenvalue's graph" in printed
    with_it, without = metrics(tmp_path / "with"), metrics(tmp_path / "without")
    assert [record.pop("eigenvalue", None) is not None for record in with_it] == [False, True, False]
    assert with_it == without
    kept = json.loads((tmp_path / "with" / "alphas" / "normal" / "epoch_003.json").read_text())
    assert kept["edges"] == ["c_{k-2}->0", "c_{k-1}->0"] and kept["primitives"] == list(QUICK["primitives"])
    weights = np.array(kept["mixing_weights"])
    assert monitor.entropies(weights).mean() == pytest.approx(with_it[-1]["entropy_normal"])
    assert kept["entropy"] == monitor.entropies(weights).tolist()
    assert kept["gap"] == monitor.gaps(weights, kept["primitives"]).tolist()
    assert np.mean(kept["gap"]) == pytest.approx(with_it[-1]["gap_normal"], rel=1e-4, abs=1e-7)
