"""Whole searches whose method judges the trained supernet after the last epoch; kept judgements, interrupted ones."""

import itertools
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods
from darts_tf.genotypes.selection import softmax
from darts_tf.runs.checkpoint import Checkpoints, from_bytes
from darts_tf.system.errors import UserError
from darts_tf.tasks import domains, judgements
from darts_tf.tasks.search import search
from tests.helpers.runs import LINE, Console, newest
from tests.helpers.steps import array
from tests.helpers.toy_method import CONFIGS

FEW = {"epochs": 1, "order": "first", "eigenvalue": False, "tensorboard": False}
SMALL = {"num_nodes": 2, "num_cells": 3, "primitives": ("skip_connect", "max_pool_3x3", "dil_conv_3x3"), **FEW}
CELLS = 12
SPACES = {
    "conv": CONFIGS["image"].replace(**SMALL),
    "nasbench201": CONFIGS["image"].replace(
        **SMALL | {"space": "nasbench201", "num_nodes": 3, "primitives": genotypes.NASBENCH201_PRIMITIVES}
    ),
    "recurrent": CONFIGS["text"].replace(**FEW),
}
METHODS = {
    "random_nas": {"random_nas_cells": CELLS, "random_nas_batches": 1},
    "darts_pt": {"darts_pt_batches": 1, "darts_pt_tuning_epochs": 0},
}


def slow(*case):
    return pytest.param(*case, marks=pytest.mark.slow)


def config_of(method, space):
    return SPACES[space].replace(method=method, **METHODS[method])


def judged(workdir):
    return json.loads((workdir / "judgements.json").read_text())


@pytest.fixture(scope="module", params=["random_nas", slow("darts_pt")])
def whole(request, tmp_path_factory):
    """An uninterrupted search for an image cell: its settings, its directory, its genotype."""
    config, workdir = config_of(request.param, "conv"), tmp_path_factory.mktemp("whole") / "run"
    return config, workdir, search(config, workdir, Console())


def test_a_search_is_chosen_by_its_judgements(whole):
    config, workdir, found = whole
    assert found == genotypes.load(workdir)
    assert all(math.isfinite(each["loss"]) and 0 <= each["error"] <= 1 for each in judged(workdir))
    if config.method == "random_nas":
        records = judged(workdir)
        best = min(records[CELLS:], key=lambda each: (each["error"], each["loss"]))
        cell = methods.make(config).chooser.candidate(int(best["what"].split()[1].strip(",")) - 1)
        expected = genotypes.derive(type(found), cell, config.primitives, config.num_nodes, strength=lambda rows: rows)
        assert found == expected


@pytest.mark.parametrize(
    ("method", "space"),
    [
        ("random_nas", "nasbench201"),
        slow("darts_pt", "nasbench201"),
        slow("random_nas", "recurrent"),
        slow("darts_pt", "recurrent"),
    ],
)
def test_the_other_spaces(tmp_path, method, space):
    """Also interrupted by a signal while the method chooses."""
    config, console = config_of(method, space), Console("first judgement in")
    assert search(config, tmp_path, console) is None
    assert LINE in console.getvalue() and len(judged(tmp_path)) == 1
    assert not (tmp_path / "genotype.json").exists()
    console = Console()
    found = search(config, tmp_path, console)
    assert "resuming after 1 judgements" in console.getvalue() and "graph built" not in console.getvalue()
    assert found == genotypes.load(tmp_path) and found.kind == space


@pytest.mark.parametrize("damage", ["killed", "damaged", "of another version"])
def test_a_search_that_was_killed_while_it_chose(whole, tmp_path, damage):
    """What was judged is not judged again; what is damaged is, to the same bits."""
    config, workdir, found = whole
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "genotype.json").unlink()
    path, records = tmp_path / "run" / "judgements.json", judged(workdir)
    kept = len(records) - 2
    text = {
        "killed": json.dumps(records[:kept]),
        "damaged": json.dumps([*records[:kept], {"what": 1}]),
        "of another version": json.dumps([*records[:kept], {**records[kept], "what": "another"}, records[-1]]),
    }[damage]
    path.write_text(text)
    console = Console()
    assert search(config, tmp_path / "run", console) == found
    assert path.read_bytes() == (workdir / "judgements.json").read_bytes()
    assert ("is damaged; judging again" in console.getvalue()) == (damage == "damaged")


def test_a_finished_search_is_told_again_without_a_graph(whole):
    config, workdir, found = whole
    console = Console()
    assert search(config, workdir, console) == found
    assert "building the graph" not in console.getvalue()


@pytest.mark.parametrize("space", SPACES)
def test_a_judgement(space):
    """The mean over whole batches, with their own statistics; nothing is written."""
    config = SPACES[space].replace(seed=5, batch_size=60 if space == "recurrent" else 6)
    method, domain = methods.make(config), domains.of(config).load(print)
    net = domain.supernet(method)
    rng = np.random.default_rng(0)
    rows = {cell: softmax(rng.normal(size=v.shape)) for cell, v in net.alphas.items()}
    mixing = {cell: tf.constant(each, tf.float32) for cell, each in rows.items()}
    before = [array(v) for v in net.variables]
    loss, error = domain.judge(net, mixing)
    assert domain.judge(net, mixing) == (loss, error) != domain.judge(net, mixing, 2)
    for old, variable in zip(before, net.variables, strict=True):
        np.testing.assert_array_equal(old, array(variable))
    weights = [v.value for v in net.weight_variables]
    sums, hits, count = 0.0, 0, 0
    if space == "recurrent":
        text, state = domain.alpha_rows, net.initial_state(60)
        for start in range(0, len(text) - 2, config.bptt):
            piece = text[start : start + config.bptt + 1]
            outputs, _ = net.stateless(weights, mixing, (piece[:-1], state))
            state, logits, labels = outputs.state, outputs.logits.numpy(), piece[1:]
            sums, hits, count = _add(logits.reshape(-1, logits.shape[-1]), labels.ravel(), sums, hits, count)
    else:
        part = domain.division
        order = np.random.default_rng(5).permutation(part.held_out)[:30]  # 32 are held out
        for first in range(0, 30, 6):
            pixels, labels = domain.dataset.train.read(order[first : first + 6]), part.split.labels
            x = (tf.cast(pixels, tf.float32) / 255 - domain.dataset.mean) / domain.dataset.std
            logits = net.stateless(weights, mixing, x)[0].numpy()
            sums, hits, count = _add(logits, np.asarray(labels)[order[first : first + 6]], sums, hits, count)
    assert loss == pytest.approx(sums / count, rel=1e-5)
    assert error == pytest.approx(1 - hits / count)


def _add(logits, labels, sums, hits, count):
    chances = softmax(logits.astype(np.float64))[np.arange(len(labels)), labels]
    return sums - np.log(chances).sum(), hits + (logits.argmax(-1) == labels).sum(), count + len(labels)


# Training between judgements


TUNED = SPACES["nasbench201"].replace(
    method="darts_pt", darts_pt_batches=1, darts_pt_tuning_epochs=2, darts_pt_learning_rate=0.2, keep_checkpoints=9
)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """An uninterrupted search with training between the decisions: its directory and its genotype."""
    workdir = tmp_path_factory.mktemp("tuned") / "run"
    return workdir, search(TUNED, workdir, Console())


def trainings(workdir):
    found = Checkpoints(workdir / "tuning", 9, read_only=True)
    return {step: from_bytes(found.path(step).read_bytes()) for step in found.steps()}


def same_trainings(one, other):
    a, b = trainings(one), trainings(other)
    assert a.keys() == b.keys()
    for step, checkpoint in a.items():
        assert checkpoint.metadata == b[step].metadata
        for name, values in checkpoint.arrays.items():
            np.testing.assert_array_equal(values, b[step].arrays[name], err_msg=name)


def test_every_decision_but_the_last_is_trained_after(tuned):
    workdir, found = tuned
    every = trainings(workdir)
    assert list(every) == [1, 2, 3, 4, 5] and found == genotypes.load(workdir)
    assert [each.metadata["judged"] for each in every.values()] == [5, 10, 15, 20, 25]
    start = newest(workdir)
    for before, after in itertools.pairwise([start, *every.values()]):
        for group in ("weights", "alphas"):
            assert not np.array_equal(before.arrays[f"{group}/00000"], after.arrays[f"{group}/00000"])


@pytest.mark.parametrize("state", ["between", slow("in the middle"), slow("judgements lost")])
def test_a_search_that_was_killed_while_it_trained(tuned, tmp_path, state):
    """Begun again from the decision before, or with no judgements from the end of the search: to the same bits."""
    workdir, found = tuned
    run = tmp_path / "run"
    shutil.copytree(workdir, run)
    (run / "genotype.json").unlink()
    if state == "judgements lost":
        (run / "judgements.json").unlink()
    else:  # after the third training some questions were asked, or not yet
        records = judged(workdir)
        (run / "judgements.json").write_text(json.dumps(records[: 15 if state == "between" else 18]))
        for step in (4, 5):
            (run / "tuning" / f"step_{step:08d}.npz").unlink()
    console = Console()
    assert search(TUNED, run, console) == found
    assert (run / "judgements.json").read_bytes() == (workdir / "judgements.json").read_bytes()
    same_trainings(workdir, run)


@pytest.mark.slow
def test_a_signal_while_it_trains(tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(judgements, "PLAIN_SECONDS", 0)
    console = Console("tuning the supernet: after decision 2, epoch 1 of 2")
    assert search(TUNED, tmp_path, console) is None
    assert LINE in console.getvalue() and list(trainings(tmp_path)) == [1] and len(judged(tmp_path)) == 10
    assert search(TUNED, tmp_path, Console()) == tuned[1]
    same_trainings(tuned[0], tmp_path)


@pytest.mark.slow
def test_training_on_texts_continues_after_a_signal(tmp_path, monkeypatch):
    """Its epochs follow those of the search, at the published tenth of the rate: to the same bits as in one go."""
    monkeypatch.setattr(judgements, "PLAIN_SECONDS", 0)
    config = SPACES["recurrent"].replace(
        method="darts_pt", darts_pt_batches=1, darts_pt_tuning_epochs=2, keep_checkpoints=9
    )
    found = search(config, tmp_path / "whole", Console())
    every = trainings(tmp_path / "whole")
    for before, after in itertools.pairwise([newest(tmp_path / "whole"), *every.values()]):
        for group in ("weights", "alphas", "hidden"):
            assert not np.array_equal(before.arrays[f"{group}/00000"], after.arrays[f"{group}/00000"])
    console = Console("tuning the supernet: after decision 2, epoch 2 of 2")
    assert search(config, tmp_path / "halves", console) is None
    assert list(trainings(tmp_path / "halves")) == [1] and search(config, tmp_path / "halves", Console()) == found
    same_trainings(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.slow
def test_the_search_before_it_is_that_of_darts(tuned, tmp_path):
    config = SPACES["nasbench201"].replace(keep_checkpoints=9)
    search(config, tmp_path, Console())
    mine, theirs = newest(tuned[0]), newest(tmp_path)
    for name, values in theirs.arrays.items():
        np.testing.assert_array_equal(mine.arrays[name], values, err_msg=name)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_while_it_trains(tuned, tmp_path):
    config = TUNED.replace(darts_pt_learning_rate=1e30)
    with pytest.raises(UserError, match="not finite in the training between decisions.*Received: 1e") as caught:
        search(config, tmp_path, Console())
    assert "\n" not in str(caught.value)
