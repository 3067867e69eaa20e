"""A chief and workers of keras-tuner as processes of their own, also killed ones."""

import json
import os
import socket
import sys
import time

import pytest

from darts_tf import genotypes
from darts_tf.genotypes.canonical import canonical
from darts_tf.tuner import genotype_from
from tests.helpers import programs

TARGET = genotypes.load("DARTS_V2")

WORKER = """
import os, pathlib, sys, time
import keras_tuner
from darts_tf.tuner import DartsOracle, genotype_from, peers

peers.SECONDS = 0.05  # the chief must be seen to be back before the last trial has been told to it

class Scored(keras_tuner.Tuner):
    def run_trial(self, trial, *args, **kwargs):
        genotype = genotype_from(trial.hyperparameters)
        if trial.trial_id == "2":
            raise ValueError("one that dies")
        (pathlib.Path(sys.argv[1]) / f"{os.environ['KERASTUNER_TUNER_ID']} is at {trial.trial_id}").touch()
        time.sleep(float(sys.argv[2]))
        return {"score": sum(name == "skip_connect" for name, _ in genotype.normal) / 8}

oracle = DartsOracle("DARTS_V2", keras_tuner.Objective("score", "max"), 6, seed=0)
Scored(oracle=oracle, directory=sys.argv[1], project_name="project").search()
"""


def starter(folder, seconds):
    """Returns what starts a chief or a worker by its name, `NAME.log` is its output; a trial takes so many seconds."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(found.getsockname()[1])}

    def start(name):
        with open(folder / f"{name}.log", "a") as log:
            return programs.Popen(
                [sys.executable, "-c", WORKER, str(folder), str(seconds)],
                env={**os.environ, **address, "KERASTUNER_TUNER_ID": name},
                stdout=log,
                stderr=log,
            )

    return start


def states(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("project/trial_*/trial.json"))]


@pytest.mark.slow
def test_a_chief_and_a_worker(tmp_path):
    start = starter(tmp_path, 0)
    processes = [start(name) for name in ("chief", "worker0")]
    try:
        assert [process.wait(240) for process in processes] == [0, 0], (tmp_path / "worker0.log").read_text()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = states(tmp_path)
    assert [s["status"] for s in found].count("COMPLETED") == 5 and found[2]["status"] == "FAILED"
    forms = {canonical(genotype_from(s["hyperparameters"]["values"])) for s in found}
    assert len(forms) == 6 and canonical(TARGET) in forms


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_chief(tmp_path):
    """Each is told, and goes on when it is started again; every trial counts once."""
    start, running = starter(tmp_path, 3), {}

    def wait(name):
        until = time.monotonic() + 120
        while not (found := list(tmp_path.glob(f"{name} is at *"))) and time.monotonic() < until:
            time.sleep(0.05)
        return found[0].name[-1]

    def end(name):
        running[name].kill()
        running[name].wait()

    try:
        running = {name: start(name) for name in ("chief", "worker0", "worker1")}
        killed = wait("worker0")
        end("worker0")
        assert running["worker1"].wait(120) == 0  # has done all but the killed one's trial
        end("chief")
        told = (tmp_path / "chief.log").read_text()
        assert f"waiting for trial {killed} of worker0. If that process has died, restart it" in told
        (tmp_path / f"worker0 is at {killed}").unlink()
        running |= {name: start(name) for name in ("chief", "worker0")}
        assert wait("worker0") == killed
        end("chief")
        time.sleep(1.5)
        running["chief"] = start("chief")
        assert running["worker0"].wait(120) == running["chief"].wait(120) == 0
        told = (tmp_path / "worker0.log").read_text()
        assert "does not respond. If there are trials left, restart it" in told and "the chief responds" in told
    finally:
        for name in running:
            end(name)
    assert [s["status"] for s in states(tmp_path)].count("COMPLETED") == 5
    assert sorted(json.loads((tmp_path / "project" / "oracle.json").read_text())["end_order"]) == [*"012345"]
