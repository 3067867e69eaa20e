"""darts-tune: a tuning's settings, what it leaves, and that it goes on."""

import io
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl import flags

from darts_tf import genotype as genotypes
from darts_tf.bin import tune as binary
from darts_tf.errors import UserError
from darts_tf.training import classification
from darts_tf.tune_config import TuneConfig
from darts_tf.tuner import tuning
from darts_tf.tuner.canonical import canonical
from darts_tf.workdir import write_json

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
]
SMALL = {"dataset": "digits", "max_train_examples": 64, "batch_size": 8, "epochs": 2, "init_channels": 4}
SMALL |= {"num_cells": 3, "crop_padding": 1, "cutout": 0, "tensorboard": False, "train_portion": 0.8}


def config(**settings):
    return TuneConfig(**{**SMALL, "trials": 4, **settings})


def parsed(*arguments):
    values = flags.FlagValues()
    binary.define_flags(values)
    values(["darts-tune", *arguments])
    return binary.config_from(values)


def test_flags_make_a_config():
    made = parsed("--search=DARTS_V2", "--trials=3", "--epochs=2", "--minutes=5", "--temperature=0.5")
    assert (made.prior, made.trials, made.epochs, made.minutes, made.temperature) == ("DARTS_V2", 3, 2, 5, 0.5)
    assert made.dataset == "digits" and TuneConfig.from_json(made.to_json()) == made
    assert made.training("DARTS_V1").genotype == "DARTS_V1" and parsed("--prior=uniform").prior == "uniform"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one of --search.*got neither"),
        (["--search=a", "--prior=uniform"], "got --search=a, --prior=uniform"),
        (["--prior=uniform", "--trials=0"], "trials must be at least 1"),
        (["--prior=uniform", "--temperature=0"], "temperature must be above 0"),
        (["--prior=uniform", "--preset=cifar10_train"], "--train_portion must be below 1.*never by test images"),
        (["--prior=uniform", "--genotype=DARTS_V2"], "genotype"),
    ],
)
def test_bad_flags(arguments, message):
    with pytest.raises(flags.Error, match=message):
        parsed(*arguments)


def test_help_is_instant():
    code = "import sys; from darts_tf.bin import tune; tune.main(['--help']); assert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--search=" in done.stdout and "--genotype" not in done.stdout


class Trainings:
    """Takes the place of `classification.train`: a genotype's accuracy is its share of skips."""

    def __init__(self, fails=(), stops=(), seconds=1.0):
        self.configs, self.fails, self.stops, self.seconds = [], fails, stops, seconds

    def __call__(self, config, path, out):
        self.configs.append(config)
        number = int(path.name)
        if number in self.stops:
            return None
        if number in self.fails:
            raise UserError(f"training {number} is bad")
        genotype = genotypes.load(config.genotype)
        accuracy = sum(name == "skip_connect" for name, _ in genotype.normal) / 8
        path.mkdir(parents=True)
        write_json(path / "summary.json", {})
        return {"valid_accuracy": accuracy, "parameters": 1234, "seconds": self.seconds}


@pytest.fixture
def trainings(monkeypatch):
    def use(**settings):
        made = Trainings(**settings)
        monkeypatch.setattr(classification, "train", made)
        return made

    return use


def test_a_tuning_leaves_a_table_and_the_best_genotype(tmp_path, trainings):
    seen, out = trainings(fails={2}), io.StringIO()
    summary = tuning.tune(config(prior="DARTS_V2", trials=5, seed=0), tmp_path / "run", out)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert [t["status"] for t in summary["trials"]] == ["completed", "completed", "failed", "completed", "completed"]
    assert "training 2 is bad" in summary["trials"][2]["message"]
    done = [t for t in summary["trials"] if t["status"] == "completed"]
    assert summary["best"] == max(done, key=lambda t: t["valid_accuracy"])
    best = genotypes.load(tmp_path / "run")
    assert best.to_json() == summary["best"]["genotype"] and (tmp_path / "run" / "plots" / "normal.gv").exists()
    first = genotypes.load(seen.configs[0].genotype)
    assert canonical(first) == canonical(genotypes.load("DARTS_V2"))
    lines = tuning.table(summary).splitlines()
    assert len(lines) == 6 and sum(line.endswith(" *") for line in lines) == 1
    assert "failed" in lines[3] and "training 2 is bad" in lines[3]
    assert {c.replace(genotype="DARTS_V2") for c in seen.configs} == {config(seed=0).training("DARTS_V2")}


def test_an_interrupted_tuning_goes_on(tmp_path, trainings):
    search = tmp_path / "alphas.npz"
    random = np.random.default_rng(0)
    np.savez(search, normal=random.normal(size=(14, 8)), reduce=random.normal(size=(14, 8)))
    settings = config(prior=str(search), trials=6)
    trainings()
    whole = tuning.tune(settings, tmp_path / "whole", io.StringIO())
    for number in (0, 3):
        trainings(stops={number})
        assert tuning.tune(settings, tmp_path / "run", io.StringIO()) is None
        if number == 0:
            search.unlink()  # what a search has found is kept in the tuning
    trainings()
    summary = tuning.tune(settings, tmp_path / "run", io.StringIO())
    strip = lambda s: [{k: v for k, v in t.items() if k != "seconds"} for t in s["trials"]]  # noqa: E731
    assert strip(summary) == strip(whole)
    more = tuning.tune(settings.replace(trials=7), tmp_path / "run", io.StringIO())
    assert len(more["trials"]) == 7
    with pytest.raises(UserError, match="other settings.*temperature"):
        tuning.tune(settings.replace(temperature=2.0), tmp_path / "run", io.StringIO())


def test_three_bad_trainings_in_a_row_stop(tmp_path, trainings):
    trainings(fails={1, 2, 3})
    with pytest.raises(UserError, match="3 trials in a row failed.*training 3 is bad.*goes on") as caught:
        tuning.tune(config(trials=9), tmp_path, io.StringIO())
    assert "\n" not in str(caught.value)
    assert len(json.loads((tmp_path / "summary.json").read_text())["trials"]) == 4
    trainings()
    assert len(tuning.tune(config(trials=9), tmp_path, io.StringIO())["trials"]) == 9


def test_the_budget_counts_earlier_starts(tmp_path, trainings):
    trainings(seconds=50.0)
    first = tuning.tune(config(trials=2, minutes=3.0), tmp_path, io.StringIO())
    assert len(first["trials"]) == 2  # 100 seconds on paper, none in this process
    summary = tuning.tune(config(trials=9, minutes=2.0), tmp_path, io.StringIO())
    assert len(summary["trials"]) == 2 and "of 2 minutes 1.7 are spent" in tuning.table(summary)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": "nothing"}, "neither a published genotype nor a file"),
        ({"prior": "AmoebaNet"}, "reads one input twice|with the operation"),
        ({"dataset": "npz", "data_dir": "missing.npz"}, "missing.npz"),
        ({"batch_size": 64}, "larger than the training part"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, trainings, settings, message):
    trainings()
    with pytest.raises(UserError, match=message) as caught:
        tuning.tune(config(**settings), tmp_path / "run", io.StringIO())
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_tuning_is_the_same(tmp_path):
    command = [sys.executable, "-m", "darts_tf.bin.tune", "--preset=smoke_train", "--train_portion=0.8"]
    command += ["--search=DARTS_V2", "--trials=2", "--threads=1", "--notensorboard"]
    results = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        if name == "killed":
            process = subprocess.Popen([*command, f"--workdir={folder}"], stdout=subprocess.DEVNULL)
            ended = folder / "trials" / "001" / "metrics.jsonl"
            until = time.monotonic() + 240
            while process.poll() is None and time.monotonic() < until:
                if ended.exists() and ended.read_text().strip():  # the second trial's first epoch has ended
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.02)
            process.wait()
        done = subprocess.run([*command, f"--workdir={folder}"], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert re.search(r"^ +2 +\d+\.\d+ %", done.stdout, re.MULTILINE), done.stdout
        summary = json.loads((folder / "summary.json").read_text())
        results.append([{k: v for k, v in t.items() if k != "seconds"} for t in summary["trials"]])
        assert (folder / "trials" / "001" / "best.keras").exists()
    assert results[0] == results[1]
    assert genotypes.load(tmp_path / "killed") == genotypes.load(tmp_path / "whole")
