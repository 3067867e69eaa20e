"""darts-tune: a tuning's settings, what it leaves, and that it goes on."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from absl import flags

from darts_tf import genotypes
from darts_tf.bin import tune as binary
from darts_tf.config import presets
from darts_tf.config.tuning import LanguageTuneConfig, TuneConfig
from darts_tf.genotypes.canonical import canonical
from darts_tf.report.page import write_report
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.runs.workdir import write_json
from darts_tf.system.errors import UserError
from darts_tf.tuner import tuning
from tests.helpers import programs
from tests.helpers.derivation import derive_recurrent

SMALL = {"dataset": "digits", "max_train_examples": 64, "batch_size": 8, "epochs": 2, "init_channels": 4}
SMALL |= {"num_cells": 3, "crop_padding": 1, "cutout": 0, "tensorboard": False, "train_portion": 0.8}
TEXT = {"dataset": "english", "vocabulary_size": 60, "max_train_words": 1000, "valid_words": 200, "batch_size": 4}
TEXT |= {"bptt": 12, "epochs": 2, "num_units": 6, "test_batch_size": 50, "learning_rate": 5.0, "tensorboard": False}
SHAPES = {"conv": {"normal": (14, 8), "reduce": (14, 8)}, "recurrent": {"recurrent": (36, 5)}}


def config(cell="conv", **settings):
    kind, small = {"conv": (TuneConfig, SMALL), "recurrent": (LanguageTuneConfig, TEXT)}[cell]
    return kind(**{**small, "trials": 4, **settings})


def save_alphas(path, cell):
    random = np.random.default_rng(0)
    np.savez(path, **{name: random.normal(size=shape) for name, shape in SHAPES[cell].items()})
    return str(path)


def parsed(*arguments):
    values = flags.FlagValues()
    binary.main.define_flags(values)
    values(["darts-tune", *arguments])
    return binary.config_from(values)


def test_flags_make_a_config():
    made = parsed("--search=DARTS_V2", "--trials=3", "--epochs=2", "--minutes=5", "--temperature=0.5")
    assert (made.prior, made.trials, made.epochs, made.minutes, made.temperature) == ("DARTS_V2", 3, 2, 5, 0.5)
    assert made.dataset == "digits" and TuneConfig.from_json(made.to_json()) == made
    assert made.training("DARTS_V1").genotype == "DARTS_V1" and parsed("--prior=uniform").prior == "uniform"
    text = parsed("--search=DARTS_V2", "--preset=text_train", "--bptt=9", "--trials=3")
    assert (text.kind, text.bptt, text.trials, text.objective) == ("language_tune", 9, 3, "valid_perplexity")
    training = presets.get("text_train").config.replace(bptt=9, genotype="DARTS_V1")
    assert text.training("DARTS_V1") == training and LanguageTuneConfig.from_json(text.to_json()) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either --search.*Received: neither"),
        (["--search=a", "--prior=uniform"], "Received: --search=a, --prior=uniform"),
        (["--prior=uniform", "--trials=0"], "trials must be at least 1"),
        (["--search=DARTS_V2", "--primitives=skip_connect"], "--primitives has no effect with --search"),
        (["--prior=uniform", "--primitives=a,a"], "primitives must be different names of operations.*Received"),
        (["--prior=uniform", "--temperature=0"], "temperature must be above 0"),
        (["--prior=uniform", "--preset=cifar10_train"], "--train_portion must be below 1.*never on test images"),
        (["--prior=uniform", "--genotype=DARTS_V2"], "genotype"),
        (["--prior=uniform", "--strategy=multi_worker"], "strategy must be none or mirrored"),
        (
            ["--prior=uniform", "--preset=text_train", "--num_cells=5"],
            "--num_cells is not a flag of training runs on texts",
        ),
        (["--prior=uniform", "--preset=text_search"], "text_search is a preset of darts-search"),
    ],
)
def test_bad_flags(arguments, message):
    with pytest.raises((flags.Error, UserError), match=message):
        parsed(*arguments)


def test_help_is_instant():
    code = "import sys; from darts_tf.bin import tune; tune.main(['--help']); assert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--search=" in done.stdout and "--genotype" not in done.stdout


FAVOURITES = {"conv": "skip_connect", "recurrent": "relu"}


class Trainings:
    """Takes the place of `train`: a genotype's accuracy or perplexity is its share of a favourite operation."""

    def __init__(self, fails=(), stops=(), full=(), seconds=1.0):
        self.configs, self.fails, self.stops, self.full, self.seconds = [], fails, stops, full, seconds
        self.parts = []

    def __call__(self, config, path, out, until=None, data=None):
        self.configs.append(config)
        self.parts.append((int(path.name), until))
        number = int(path.name)
        if number in self.stops:
            return None
        if number in self.fails:
            raise UserError(f"training {number} is bad")
        if number in self.full:
            raise UserError(f"training {number} cannot write") from OSError(errno.ENOSPC, "No space left on device")
        (first, *_), favourite = genotypes.load(config.genotype).to_json().values(), FAVOURITES[config.space]
        score = sum(name == favourite for name, _ in first) / len(first)
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "summary.json", {})
        return {f"valid_{config.metric}": score, "parameters": 1234, "seconds": self.seconds}


@pytest.fixture
def trainings(monkeypatch):
    def use(**settings):
        made = Trainings(**settings)
        monkeypatch.setattr(tuning, "train", made)
        return made

    return use


@pytest.mark.parametrize("cell", SHAPES)
def test_a_tuning_leaves_a_table_and_the_best_genotype(tmp_path, trainings, cell):
    seen, out = trainings(fails={2}), io.StringIO()
    settings = config(cell, prior="DARTS_V2", trials=5, seed=0)
    summary = tuning.tune(settings, tmp_path / "run", out)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == summary
    assert [t["status"] for t in summary["trials"]] == ["completed", "completed", "failed", "completed", "completed"]
    assert summary["trials"][2]["message"] == "training 2 is bad"
    done = [t for t in summary["trials"] if t["status"] == "completed"]
    values = [t[settings.objective] for t in done]
    assert summary["best"][settings.objective] == (max if cell == "conv" else min)(values) and len(set(values)) > 1
    best = genotypes.load(tmp_path / "run")
    assert best.to_json() == summary["best"]["genotype"]
    assert (tmp_path / "run" / "plots" / f"{[*SHAPES[cell]][0]}.gv").exists()
    first = genotypes.load(seen.configs[0].genotype)
    assert canonical(first) == canonical(genotypes.load("DARTS_V2", cell))
    lines = tuning.table(summary).splitlines()
    assert len(lines) == 6 and sum(line.endswith(" *") for line in lines) == 1
    assert f"validation {settings.metric}" in lines[0] and ("%" in lines[1]) == (cell == "conv")
    assert "failed" in lines[3] and "training 2 is bad" in lines[3]
    assert {c.replace(genotype="DARTS_V2") for c in seen.configs} == {settings.training("DARTS_V2")}
    write_report([tmp_path / "run"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert f"validation {settings.metric}" in page and page.count('class="marked"') == 1


@pytest.mark.parametrize("cell", SHAPES)
def test_an_interrupted_tuning_goes_on(tmp_path, trainings, cell):
    search = save_alphas(tmp_path / "alphas.npz", cell)
    settings = config(cell, prior=search, trials=6)
    trainings()
    whole = tuning.tune(settings, tmp_path / "whole", io.StringIO())
    for number in (0, 3):
        trainings(stops={number})
        assert tuning.tune(settings, tmp_path / "run", io.StringIO()) is None
        if number == 0:
            os.remove(search)  # what a search has found is kept in the tuning
        trainings(full={number})  # a full disk is not the trial's fault
        with pytest.raises(UserError, match=f"^training {number} cannot write$"):
            tuning.tune(settings, tmp_path / "run", io.StringIO())
    trainings()
    summary = tuning.tune(settings, tmp_path / "run", io.StringIO())
    strip = lambda s: [{k: v for k, v in t.items() if k != "seconds"} for t in s["trials"]]  # noqa: E731
    assert strip(summary) == strip(whole)
    more = tuning.tune(settings.replace(trials=7), tmp_path / "run", io.StringIO())
    assert len(more["trials"]) == 7
    with pytest.raises(UserError, match="different settings.*temperature"):
        tuning.tune(settings.replace(temperature=2.0), tmp_path / "run", io.StringIO())


def test_three_bad_trainings_in_a_row_stop(tmp_path, trainings, capsys):
    trainings(fails={1, 2, 3})
    with pytest.raises(UserError, match="3 trials in a row failed; the last one: training 3 is bad. Once") as caught:
        tuning.tune(config("recurrent", trials=9), tmp_path, out := io.StringIO())
    assert "\ntrial 3 failed: training 2 is bad\n" in out.getvalue()
    assert "    3  failed: training 2 is bad" in out.getvalue()
    assert "\n" not in str(caught.value) and "Traceback" not in capsys.readouterr().err
    assert len(json.loads((tmp_path / "summary.json").read_text())["trials"]) == 4
    trainings()  # it is fixed
    trials = tuning.tune(config("recurrent", trials=4), tmp_path, io.StringIO())["trials"]
    assert [trial["status"] for trial in trials] == ["completed"] * 4
    assert len(tuning.tune(config("recurrent", trials=9), tmp_path, io.StringIO())["trials"]) == 9


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: "{", "JSONDecodeError"),
        (lambda state: [], "TypeError"),
        (lambda state: state | {"prior": "0" * 16}, "proposed from another prior than prior.npz"),
        (lambda state: state | {"trials": [{**state["trials"][0], "genotype": {}}]}, "the field 'normal' is missing"),
        (lambda state: state | {"trials": [{**state["trials"][0], "status": "lost"}]}, "trial 1 of it is damaged"),
        (lambda state: state | {"trials": [{**state["trials"][0], "seconds": None}]}, "TypeError"),
        (lambda state: state | {"trials": state["trials"][1:]}, "trial 1 of it is damaged"),
    ],
)
def test_a_damaged_state_is_one_line(tmp_path, trainings, damage, message):
    trainings()
    tuning.tune(config(trials=2), tmp_path, io.StringIO())
    path = tmp_path / "trials.json"
    damaged = damage(json.loads(path.read_text()))
    path.write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
    with pytest.raises(UserError, match=f"trials.json cannot be resumed: .*{message}") as caught:
        tuning.tune(config(trials=3), tmp_path, io.StringIO())
    assert "\n" not in str(caught.value)


def test_a_tuning_of_an_earlier_version_is_refused(tmp_path, trainings):
    trainings()
    tuning.tune(config(trials=1), tmp_path, io.StringIO())
    (tmp_path / "trials.json").unlink()
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "tuner").mkdir()
    write_json(tmp_path / "tuner" / "oracle.json", {})
    with pytest.raises(UserError, match="started by an earlier version.*Received: tuner/oracle.json") as caught:
        tuning.tune(config(trials=3), tmp_path, io.StringIO())
    assert "\n" not in str(caught.value) and json.loads((tmp_path / "config.json").read_text()) == settings


def test_a_defect_is_a_failed_trial_with_its_traceback(tmp_path, trainings, monkeypatch, capsys):
    trainings()
    monkeypatch.setattr(tuning, "train", lambda *a, **k: [][7])
    summary = tuning.tune(config(trials=1), tmp_path, io.StringIO())
    assert summary["best"] is None and summary["trials"][0]["message"] == "IndexError: list index out of range"
    assert "Traceback" in capsys.readouterr().err


def test_no_keras_tuner_is_needed():
    code = "import sys; sys.modules['keras_tuner'] = None; from darts_tf.tuner import tuning"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_budget_counts_earlier_starts(tmp_path, trainings):
    trainings(seconds=50.0)
    first = tuning.tune(config(trials=2, minutes=3.0), tmp_path, io.StringIO())
    assert len(first["trials"]) == 2  # 100 seconds on paper, none in this process
    summary = tuning.tune(config(trials=9, minutes=2.0), tmp_path, io.StringIO())
    assert len(summary["trials"]) == 2 and "1.7 of 2 minutes are spent" in tuning.table(summary)


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


RECURRENT = genotypes.load("DARTS_V2", "recurrent").to_text()


@pytest.mark.parametrize(
    ("cell", "settings", "message"),
    [
        ("conv", {"prior": RECURRENT}, "expected a conv genotype. Received: a recurrent genotype"),
        ("recurrent", {"prior": "AmoebaNet"}, "expected a recurrent genotype. Received: a conv genotype"),
        ("conv", {}, "Expected conv cells.*choose another preset.*Received: recurrent ones from .*alphas.npz"),
        ("recurrent", {}, "Expected recurrent cells.*Received: conv ones from .*alphas.npz"),
        ("recurrent", {"prior": RECURRENT.replace("tanh", "sinh")}, "unknown operation.*Received: 'sinh'"),
        ("conv", {"prior": "uniform", "primitives": ("skip",)}, "unknown operation.*skip_connect.*Received: 'skip'"),
        ("recurrent", {"prior": "uniform", "dataset": "folder"}, "data_dir must name the folder of the text"),
        ("recurrent", {"prior": "uniform", "batch_size": 500}, "the training text"),
    ],
)
def test_cells_and_data_of_another_kind(tmp_path, trainings, cell, settings, message):
    seen = trainings()
    prior = save_alphas(tmp_path / "alphas.npz", "recurrent" if cell == "conv" else "conv")
    with pytest.raises(UserError, match=message) as caught:
        tuning.tune(config(cell, **{"prior": prior, **settings}), tmp_path / "run", io.StringIO())
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists() and not seen.configs


def test_language_models_of_a_recurrent_search(tmp_path):
    """Two real trainings on the embedded text, of what a search's newest checkpoint makes probable."""
    search, alphas = tmp_path / "search", np.random.default_rng(0).normal(size=(36, 5))
    Checkpoints(search / "checkpoints").save(7, {"alphas/00000": alphas}, {})
    primitives = list(genotypes.RECURRENT_PRIMITIVES)
    write_json(search / "config.json", {"kind": "language_search", "num_nodes": 8, "primitives": primitives})
    out = io.StringIO()
    summary = tuning.tune(config("recurrent", prior=str(search), trials=2), tmp_path / "run", out)
    first, second = summary["trials"]
    assert first["genotype"] == derive_recurrent(alphas).to_json() != second["genotype"]
    for trial in (first, second):
        own = json.loads((tmp_path / "run" / trial["workdir"] / "summary.json").read_text())
        assert trial["valid_perplexity"] == own["valid_perplexity"] < 60
    assert summary["best"] == min(summary["trials"], key=lambda trial: trial["valid_perplexity"])
    assert genotypes.load(tmp_path / "run", "recurrent").to_json() == summary["best"]["genotype"]
    assert (tmp_path / "run" / summary["best"]["workdir"] / "best.keras").exists()


WORDS = [
    "--vocabulary_size=60",
    "--max_train_words=1000",
    "--valid_words=300",
    "--batch_size=4",
    "--num_units=6",
    "--test_batch_size=50",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [["--preset=smoke_train", "--train_portion=0.8"], ["--preset=text_train", "--epochs=2", *WORDS]]
)
def test_a_killed_tuning_is_the_same(tmp_path, settings):
    command = [sys.executable, "-m", "darts_tf.bin.tune", *settings]
    command += ["--search=DARTS_V2", "--trials=2", "--threads=1", "--notensorboard"]
    results = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        if name == "killed":
            process = programs.Popen([*command, f"--workdir={folder}"], stdout=subprocess.DEVNULL)
            ended = folder / "trials" / "001" / "metrics.jsonl"
            until = time.monotonic() + 240
            while process.poll() is None and time.monotonic() < until:
                if ended.exists() and ended.read_text().strip():  # the second trial's first epoch has ended
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.02)
            process.wait()
        done = programs.run([*command, f"--workdir={folder}"], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        assert re.search(r"^ +2 +\d+\.\d+ ", done.stdout, re.MULTILINE), done.stdout
        summary = json.loads((folder / "summary.json").read_text())
        results.append([{k: v for k, v in t.items() if k != "seconds"} for t in summary["trials"]])
        assert (folder / "trials" / "001" / "best.keras").exists()
    assert results[0] == results[1]
    assert genotypes.load(tmp_path / "killed") == genotypes.load(tmp_path / "whole")
