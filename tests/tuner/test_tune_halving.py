"""darts-tune by halving, Hyperband and ASHA: what is trained for how long, budgets, a kill, the table and the page."""

import io
import json

import numpy as np
import pytest
from absl import flags

from darts_tf import genotypes
from darts_tf.bin import tune as binary
from darts_tf.config.tuning import TuneConfig
from darts_tf.genotypes.canonical import canonical
from darts_tf.report.page import write_report
from darts_tf.runs.workdir import write_json
from darts_tf.system.errors import UserError
from darts_tf.tuner import tuning
from tests.helpers.runs import metrics, newest

SMALL = {"dataset": "digits", "max_train_examples": 48, "batch_size": 8, "epochs": 4, "init_channels": 4}
SMALL |= {"num_cells": 3, "crop_padding": 1, "cutout": 0, "tensorboard": False, "train_portion": 0.8}


def config(**settings):
    return TuneConfig(**{**SMALL, "algorithm": "halving", "trials": 4, **settings})


class Trainings:
    """Takes the place of `train`: a genotype's accuracy is its share of skips, and grows with the epochs."""

    def __init__(self, fails=(), stops=(), seconds=1.0):
        self.jobs, self.fails, self.stops, self.seconds, self.cells = [], fails, stops, seconds, []

    def __call__(self, config, path, out, until=None, data=None):
        job = int(path.name), until or config.epochs
        if job in self.stops:
            return None
        self.jobs.append(job)
        self.cells.append(config.genotype)
        if job in self.fails:
            raise UserError(f"training {job} is bad")
        genotype = genotypes.load(config.genotype, "conv")
        pairs = genotype.normal + genotype.reduce
        value = sum(name == "skip_connect" for name, _ in pairs) / len(pairs) + 0.01 * job[1]
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "summary.json", {})
        macs = 10**6 * (1 + sum("conv" in name for name, _ in pairs))
        return {"valid_accuracy": value, "parameters": 100 + macs // 7, "macs": macs, "seconds": self.seconds * job[1]}


@pytest.fixture
def trainings(monkeypatch):
    def use(**settings):
        made = Trainings(**settings)
        monkeypatch.setattr(tuning, "train", made)
        return made

    return use


def told(summary):
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in summary["trials"]]


def test_halving_trains_the_better_half_further(tmp_path, trainings):
    seen, out = trainings(), io.StringIO()
    summary = tuning.tune(config(trials=8), tmp_path, out)
    assert [job for job in seen.jobs[:8]] == [(trial, 1) for trial in range(8)]
    assert [epochs for _, epochs in seen.jobs[8:]] == [2] * 4 + [4] * 2
    trials = summary["trials"]
    assert sorted(trial["epochs"] for trial in trials) == [1] * 4 + [2] * 2 + [4] * 2
    assert len({canonical(genotypes.from_json(trial["genotype"])) for trial in trials}) == 8
    first = [trial["rungs"][0][1] for trial in trials]
    promoted = {trial for trial, epochs in seen.jobs if epochs == 2}
    assert sorted(first[trial] for trial in promoted) == sorted(first)[-4:]
    best = summary["best"]
    assert best["epochs"] == 4 and best["rungs"][-1] == [4, best["valid_accuracy"]]
    assert best["valid_accuracy"] == max(trial["valid_accuracy"] for trial in trials if trial["epochs"] == 4)
    assert best["seconds"] >= 4 and genotypes.load(tmp_path).to_json() == best["genotype"]
    assert "trial 1 of 8, epochs 1 to 1 of 4: Genotype(" in out.getvalue()
    assert f"trial {best['trial']} of 8, epochs 3 to 4 of 4: " in out.getvalue()


@pytest.mark.parametrize(("algorithm", "trials"), [("halving", 4), ("hyperband", 9), ("asha", 6), ("random", 3)])
def test_an_interrupted_tuning_continues_alike(tmp_path, trainings, algorithm, trials):
    settings = config(algorithm=algorithm, trials=trials, prior="DARTS_V2", random_share=0.5)
    whole = trainings()
    expected = tuning.tune(settings, tmp_path / "whole", io.StringIO())
    jobs = []
    for at in sorted({0, 2, len(whole.jobs) - 1}):
        seen = trainings(stops={whole.jobs[at]})
        assert tuning.tune(settings, tmp_path / "run", io.StringIO()) is None
        jobs += seen.jobs
    seen = trainings()
    summary = tuning.tune(settings, tmp_path / "run", io.StringIO())
    assert jobs + seen.jobs == whole.jobs and told(summary) == told(expected)
    assert len({canonical(genotypes.from_json(trial["genotype"])) for trial in summary["trials"]}) == trials
    seen = trainings()
    assert told(tuning.tune(settings, tmp_path / "run", io.StringIO())) == told(expected) and not seen.jobs


def test_every_second_cell_is_random(tmp_path, trainings):
    """Those of the prior are neighbours of its genotype, the others are not."""
    trainings()
    settings = config(algorithm="random", trials=8, prior="DARTS_V2", random_share=0.5, temperature=0.5)
    trials = tuning.tune(settings, tmp_path, io.StringIO())["trials"]
    target = genotypes.load("DARTS_V2")
    likeness = []
    for trial in trials:
        found = genotypes.from_json(trial["genotype"])
        pairs = [{(i // 2, *pair) for i, pair in enumerate(each.normal)} for each in (found, target)]
        likeness.append(len(pairs[0] & pairs[1]) / 8)
    assert likeness[0] == 1 and np.mean(likeness[0::2]) > 0.6 > 0.4 > np.mean(likeness[1::2])


def test_random_cells_of_few_operations(tmp_path, trainings):
    trainings()
    names = ("skip_connect", "dil_conv_3x3")
    settings = config(algorithm="random", trials=6, primitives=names)
    for _ in range(2):  # the second time from what was saved
        trials = tuning.tune(settings, tmp_path, io.StringIO())["trials"]
    found = [genotypes.from_json(trial["genotype"]) for trial in trials]
    assert {name for each in found for name, _ in each.normal + each.reduce} == set(names)
    prior = {"normal": np.zeros((14, 8)), "reduce": np.zeros((14, 8))}
    np.savez(tmp_path / "alphas.npz", **prior)
    settings = settings.replace(prior=str(tmp_path / "alphas.npz"))
    trials = tuning.tune(settings, tmp_path / "own", io.StringIO())["trials"]
    found = [genotypes.from_json(trial["genotype"]) for trial in trials]  # a prior has operations of its own
    assert len({name for each in found for name, _ in each.normal + each.reduce}) > 2


def test_only_refine_looks_at_the_scores(tmp_path, trainings):
    cells = {}
    for algorithm in ("refine", "random", "halving"):
        for seconds in (1.0, 2.0):
            made = trainings(seconds=seconds)
            if seconds == 2.0:  # other scores
                tuning.train = lambda *a, made=made, **k: {**made(*a, **k), "valid_accuracy": 1 / (2 + len(made.jobs))}
            path = tmp_path / f"{algorithm}{seconds}"
            trials = tuning.tune(config(algorithm=algorithm, trials=5, refine=9.0), path, io.StringIO())["trials"]
            cells[algorithm, seconds] = [trial["genotype"] for trial in trials]
    assert cells["refine", 1.0] != cells["refine", 2.0]
    assert cells["random", 1.0] == cells["random", 2.0] == cells["halving", 1.0] == cells["halving", 2.0]


def test_a_failure_is_not_promoted_and_three_in_a_row_end_it(tmp_path, trainings):
    whole = trainings()
    tuning.tune(config(trials=8), tmp_path / "whole", io.StringIO())
    promoted = whole.jobs[8]
    seen = trainings(fails={promoted, (7, 1)})
    summary = tuning.tune(config(trials=8), tmp_path / "run", io.StringIO())
    failed = summary["trials"][promoted[0]]
    assert failed["status"] == "failed" and failed["epochs"] == 2 and (promoted[0], 4) not in seen.jobs
    assert summary["best"]["epochs"] == 4

    trainings(fails={*whole.jobs[8:11]})
    with pytest.raises(UserError, match="3 trials in a row failed; the last one: training .* is bad. Once"):
        tuning.tune(config(trials=8), tmp_path / "bad", io.StringIO())
    seen = trainings()  # it is fixed
    summary = tuning.tune(config(trials=8), tmp_path / "bad", io.StringIO())
    assert {*seen.jobs[:3]} == {*whole.jobs[8:11]} and summary["best"]["epochs"] == 4


def test_a_budget_of_epochs(tmp_path, trainings):
    seen, settings = trainings(), config(trials=8, budget_epochs=13)
    summary = tuning.tune(settings, tmp_path, io.StringIO())
    spent = sum(trial["epochs"] for trial in summary["trials"])
    assert spent == 12 and len(seen.jobs) == 12  # the next training would take two more
    assert summary["best"]["epochs"] == 2 and genotypes.load(tmp_path).to_json() == summary["best"]["genotype"]
    line = "no further trials: 12 of 13 epochs are spent; the best trial has been trained for 2 of 4 epochs"
    assert tuning.table(summary).splitlines()[-1] == line
    more = tuning.tune(settings.replace(budget_epochs=16), tmp_path, io.StringIO())
    assert more["best"]["epochs"] == 4 and more["stopped_because"] is None


def test_a_budget_of_minutes(tmp_path, trainings):
    trainings(seconds=30.0)
    summary = tuning.tune(config(trials=8, minutes=5.6), tmp_path, io.StringIO())  # 11 epochs of half a minute
    assert not summary["stopped_because"]  # counted by the clock, and these have taken no time
    trainings(seconds=30.0)
    summary = tuning.tune(config(trials=16, minutes=8.4), tmp_path, io.StringIO())
    assert "8.0 of 8.4 minutes are spent" in summary["stopped_because"]


def test_the_table_and_the_page_mark_the_pareto_front(tmp_path, trainings):
    trainings()
    summary = tuning.tune(config(trials=8), tmp_path / "run", io.StringIO())
    lines = tuning.table(summary).splitlines()
    headings = "trial validation accuracy epochs parameters multiply-adds seconds Pareto front for"
    assert lines[0].split() == headings.split()
    assert sum(line.endswith(" *") for line in lines) == 1 and "parameters, multiply-adds" in "".join(lines)
    done = summary["trials"]
    for line, trial in zip(lines[1:], done, strict=True):
        beaten = any(
            each["macs"] <= trial["macs"]
            and each["valid_accuracy"] >= trial["valid_accuracy"]
            and (each["macs"], -each["valid_accuracy"], each["trial"])
            < (trial["macs"], -trial["valid_accuracy"], trial["trial"])
            for each in done
        )
        assert ("multiply-adds" in line) != beaten
    write_report([tmp_path / "run"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in (
        "validation accuracy against multiply-adds",
        "validation accuracy against parameters",
        "Pareto front",
        "halving",
    ):
        assert text in page
    assert page.count('class="dot front') >= 2


@pytest.mark.parametrize(
    "damage", [{"epochs": 9}, {"epochs": None}, {"rungs": [[1, None]]}, {"rungs": 5}, {"rungs": [[1, float("inf")]]}]
)
def test_a_damaged_state_is_one_line(tmp_path, trainings, damage):
    trainings()
    tuning.tune(config(), tmp_path, io.StringIO())
    path = tmp_path / "trials.json"
    state = json.loads(path.read_text())
    state["trials"][0] |= damage
    path.write_text(json.dumps(state))
    with pytest.raises(UserError, match="trials.json cannot be resumed") as caught:
        tuning.tune(config(), tmp_path, io.StringIO())
    assert "\n" not in str(caught.value)


def test_a_real_trial_that_was_promoted_is_one_training(tmp_path):
    """All variables and all records, to the last bit; what is tested in `test_paused`, by way of the tuner."""
    settings = config(drop_path=0.3, seed=3, epochs=2, rungs=2, trials=2)
    summary = tuning.tune(settings, tmp_path / "run", io.StringIO())
    best = summary["best"]
    assert [epochs for epochs, _ in best["rungs"]] == [1, 2]
    genotype = genotypes.from_json(best["genotype"]).to_text()
    tuning.train(settings.training(genotype), tmp_path / "whole", io.StringIO())
    one, other = tmp_path / "run" / best["workdir"], tmp_path / "whole"
    a, b = newest(one), newest(other)
    assert a.step == b.step and a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name, strict=True)
    assert metrics(one) == metrics(other) and len(metrics(one)) == 2
    own = json.loads((one / "summary.json").read_text())
    assert own["valid_accuracy"] == best["valid_accuracy"] and own["macs"] == best["macs"]


def parsed(*arguments):
    values = flags.FlagValues()
    binary.main.define_flags(values)
    values(["darts-tune", *arguments])
    return binary.config_from(values)


def test_flags():
    made = parsed("--search=DARTS_V2", "--algorithm=hyperband", "--epochs=9", "--reduction_factor=3", "--trials=22")
    assert (made.algorithm, made.reduction_factor, made.rungs, made.rung_epochs) == ("hyperband", 3, 3, (1, 3, 9))
    assert parsed("--prior=uniform").algorithm == "refine" and parsed("--prior=uniform").rung_epochs == (12,)
    half = parsed("--search=DARTS_V2", "--algorithm=asha", "--random_share=0.5", "--budget_epochs=40")
    assert (half.random_share, half.budget_epochs) == (0.5, 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--algorithm=halving", "--rungs=5"], "rungs must be at most 4 with .*epochs=12.*Received: rungs=5"),
        (["--algorithm=hyperband", "--rungs=5", "--trials=99"], "rungs must be at most 4 with algorithm=hyperband"),
        (["--algorithm=halving", "--trials=3"], "trials must be at least 4 with .*Received: trials=3"),
        (["--algorithm=halving", "--trials=0"], "trials must be at least 1"),
        (["--algorithm=asha", "--reduction_factor=1"], "reduction_factor must be at least 2"),
        (["--budget_epochs=0"], "budget_epochs must be at least 1.*Received: --budget_epochs=0"),
        (["--budget_epochs=11"], "budget_epochs must be at least 12, the epochs of the first training"),
        (["--algorithm=halving", "--budget_epochs=2"], "budget_epochs must be at least 3"),
        (["--minutes=-1"], "minutes must be at least 0"),
        (["--rungs=3"], "--rungs has no effect with --algorithm=refine"),
        (["--algorithm=random", "--reduction_factor=3"], "--reduction_factor has no effect with --algorithm=random"),
        (["--algorithm=halving", "--refine=1"], "--refine has no effect with --algorithm=halving"),
        (["--random_share=0.5"], "random_share must be 0 without the proposals of a search"),
        (["--algorithm=halvings"], "halvings"),
    ],
)
def test_contradictions_are_one_line(arguments, message):
    with pytest.raises((flags.Error, UserError), match=message) as caught:
        parsed("--prior=uniform", *arguments)
    assert "\n" not in str(caught.value)
