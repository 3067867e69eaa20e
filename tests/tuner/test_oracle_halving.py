"""Halving, Hyperband and ASHA in the oracle: promotions as trials of keras-tuner, also with several workers."""

import json
import os
import socket
import sys

import keras_tuner
import numpy as np
import pytest

from darts_tf import genotypes
from darts_tf.config import presets
from darts_tf.genotypes.canonical import canonical
from darts_tf.system.errors import UserError
from darts_tf.tasks.train import train
from darts_tf.tuner import DartsOracle, TrainingTuner, genotype_from
from tests.helpers import programs
from tests.helpers.runs import Console, metrics, newest

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
]
SETTINGS = {"halving": {"max_trials": 8}, "hyperband": {"max_trials": 9}, "asha": {"max_trials": 8}}
TRAINING = presets.get("smoke_train").config.replace(max_train_examples=48, drop_path=0.3, tensorboard=False)


def oracle(algorithm, objective="score", direction="max", **settings):
    settings = {"prior": None, "seed": 0, "max_epochs": 4, **SETTINGS.get(algorithm, {"max_trials": 4}), **settings}
    made = DartsOracle(objective=keras_tuner.Objective(objective, direction), algorithm=algorithm, **settings)
    made.verbose = 0
    return made


class Scored(keras_tuner.Tuner):
    """Scores genotypes without any network; stops as a kill would after some trials."""

    stop_after = None

    def run_trial(self, trial, *args, **kwargs):
        if self.stop_after == len(self.oracle.end_order):
            raise KeyboardInterrupt
        genotype = genotype_from(trial.hyperparameters)
        return {"score": sum(name == "skip_connect" for name, _ in genotype.normal + genotype.reduce)}


def tuner(folder, *arguments, **settings):
    return Scored(oracle=oracle(*arguments, **settings), directory=str(folder), project_name="project")


def jobs(made):
    """For each trial the number of its architecture, from where and until when it is trained, and the score."""
    found, numbers = [], {}
    for name in made.start_order:
        values = made.trials[name].hyperparameters.values
        before = values.get("tuner/trial_id")
        numbers[name] = numbers[before] if before else len({*numbers.values()})
        found.append((numbers[name], values["tuner/initial_epoch"], values["tuner/epochs"], made.trials[name].score))
    return found


def test_a_promotion_names_what_it_continues(tmp_path):
    made = tuner(tmp_path, "halving")
    made.search()
    found = jobs(made.oracle)
    assert [job[:3] for job in found[:8]] == [(number, 0, 1) for number in range(8)]
    assert [job[1:3] for job in found[8:]] == [(1, 2)] * 4 + [(2, 4)] * 2
    scores = [job[3] for job in found[:8]]
    expected = sorted(range(8), key=lambda number: -scores[number])
    assert [job[0] for job in found[8:]] == expected[:4] + expected[:2]
    trials = [made.oracle.trials[name] for name in made.oracle.start_order]
    cells = [canonical(genotype_from(trial.hyperparameters)) for trial in trials]
    assert len({*cells}) == 8 and cells[8:] == [cells[number] for number, *_ in found[8:]]
    firsts = [trial.hyperparameters.values["darts/first_trial"] for trial in trials]
    assert firsts[8:] == [trials[number].trial_id for number, *_ in found[8:]]


def test_a_score_to_be_small_is_promoted_when_it_is_small(tmp_path):
    made = tuner(tmp_path, "halving", direction="min")
    made.search()
    found = jobs(made.oracle)
    assert max(job[3] for job in found[8:]) <= sorted(job[3] for job in found[:8])[3]


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_a_killed_project_continues_alike(tmp_path, algorithm):
    whole = tuner(tmp_path / "whole", algorithm, prior="DARTS_V2", random_share=0.5)
    whole.search()
    for count in (0, 5, 9):
        made = tuner(tmp_path / "parts", algorithm, prior="DARTS_V2", random_share=0.5)
        made.stop_after = count
        with pytest.raises(KeyboardInterrupt):
            made.search()
    made = tuner(tmp_path / "parts", algorithm, prior="DARTS_V2", random_share=0.5)
    made.search()
    assert jobs(made.oracle) == jobs(whole.oracle)
    with pytest.raises(UserError, match="different settings.*rungs: 3 -> 2"):
        tuner(tmp_path / "parts", algorithm, prior="DARTS_V2", random_share=0.5, rungs=2)


def end(made, trial, score):
    trial.status = "COMPLETED"
    made.update_trial(trial.trial_id, {"score": score})
    made.end_trial(trial)


def test_halving_waits_for_workers_and_asha_does_not(tmp_path, monkeypatch):
    """Four architectures: the first one's worker is slow."""
    monkeypatch.setattr("darts_tf.tuner.peers.IDLE_SECONDS", 0.0)
    for algorithm in ("halving", "asha"):
        made = tuner(tmp_path / algorithm, algorithm, max_trials=4, rungs=2).oracle
        slow = made.create_trial("slow")
        for score in (5, 1):
            end(made, made.create_trial("quick"), score)
        if algorithm == "asha":  # the better of two is promoted while the slow one runs
            trial = made.create_trial("quick")
            assert trial.hyperparameters.values["tuner/trial_id"] == "0001"
            end(made, trial, 6)
        end(made, made.create_trial("quick"), 2)
        assert made.create_trial("quick").status == "IDLE"
        end(made, slow, 9)
        trial = made.create_trial("quick")
        assert trial.hyperparameters.values["tuner/trial_id"] == slow.trial_id
        end(made, trial, 10)
        if algorithm == "halving":
            end(made, made.create_trial("quick"), 7)
        assert made.create_trial("quick").status == "STOPPED"


def test_a_failed_trial_is_not_promoted(tmp_path):
    made = tuner(tmp_path, "halving", max_trials=4, rungs=2).oracle
    for score in (None, 3, 2, 1):
        trial = made.create_trial("one")
        if score is None:
            trial.status = "FAILED"
            made.end_trial(trial)
        else:
            end(made, trial, score)
    promoted = []
    while (trial := made.create_trial("one")).status != "STOPPED":
        promoted.append(trial.hyperparameters.values["tuner/trial_id"])
        end(made, trial, 0)
    assert promoted == ["0001", "0002"]


def test_a_space_that_is_used_up_is_still_halved(tmp_path):
    settings = {"kind": "recurrent", "num_nodes": 1, "primitives": ("none", "tanh", "relu")}
    made = DartsOracle(
        None, keras_tuner.Objective("score", "max"), 4, 0, algorithm="halving", max_epochs=2, rungs=2, **settings
    )
    made._set_project_dir(str(tmp_path), "project")
    made.verbose, seen = 0, []
    while (trial := made.create_trial("one")).status != "STOPPED":
        seen.append(trial.hyperparameters.values["tuner/epochs"])
        end(made, trial, len(seen))
    assert seen == [1, 1, 2] and made.stopped_because == "every architecture of the space has been proposed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "sha"}, "algorithm must be one of refine, random, halving, hyperband, asha"),
        ({"algorithm": "asha", "max_epochs": None}, "max_epochs must be a trial's final number"),
        ({"algorithm": "halving", "rungs": 4}, "rungs must be at most 3 .*epochs=4"),
        ({"algorithm": "halving", "max_trials": 3}, "trials must be at least 4"),
        ({"algorithm": "halving", "max_trials": 0}, "max_trials must be an integer of at least 1"),
        ({"algorithm": "halving", "max_trials": None}, "max_trials must be an integer of at least 1"),
        ({"algorithm": "hyperband", "reduction_factor": 1}, "reduction_factor must be an integer of at least 2"),
        ({"algorithm": "hyperband", "rungs": 0}, "rungs must be an integer of at least 1"),
        ({"algorithm": "random", "random_share": 2}, "random_share must be a number from 0 to 1"),
    ],
)
def test_contradictions_are_one_line(settings, message):
    with pytest.raises(UserError, match=message) as caught:
        oracle(**settings)
    assert "\n" not in str(caught.value)


def test_a_promoted_training_is_the_uninterrupted_one(tmp_path):
    """Its own checkpoint, by way of keras-tuner."""
    made = oracle("halving", "valid_accuracy", max_trials=2, max_epochs=2, rungs=2)
    tuned = TrainingTuner(made, TRAINING, directory=str(tmp_path), project_name="project")
    tuned.search()
    name = made.start_order[-1]
    values = made.trials[name].hyperparameters.values
    assert values["tuner/epochs"] == 2 and len(made.start_order) == 3
    one, other = tmp_path / "project" / "trainings" / values["darts/first_trial"], tmp_path / "whole"
    config = TRAINING.replace(genotype=genotype_from(values).to_text())
    summary = train(config, other, Console())
    a, b = newest(one), newest(other)
    assert a.arrays.keys() == b.arrays.keys() and metrics(one) == metrics(other)
    for array in a.arrays:
        np.testing.assert_array_equal(a.arrays[array], b.arrays[array], err_msg=array, strict=True)
    assert made.trials[name].score == summary["valid_accuracy"]
    assert tuned.get_best_models()[0].genotype == genotypes.load(one)


WORKER = """
import sys
import keras_tuner
from darts_tf.config import presets
from darts_tf.tuner import DartsOracle, TrainingTuner

config = presets.get("smoke_train").config.replace(
    max_train_examples=48, epochs=4, drop_path=0.3, tensorboard=False, threads=1
)
objective = keras_tuner.Objective("valid_accuracy", "max")
oracle = DartsOracle(None, objective, 4, seed=0, algorithm="asha", max_epochs=4)
TrainingTuner(oracle, config, directory=sys.argv[1], project_name="project").search()
"""


@pytest.mark.slow
def test_a_chief_and_two_workers_with_asha(tmp_path):
    """They share one directory; what one has paused another one may continue."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(found.getsockname()[1])}
    processes = []
    for name in ("chief", "worker0", "worker1"):
        with open(tmp_path / f"{name}.log", "w") as log:
            own = {**os.environ, **address, "KERASTUNER_TUNER_ID": name}
            command = [sys.executable, "-c", WORKER, str(tmp_path)]
            processes.append(programs.Popen(command, env=own, stdout=log, stderr=log))
    try:
        assert [process.wait(400) for process in processes] == [0] * 3, (tmp_path / "worker0.log").read_text()[-2000:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    states = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("project/trial_*/trial.json"))]
    values = [state["hyperparameters"]["values"] for state in states]
    assert {state["status"] for state in states} == {"COMPLETED"}
    epochs = [value["tuner/epochs"] for value in values]
    assert epochs.count(1) == 4 and epochs.count(2) >= 2 and 4 in epochs
    for value in values:
        if value["tuner/epochs"] == 4:
            own = tmp_path / "project" / "trainings" / value["darts/first_trial"]
            assert [record["epoch"] for record in metrics(own)] == [1, 2, 3, 4]
