"""The oracle in keras-tuner: its settings, reloading, failures, and each of keras-tuner's pitfalls."""

import json
import os
import threading

import keras_tuner
import pytest

from darts_tf.genotypes.canonical import canonical
from darts_tf.system.errors import UserError
from darts_tf.tuner import DartsOracle, genotype_from
from tests.helpers.tuners import TARGET, Scored, oracle, proposals, tuner

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
    # Models that are loaded for their weights alone have no optimizer state.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]


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
