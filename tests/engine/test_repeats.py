"""Warnings are said once in a run."""

import io

import pytest

from darts_tf import genotypes as genotype
from darts_tf.config.tuning import LanguageTuneConfig
from darts_tf.engine.repeats import as_one_run, once
from darts_tf.engine.reporting import Reporter
from darts_tf.genotypes import drawing as visualize
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir
from darts_tf.tuner import tuning

WARNING = "warning: about 8,123 MB more will be needed; see /runs/a/trials/000/x.json"
OTHERS = "warning: about 9,000 MB more will be needed; see /runs/a/trials/001/x.json"


def test_a_warning_is_said_once_and_other_lines_whenever_they_come():
    said = []
    say = once(said.append)
    for line in (WARNING, "epoch 1", WARNING, OTHERS, "epoch 1", "warning: something else"):
        say(line)
    assert said == [WARNING, "epoch 1", "epoch 1", "warning: something else"]


def test_each_run_has_its_own_and_the_trials_of_a_tuning_are_one():
    said = []
    once(said.append)(WARNING)
    once(said.append)(WARNING)
    assert said == [WARNING, WARNING]
    with as_one_run():
        once(said.append)(WARNING)
        once(said.append)(OTHERS)
    assert said == [WARNING] * 3
    once(said.append)(WARNING)
    assert said == [WARNING] * 4


def test_cells_that_cannot_be_drawn_are_one_line_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [])
    out = io.StringIO()
    with WorkDir(tmp_path) as directory, Reporter(directory, 10, False, out) as reporter:
        for name in ("DARTS_V1", "DARTS_V2", "NASNet"):
            draw(genotype.load(name, "conv"), directory.plots, reporter.message)
    assert out.getvalue().count("\n") == 1 and "not drawn" in out.getvalue()


@pytest.mark.filterwarnings("ignore:.*(currentThread|getName).*:DeprecationWarning")
def test_a_tuning_says_once_what_is_so_in_every_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [])
    config = LanguageTuneConfig(
        **{"dataset": "english", "vocabulary_size": 60, "max_train_words": 300, "valid_words": 100, "batch_size": 4},
        **{"bptt": 12, "epochs": 1, "num_units": 6, "test_batch_size": 50, "tensorboard": False, "trials": 2},
        prior="DARTS_V2",
    )
    out = io.StringIO()
    assert len(tuning.tune(config, tmp_path / "tuning", out)["trials"]) == 2
    said = out.getvalue()
    assert said.count("warning: recurrent.svg, recurrent.png not drawn") == 1
    assert said.count("warning: unknown words are ") == 1
    assert said.count("unknown words (<unk>): ") == 2
