"""The oracle, the hypermodel and the space: what keras-tuner asks of them, and each of its pitfalls."""

import dataclasses
import json
import os
import threading

import keras_tuner
import numpy as np
import pytest

from darts_tf import genotypes, spaces
from darts_tf.genotypes import ConvGenotype, Genotype, RecurrentGenotype
from darts_tf.genotypes.canonical import canonical
from darts_tf.genotypes.selection import select, softmax
from darts_tf.methods import METHODS, Method
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.system.errors import UserError
from darts_tf.tuner import DartsOracle, genotype_from, values_from
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose, refined
from darts_tf.tuner.space import Space
from tests.helpers import toy_space

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
    # Models that are loaded for their weights alone have no optimizer state.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]
TARGET = genotypes.load("DARTS_V2")


def likeness(genotype):
    """A score: which share of a published genotype's edges one has."""
    edges = [
        [(c, i // 2, pair) for c in ("normal", "reduce") for i, pair in enumerate(getattr(g, c))]
        for g in (genotype, TARGET)
    ]
    return len({*edges[0]} & {*edges[1]}) / 16


class Scored(keras_tuner.Tuner):
    """Scores genotypes without any network."""

    score = staticmethod(likeness)

    def run_trial(self, trial, *args, **kwargs):
        return {"score": self.score(genotype_from(trial.hyperparameters))}


def oracle(prior=None, max_trials=6, seed=0, **settings):
    return DartsOracle(prior, keras_tuner.Objective("score", "max"), max_trials, seed, **settings)


def tuner(folder, *args, kind=Scored, **settings):
    made = kind(oracle=oracle(*args, **settings), directory=str(folder), project_name="project")
    made.oracle.verbose = 0
    return made


def proposals(made):
    return [genotype_from(made.trials[name].hyperparameters) for name in made.start_order]


def alphas(seed=0, cells=("normal", "reduce"), shape=(14, 8)):
    random = np.random.default_rng(seed)
    return {cell: random.normal(size=shape) for cell in cells}


# The space.


@pytest.mark.parametrize("name", genotypes.names("conv"))
def test_values_and_genotypes_are_the_same(name):
    genotype = genotypes.load(name, "conv")
    try:
        values = values_from(genotype)
    except UserError as error:
        assert "reads one input twice" in str(error)
        return
    again = genotype_from(dict(reversed(values.items())))
    assert canonical(again) == canonical(genotype)
    assert values_from(again) == values


def test_the_papers_space_has_36_hyperparameters_of_which_24_are_active():
    hp = oracle().get_space()
    assert len(hp.space) == 36 and len(values_from(TARGET)) == 24
    proposed = oracle().populate_space("0")["values"]
    assert len(proposed) == 24


def test_recurrent_genotypes_too():
    genotype = genotypes.load("DARTS_V2", "recurrent")
    assert genotype_from(values_from(genotype)) == genotype
    prior = {"recurrent": np.random.default_rng(0).normal(size=(36, 5))}
    first = genotype_from(oracle(prior).populate_space("0")["values"])
    assert first == genotypes.derive_recurrent(prior["recurrent"])


def test_a_smaller_output_rides_along():
    genotype = genotypes.derive_conv(*alphas().values(), concat=(4, 5))
    assert genotype_from(values_from(genotype)).normal_concat == (4, 5)
    assert genotype_from(oracle(genotype).populate_space("0")["values"]).reduce_concat == (4, 5)


def test_values_without_a_genotype():
    with pytest.raises(UserError, match="hold no genotype.*Received: rate"):
        genotype_from({"rate": 0.1})
    values = values_from(TARGET)
    del values["normal/node2/from1"]
    with pytest.raises(UserError, match="normal/node2/from1 is missing"):
        genotype_from(values)


@dataclasses.dataclass(frozen=True)
class Chain(Genotype):
    """A cell of another space: a node reads one or two of the two states before it."""

    chain: tuple
    outputs: tuple

    kind = "chain"
    cells, names, inputs = {"chain": "outputs"}, {"chain": "chain"}, ("in",)
    primitives, usual_nodes = ("none", "scale", "skip_connect"), 3

    @classmethod
    def sources(cls, node):
        """The states that a node may read."""
        return range(max(0, node - 2), node)

    @classmethod
    def kept(cls, node):
        """How many edges it keeps."""
        return min(2, node)


def test_another_kind_of_cell(tmp_path, monkeypatch):
    """Nothing but its class is needed, for the space, the prior, proposals and the oracle."""
    monkeypatch.setitem(genotypes.KINDS, "chain", Chain)
    monkeypatch.setitem(spaces.SPACES, "chain", type("ChainSpace", (toy_space.Chain,), {"genotype": Chain})())
    prior = {"chain": np.random.default_rng(0).normal(size=(5, 3))}
    found = load_prior(prior)
    assert found.space == Space.of("chain") and found.first == genotypes.derive(Chain, prior)
    assert load_prior(found.first).first == found.first and load_prior(None, kind="chain").space == found.space
    write_search(tmp_path, prior, space="chain", num_nodes=3, primitives=list(Chain.primitives))
    assert load_prior(tmp_path).digest() == found.digest()
    tried = []
    while (one := propose(found, 1.0, tried, (), 0.0, np.random.default_rng(len(tried)))) is not None:
        assert canonical(genotype_from(values_from(one))) == canonical(one)
        tried.append(one)
    assert len(tried) == 32  # five edges, all kept, of two operations
    assert genotype_from(oracle(prior).populate_space("0")["values"]) == genotype_from(values_from(found.first))


def renumbered(pairs, order, num_inputs=2):
    """Puts nodes into another order; `order[i]` is the old node at place i."""
    step = 2 if num_inputs == 2 else 1
    nodes = [pairs[i : i + step] for i in range(0, len(pairs), step)]
    new = {old + num_inputs: place + num_inputs for place, old in enumerate(order)}
    return [(name, new.get(source, source)) for old in order for name, source in reversed(nodes[old])]


def test_isomorphic_cells_count_as_one():
    normal = [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 2), ("f", 0), ("g", 3), ("h", 4)]
    one = ConvGenotype(normal, range(2, 6), normal, range(2, 6))
    other = ConvGenotype(renumbered(normal, (1, 0, 2, 3)), range(2, 6), normal, range(2, 6))
    assert one != other and canonical(one) == canonical(other)
    swapped = ConvGenotype([(n, {0: 1, 1: 0}.get(s, s)) for n, s in normal], range(2, 6), normal, range(2, 6))
    assert canonical(one) != canonical(swapped)  # a cell's two inputs are different things


def test_twins_are_told_apart_by_what_reads_them():
    tail = [("a", 2), ("b", 0)], [("a", 3), ("b", 0)]
    twins = [("x", 0), ("x", 1)] * 2
    same = ConvGenotype([*twins, *tail[0], *tail[0]], range(2, 6), twins, range(2, 4))
    each = ConvGenotype([*twins, *tail[0], *tail[1]], range(2, 6), twins, range(2, 4))
    mirrored = ConvGenotype([*twins, *tail[1], *tail[0]], range(2, 6), twins, range(2, 4))
    assert canonical(same) != canonical(each) == canonical(mirrored)


def test_eight_equal_nodes_are_quick():
    genotype = RecurrentGenotype([("tanh", 0)] * 8, range(1, 9))
    assert len(canonical(genotype)[0]) == 8
    chained = RecurrentGenotype([("tanh", 0)] * 4 + [("tanh", 1 + i) for i in range(4)], range(1, 9))
    other = RecurrentGenotype(renumbered(chained.recurrent, (3, 2, 1, 0, 7, 5, 6, 4), 1), range(1, 9))
    assert chained != other and canonical(chained) == canonical(other)


# Priors.


def test_the_first_proposal_is_the_most_probable_genotype():
    prior = alphas(3)
    derived = genotypes.derive_conv(*prior.values())
    found = genotype_from(oracle(prior, temperature=9.0).populate_space("0")["values"])
    assert canonical(found) == canonical(derived)


def test_a_low_temperature_keeps_close_and_a_high_one_goes_far(tmp_path):
    mean = {}
    for temperature in (0.5, 50.0):
        made = tuner(tmp_path / str(temperature), TARGET, 30, temperature=temperature, refine=0)
        made.search()
        mean[temperature] = np.mean([likeness(g) for g in proposals(made.oracle)[1:]])
    assert mean[0.5] > 0.7 and mean[50.0] < 0.4


def write_search(path, tables, **config):
    Checkpoints(path / "checkpoints").save(
        7, {f"alphas/{i:05d}": table for i, table in enumerate(tables.values())} | {"weights/00000": np.ones(3)}, {}
    )
    settings = {"kind": "search", "num_nodes": 4, "concat": 0, "primitives": list(genotypes.CONV_PRIMITIVES), **config}
    (path / "config.json").write_text(json.dumps(settings))


def test_the_prior_of_a_search_is_its_newest_alphas(tmp_path):
    prior = alphas(5, shape=(5, 3))
    write_search(tmp_path, prior, num_nodes=2, concat=1, primitives=["none", "skip_connect", "scale"])
    found = load_prior(tmp_path)
    names = ("none", "skip_connect", "scale")
    assert found.first == genotypes.derive_conv(*prior.values(), names, 2, (3,))
    assert found.space.primitives == names and np.array_equal(found.alphas["reduce"], prior["reduce"])
    genotypes.save(TARGET, tmp_path / "done" / "genotype.json")  # its checkpoints are gone
    assert load_prior(str(tmp_path / "done")).first == TARGET


@pytest.mark.parametrize("damage", [{"num_nodes": "4"}, {"num_nodes": 10**12}, {"primitives": 5}, {"concat": -1}])
def test_the_prior_of_a_damaged_search(tmp_path, damage):
    write_search(tmp_path, alphas(), **damage)
    with pytest.raises(UserError, match=f"config.json is damaged at '{next(iter(damage))}'"):
        load_prior(tmp_path)


def test_the_prior_of_a_search_that_was_stopped_early(tmp_path, capsys):
    """It belongs to the epoch whose genotype is the result; see `test_monitor.TRACE` for the eigenvalues."""
    last, earlier = alphas(1), alphas(2)
    write_search(tmp_path, last, early_stop="eigenvalue", epochs=50)
    trace = (0.18, 0.15, 0.17, 0.15, 0.12, 0.25, 0.23, 0.36, 0.22, 0.39, 0.21, 0.43)
    records = [json.dumps({"epoch": 2 * i + 2, "eigenvalue": value}) + "\n" for i, value in enumerate(trace)]
    (tmp_path / "metrics.jsonl").write_text("".join(records[:10]))
    assert np.array_equal(load_prior(tmp_path).alphas["normal"], last["normal"])  # it goes on
    assert not capsys.readouterr().out

    (tmp_path / "metrics.jsonl").write_text("".join(records))
    genotypes.save(TARGET, tmp_path / "genotype.json")
    assert load_prior(tmp_path).first == TARGET  # no mixing weights were kept
    for cell, table in zip(("normal", "reduction"), earlier.values(), strict=True):
        file = tmp_path / "alphas" / cell / "epoch_010.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"mixing_weights": softmax(table).astype(np.float32).tolist()}))
    found = load_prior(tmp_path)
    assert found.first == genotypes.derive_conv(*earlier.values())
    for cell in ("normal", "reduce"):
        np.testing.assert_allclose(softmax(found.alphas[cell]), softmax(earlier[cell]), rtol=1e-6)
    (line,) = capsys.readouterr().out.splitlines()
    assert "stopped early: the prior is the mixing weights after epoch 10" in line
    file.write_text("{}")
    with pytest.raises(UserError, match="reduction/epoch_010.json cannot be read"):
        load_prior(tmp_path)

    write_search(tmp_path, last, epochs=50)  # it was not asked to stop
    assert np.array_equal(load_prior(tmp_path).alphas["normal"], last["normal"])


def test_saved_alphas_and_saved_priors(tmp_path):
    prior = alphas(1)
    np.savez(tmp_path / "alphas.npz", **prior)
    found = load_prior(str(tmp_path / "alphas.npz"))
    assert found.digest() == load_prior(prior).digest()
    for source in (None, "DARTS_V1", prior):
        one = load_prior(source)
        one.save(tmp_path / "prior.npz")
        assert load_prior(tmp_path / "prior.npz").digest() == one.digest()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"normal": np.zeros((14, 8))}, "other cells. Expected normal, reduce. Received: normal"),
        ({"normal": np.zeros((14, 8)), "reduce": np.zeros((9, 8))}, r"alphas_reduce: expected the shape \(14, 8\)"),
        ("no_such_thing", "neither a published genotype nor a file"),
        ("missing.npz", "There is no file missing.npz"),
        (7, "A prior is a work directory.*Received: int"),
    ],
)
def test_a_bad_prior_is_one_line(prior, message):
    with pytest.raises(UserError, match=message) as caught:
        oracle(prior)
    assert "\n" not in str(caught.value)


def test_damaged_files_of_a_prior(tmp_path):
    (tmp_path / "alphas.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UserError, match="alphas.npz cannot be read"):
        oracle(tmp_path / "alphas.npz")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json cannot be read"):
        oracle(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature must be a number from 1e-06"),
        ({"temperature": float("nan")}, "temperature must be a number from 1e-06"),
        ({"temperature": None}, "temperature must be a number"),
        ({"refine": -0.5}, "refine must be a number from 0"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": 1.5}, "seed must be an integer of at least 0"),
        ({"max_consecutive_failed_trials": 0}, "max_consecutive_failed_trials must be an integer of at least 1"),
        ({"kind": "images"}, "kind must be conv or recurrent"),
        ({"kind": "recurrent", "prior": {"normal": [], "reduce": []}}, "other cells|does not fit"),
        ({"num_nodes": 0}, "at least one node"),
        ({"primitives": ["none"]}, "at least one other than 'none'"),
        ({"prior": "DARTS_V2", "num_nodes": 3}, "does not fit the space: normal has 4 nodes"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        oracle(**settings)


def test_the_kind_of_cells_where_the_prior_does_not_say():
    assert oracle(kind="recurrent").prior.space.kind == "recurrent"
    assert oracle({"recurrent": np.zeros((36, 5))}, num_nodes=8).prior.space.kind == "recurrent"
    small = oracle(kind="recurrent", num_nodes=3, primitives=("none", "tanh", "relu")).prior.space
    assert small.num_nodes == 3 and [*small.operations] == ["tanh", "relu"]
    assert oracle("DARTS_V2", kind="recurrent").prior.first == genotypes.load("DARTS_V2", "recurrent")


# Proposals.


def test_a_low_temperature_finds_others_too(tmp_path):
    made = tuner(tmp_path, TARGET, 4, seed=np.int64(3), temperature=1e-5)
    made.search()
    assert len({canonical(each) for each in proposals(made.oracle)}) == 4 and made.oracle.stopped_because is None


def test_no_architecture_twice(tmp_path):
    made = tuner(tmp_path, None, 100, num_nodes=2, primitives=["skip_connect", "max_pool_3x3"])
    made.search()
    forms = [canonical(g) for g in proposals(made.oracle)]
    assert len(forms) == len(set(forms)) == 100


def test_a_space_that_is_used_up_stops(tmp_path):
    made = tuner(tmp_path, None, 100, num_nodes=1, primitives=["skip_connect", "max_pool_3x3"])
    made.search()
    assert len(proposals(made.oracle)) == 16  # two edges in each of two cells, two operations
    assert "every architecture" in made.oracle.stopped_because


def test_zero_is_a_seed(tmp_path):
    runs = []
    for index, seed in enumerate((0, 0, 1)):
        made = tuner(tmp_path / str(index), None, 4, seed)
        made.search()
        runs.append(proposals(made.oracle))
    assert runs[0] == runs[1] != runs[2]
    assert oracle(seed=0).seed == 0


def test_scores_raise_the_mean(tmp_path):
    gains = []
    for seed in range(3):
        means = {}
        for refine in (0, 0.3):
            made = tuner(tmp_path / f"{seed}_{refine}", None, 60, seed, refine=refine)
            made.search()
            means[refine] = np.mean([likeness(g) for g in proposals(made.oracle)[-20:]])
        gains.append(means[0.3] - means[0])
    assert np.mean(gains) > 0.05


def test_a_score_to_be_small_is_made_small(tmp_path):
    class Unlike(Scored):
        score = staticmethod(lambda genotype: 1 - likeness(genotype))

    made = Unlike(
        oracle=DartsOracle(None, keras_tuner.Objective("score", "min"), 60, 0),
        directory=str(tmp_path),
        project_name="project",
    )
    made.oracle.verbose = 0
    made.search()
    likenesses = [likeness(g) for g in proposals(made.oracle)]
    assert np.mean(likenesses[-20:]) > np.mean(likenesses[:20])


def test_hyperparameters_of_your_own_ride_along(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 0.001, 0.1, default=0.025)
    hp.Choice("width", [4, 8, 16])
    made = tuner(tmp_path, TARGET, 8, hyperparameters=hp)
    made.search()
    values = [made.oracle.trials[name].hyperparameters.values for name in made.oracle.start_order]
    assert (values[0]["rate"], values[0]["width"]) == (0.025, 4)
    assert len({v["rate"] for v in values}) == 8 and len({v["width"] for v in values}) > 1
    assert len(hp.space) == 2  # yours is not written to


# What keras-tuner's pitfalls are.


def test_a_reload_goes_on_with_the_same_proposals(tmp_path):
    whole = tuner(tmp_path / "whole", TARGET, 8)
    whole.search()

    class Killed(Scored):
        def run_trial(self, trial, *args, **kwargs):
            if trial.trial_id == "4":
                raise KeyboardInterrupt  # as a kill: the trial has begun and does not end
            return super().run_trial(trial)

    with pytest.raises(KeyboardInterrupt):
        tuner(tmp_path / "two", TARGET, 8, kind=Killed).search()
    again = tuner(tmp_path / "two", TARGET, 8)
    again.search()
    assert proposals(again.oracle) == proposals(whole.oracle)
    assert [again.oracle.trials[n].score for n in again.oracle.start_order] == [
        whole.oracle.trials[n].score for n in whole.oracle.start_order
    ]


def test_a_kill_before_the_first_trial_ended(tmp_path):
    class Killed(Scored):
        def run_trial(self, trial, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuner(tmp_path, TARGET, 3, kind=Killed).search()
    again = tuner(tmp_path, TARGET, 3)
    again.search()
    assert canonical(proposals(again.oracle)[0]) == canonical(TARGET) and len(again.oracle.trials) == 3


def test_a_truncated_state_is_one_line(tmp_path):
    tuner(tmp_path, TARGET, 2).search()
    path = tmp_path / "project" / "oracle.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match="cannot be read.*overwrite=True") as caught:
        tuner(tmp_path, TARGET, 2)
    assert "\n" not in str(caught.value)


def test_state_files_are_replaced_not_overwritten(tmp_path, monkeypatch):
    made = tuner(tmp_path, TARGET, 2)
    made.search()
    files = [tmp_path / "project" / "oracle.json", *sorted(tmp_path.glob("project/trial_*/trial.json"))]
    before = {path: path.read_bytes() for path in files}
    assert len(files) == 3

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    made.oracle.start_order.append("other")
    with pytest.raises(OSError, match="No space"):
        made.oracle.save()
    for trial in made.oracle.trials.values():
        with pytest.raises(OSError, match="No space"):
            made.oracle._save_trial(trial)
    assert {path: path.read_bytes() for path in files} == before
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("settings", [{"temperature": 2.0}, {"prior": "DARTS_V1"}, {"seed": 5}])
def test_a_project_with_other_settings(tmp_path, settings):
    tuner(tmp_path, TARGET, 2).search()
    with pytest.raises(UserError, match="different settings"):
        tuner(tmp_path, **{"prior": TARGET, **settings})
    assert len(tuner(tmp_path, TARGET, 9).oracle.trials) == 2  # more trials are no other tuning


def test_a_project_of_another_oracle(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 0, 1)
    other = keras_tuner.oracles.RandomSearchOracle(keras_tuner.Objective("score", "max"), 1, hyperparameters=hp)

    class Constant(keras_tuner.Tuner):
        def run_trial(self, trial, *args, **kwargs):
            return {"score": 1.0}

    Constant(oracle=other, directory=str(tmp_path), project_name="project").search(verbose=0)
    with pytest.raises(UserError, match="cannot be read"):
        tuner(tmp_path, TARGET)


def free(made):
    """Whether another thread gets the lock."""
    done = threading.Event()
    threading.Thread(target=lambda: (made.create_trial("other"), done.set()), daemon=True).start()
    return done.wait(20)


def test_no_exception_leaves_the_lock_held(tmp_path, monkeypatch, capfd):
    made = tuner(tmp_path, TARGET).oracle
    with monkeypatch.context() as patch:
        patch.setattr("darts_tf.tuner.oracle.propose", lambda *a: 1 / 0)
        assert made.create_trial("one").status == "STOPPED"
        assert "ZeroDivisionError" in made.stopped_because and "ZeroDivisionError" in capfd.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("darts_tf.tuner.oracle.write_atomically", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made.create_trial("two")
    with pytest.raises(KeyError):
        made.update_trial("missing", {"score": 1.0})
    assert free(made)


def test_values_in_another_order_are_the_same_trial(tmp_path):
    made, other = (tuner(tmp_path / name, TARGET).oracle for name in ("one", "two"))
    for oracle_, reorder in ((made, False), (other, True)):
        trial = oracle_.create_trial("worker")
        oracle_.update_trial(trial.trial_id, {"score": 0.5})
        trial = keras_tuner.engine.trial.Trial.from_proto(trial.to_proto())
        if reorder:
            trial.hyperparameters.values = dict(reversed(trial.hyperparameters.values.items()))
        trial.status = "COMPLETED"
        oracle_.end_trial(trial)
        assert len(oracle_._tried_so_far) == len(oracle_.end_order) == 1
    assert genotype_from(made.create_trial("worker").hyperparameters) == genotype_from(
        other.create_trial("worker").hyperparameters
    )


class Failing(Scored):
    def run_trial(self, trial, *args, **kwargs):
        if trial.trial_id in self.bad:
            raise ValueError(f"trial {trial.trial_id} is bad")
        return super().run_trial(trial)


def test_a_trial_that_dies_is_counted_and_the_run_goes_on(tmp_path):
    made = tuner(tmp_path, TARGET, 6, kind=Failing)
    made.bad = {"1", "2", "4"}
    made.search()
    trials = made.oracle.trials
    assert [trials[str(i)].status for i in range(6)].count("FAILED") == 3
    assert "trial 4 is bad" in trials["4"].message and len(trials) == 6


def test_three_in_a_row_stop_with_the_reason(tmp_path):
    made = tuner(tmp_path, TARGET, 9, kind=Failing)
    made.bad = {"1", "2", "3"}
    with pytest.raises(RuntimeError, match="3 trials in a row failed.*trial 3 is bad"):
        made.search()
    assert free(made.oracle)
    again = tuner(tmp_path, TARGET, 9)  # its cause is fixed
    again.search()
    trials = again.oracle.trials
    assert len(trials) == 9 and {each.status for each in trials.values()} == {"COMPLETED"}
    assert again.oracle.end_order == again.oracle.start_order  # those that failed come first


def test_three_in_a_row_stop_a_chief_without_an_exception(tmp_path, monkeypatch):
    made = tuner(tmp_path, TARGET, 9).oracle
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    for _ in range(3):
        trial = made.create_trial("worker")
        trial.status = "FAILED"
        made.end_trial(trial)
    assert made.create_trial("worker").status == "STOPPED" and not made.ongoing_trials
    assert "3 trials in a row failed" in made.stopped_because


def test_a_project_of_other_settings_is_refused(tmp_path):
    tuner(tmp_path, TARGET, 2).search()
    for objective in (keras_tuner.Objective("score", "min"), keras_tuner.Objective("loss", "max")):
        with pytest.raises(UserError, match="different settings.*objective: score \\(max\\) -> "):
            Scored(oracle=DartsOracle(TARGET, objective, 2, seed=0), directory=str(tmp_path), project_name="project")
    own = keras_tuner.HyperParameters()
    own.Float("learning_rate", 0.01, 0.1)
    with pytest.raises(UserError, match="different settings.*hyperparameter learning_rate: None -> "):
        tuner(tmp_path, TARGET, 2, hyperparameters=own)


def test_what_has_ended_is_not_begun_again(tmp_path):
    """Not where a kill came between two writes of the state, nor where another process has done it meanwhile."""
    tuner(tmp_path, TARGET, 2).search()
    path = tmp_path / "project" / "oracle.json"
    state = json.loads(path.read_text())
    assert state["ongoing_trials"] == {} and state["end_order"] == ["0", "1"]
    path.write_text(json.dumps({**state, "ongoing_trials": {"tuner0": "1"}}))
    again = tuner(tmp_path, TARGET, 3).oracle
    trial = again.create_trial("tuner0")
    assert trial.trial_id == "2"
    for _ in range(2):
        trial.status = "INVALID"
        again.end_trial(trial)
    assert again.end_order == ["0", "1", "2"] and not again.ongoing_trials


class Sigmoids(Method):
    """A method whose strengths are no shares, and that selects the strongest operation of the first two edges."""

    def ranked(self, alphas):
        return {name: 1 / (1 + np.exp(-logits)) for name, logits in alphas.items()}

    def selection(self, usual):
        def select(strength, topology, primitives, cell):
            pairs = []
            for node, sources in zip(topology.nodes, topology.sources, strict=True):
                best = strength[topology.rows(node), 1:].argmax(1)
                pairs += [(primitives[1 + best[i]], sources[i]) for i in (0, 1)]
            return pairs

        return select


class Weighted(Method):
    """A method with a variable for each edge."""

    def ranked(self, alphas):
        raise AssertionError("what the search wrote is read instead")


def test_the_prior_is_read_by_the_searchs_method(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "sigmoids", Sigmoids)
    tables = alphas(7)
    write_search(tmp_path, tables, method="sigmoids")
    found = load_prior(tmp_path)
    expected = {cell: 1 / (1 + np.exp(-table)) for cell, table in tables.items()}
    for cell in ("normal", "reduce"):
        assert [source for _, source in getattr(found.first, cell)] == [0, 1] * 4
        np.testing.assert_allclose(softmax(found.alphas[cell]), expected[cell] / expected[cell].sum(1, keepdims=True))
    # An edge is as probable as its strength, which sigmoids do not share out among the operations.
    _, edges = refined(found, 1.0, [], 0.0)
    np.testing.assert_allclose(np.exp(edges["normal"]), expected["normal"][:, 1:].max(1), rtol=1e-6)
    found.save(tmp_path / "prior.npz")
    assert load_prior(tmp_path / "prior.npz").digest() == found.digest()


def test_the_prior_of_a_method_with_variables_of_its_own(tmp_path, monkeypatch):
    """A checkpoint does not name them: the strengths that the search wrote after its newest epoch are read."""
    monkeypatch.setitem(METHODS, "weighted", Weighted)
    tables = alphas(3) | {"weights": np.zeros(14)}
    write_search(tmp_path, tables, method="weighted")
    genotypes.save(TARGET, tmp_path / "genotype.json")
    assert load_prior(tmp_path).first == TARGET  # no epoch has ended
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    strengths = {cell: np.abs(table) for cell, table in alphas(4).items()}
    for name, table in zip(("normal", "reduction"), strengths.values(), strict=True):
        file = tmp_path / "alphas" / name / "epoch_002.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"mixing_weights": table.tolist()}))
    found = load_prior(tmp_path)
    topology, primitives = found.space.topology, found.space.primitives
    assert list(found.first.normal) == select(strengths["normal"], topology, primitives)
    np.testing.assert_allclose(np.exp(found.alphas["reduce"]), strengths["reduce"])


def test_the_prior_of_an_unknown_method(tmp_path):
    write_search(tmp_path, alphas(), method="of_tomorrow")
    with pytest.raises(UserError, match="config.json cannot be used: method must be one of darts.*of_tomorrow"):
        load_prior(tmp_path)
    write_search(tmp_path, alphas(), method="darts", a_setting_of_tomorrow=3)
    assert np.array_equal(load_prior(tmp_path).alphas["normal"], alphas()["normal"])
