"""darts-protocol: which runs there are, in which order, what selects, and that a stopped one goes on."""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time
import zlib

import pytest
from absl import flags

from darts_tf import genotypes
from darts_tf.bin import protocol as binary
from darts_tf.bin import search, train
from darts_tf.config import SearchConfig, TrainConfig, presets
from darts_tf.config.protocol import ProtocolConfig
from darts_tf.genotypes.canonical import canonical
from darts_tf.protocol import protocol, results, workers
from darts_tf.protocol.overrides import changed
from darts_tf.protocol.runs import Plan
from darts_tf.runs import scores
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system.errors import UserError

SMALL = presets.get("smoke_protocol").config.replace(processes=1)


def config(**settings):
    return SMALL.replace(**settings)


class Binaries:
    """Takes the place of the processes: writes what a binary would leave, and notes what it was asked to do.

    A cell's accuracy is a function of the cell. Trainings that select have no test accuracy, so that nobody reads it.
    """

    def __init__(self, directory, fails=(), signals=(), metric="accuracy"):
        self.directory, self.fails, self.signals, self.metric = directory, fails, signals, metric
        self.summary = {"metric": metric, "better": "higher" if metric == "accuracy" else "lower"}
        self.started, self.configs = [], {}

    def __call__(self, command, log):
        module, *arguments = command[3:]
        settings = {"darts_tf.bin.search": search.SETTINGS, "darts_tf.bin.train": train.SETTINGS}[module]
        values = flags.FlagValues()
        settings.define(values)
        values(command[3:])
        path = pathlib.Path(values["workdir"].value)
        name = path.relative_to(self.directory).as_posix()
        self.started.append(name)
        self.configs[name] = settings.config(values)
        return Process(self, name, path, log)

    def valid(self, config):
        return zlib.crc32(config.genotype.encode()) % 97 / 97

    def test(self, config):
        return (config.seed * 5 % 7) / 7


class Process:
    def __init__(self, binaries, name, path, log):
        self.binaries, self.name, self.path, self.log = binaries, name, path, log

    def wait(self, timeout=None):
        b, config = self.binaries, self.binaries.configs[self.name]
        write_json(self.path / "config.json", config.to_json())
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.name in b.fails:
            self.log.write_text("building\ndarts-train: error: the disk is full\n")
            return 1
        if self.name in b.signals:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)  # until the main thread has seen it
            return 130
        if isinstance(config, SearchConfig):
            cell = protocol.random_cells(genotypes.load("DARTS_V2"), config.primitives, config.seed + 1, 5)[-1]
            genotypes.save(cell, self.path / "genotype.json")
            (self.path / "metrics.jsonl").write_text('{"seconds": 4.0}\n{"seconds": 6.0}\n')
        elif self.name.startswith("retrain/"):
            write_json(self.path / "summary.json", b.summary | {f"valid_{b.metric}": b.valid(config), "seconds": 4.0})
        else:
            found = {f"valid_{b.metric}": None, f"test_{b.metric}": b.test(config), "seconds": 9.0}
            write_json(self.path / "summary.json", b.summary | found)
        return 0

    def terminate(self):
        pass

    kill = terminate


@pytest.fixture
def binaries(tmp_path, monkeypatch):
    def use(folder="run", **settings):
        made = Binaries(tmp_path / folder, **settings)
        page = lambda directories, path: path.write_text(f"page of {len(directories)}")  # noqa: E731
        monkeypatch.setattr(protocol, "write_report", page)
        monkeypatch.setattr(workers, "start", made)
        return made

    return use


def test_the_order_of_the_runs_and_what_is_left(tmp_path, binaries):
    ran, said = binaries(), []
    found = protocol.run(config(), tmp_path / "run", said.append)
    assert json.loads((tmp_path / "run" / "protocol.json").read_text()) == found
    assert (tmp_path / "run" / "report.html").read_text() == "page of 1"
    assert ran.started == (
        ["searches/seed_0", "searches/seed_1", "retrain/search_0", "retrain/search_1"]
        + ["retrain/random_0", "retrain/random_1", "evaluate/search/seed_0", "evaluate/random/seed_0"]
        + ["evaluate/search/seed_1", "evaluate/random/seed_1"]
    )
    assert (found["metric"], found["better"]) == ("accuracy", "higher")
    for arm in ("search", "random"):
        runs = found["searches" if arm == "search" else "random"]
        values = [ran.valid(ran.configs[each.get("retrain", each["workdir"])]) for each in runs]
        assert [each["valid"] for each in runs] == values
        chosen = found["selected"][arm]
        assert values[chosen] == max(values)
        cell = genotypes.from_json(runs[chosen]["genotype"])
        for seed, each in enumerate(found["evaluations"][arm]):
            trained = ran.configs[each["workdir"]]
            assert trained.seed == each["seed"] == seed and trained.genotype == cell.to_text()
            assert trained.epochs == presets.get("smoke_train").config.epochs
    first, second = found["table"]
    assert (first["method"], first["search_seconds"], first["select_seconds"], first["n"]) == ("search", 20, 8, 2)
    assert (second["method"], second["search_seconds"], second["select_seconds"], second["n"]) == ("random", 0, 8, 2)
    assert first["test_std"] == pytest.approx(statistics.stdev([0, 5 / 7]))
    text = results.table(found).splitlines()
    assert len(text) == 3 and text[1].startswith("search") and "35.71 ± 50.51 %" in text[1]
    short = {ran.configs[f"retrain/{name}"].replace(genotype="") for name in ("search_0", "search_1", "random_0")}
    assert len(short) == 1 and short.pop().epochs == 1  # the same conditions for all
    assert ran.configs["retrain/random_0"].seed not in range(2)


def test_as_many_random_cells_as_cost_what_the_searches_cost(tmp_path, binaries):
    binaries()
    said = []
    found = protocol.run(config(num_random=0), tmp_path / "run", said.append)
    assert len(found["random"]) == 7  # (2 * 10 + 2 * 4) / 4
    assert any("took 28 s, one short training run 4 s: 7 random cells cost the same" in line for line in said)


def test_lower_perplexity_is_better(tmp_path, binaries, monkeypatch):
    monkeypatch.setattr(TrainConfig, "metric", "perplexity")
    monkeypatch.setattr(TrainConfig, "better", "lower")
    binaries(metric="perplexity")
    found = protocol.run(config(num_random=5), tmp_path / "run", lambda line: None)
    assert (found["metric"], found["better"]) == ("perplexity", "lower")
    values = [each["valid"] for each in found["random"]]
    assert values[found["selected"]["random"]] == min(values) < max(values)
    assert "test perplexity" in results.table(found) and "%" not in results.table(found)


def test_a_stopped_protocol_goes_on(tmp_path, binaries):
    whole = binaries("whole")
    expected = protocol.run(config(), tmp_path / "whole", lambda line: None)
    seen = []
    for name in ("searches/seed_1", "retrain/random_0", "evaluate/random/seed_0"):
        ran = binaries(signals={name})
        assert protocol.run(config(), tmp_path / "run", lambda line: None) is None
        assert ran.started[-1] == name
        seen += ran.started[:-1]
    ran = binaries()
    assert protocol.run(config(), tmp_path / "run", lambda line: None) == expected
    assert sorted(seen + ran.started) == sorted(whole.started)  # none twice
    more = binaries()
    found = protocol.run(config(eval_seeds=3), tmp_path / "run", lambda line: None)
    assert more.started == ["evaluate/search/seed_2", "evaluate/random/seed_2"] and found["table"][0]["n"] == 3


@pytest.mark.parametrize(
    ("stops_at", "settings", "message"),
    [
        ("searches/seed_1", {"seed": 1}, "run holds a run with different settings.*seed: 0 -> 1. Use the settings of"),
        ("searches/seed_1", {"search_overrides": ("order=first",)}, "seed_0 holds .*: order: second -> first. Use"),
        ("searches/seed_1", {"search_preset": "digits_search"}, "searches/seed_0 holds a run with different settings"),
        ("retrain/search_1", {"num_searches": 3, "retrain_epochs": 2}, "retrain/search_0 holds .*: epochs: 1 -> 2"),
        ("retrain/random_1", {"retrain_seed": 5}, "retrain/search_0 holds .*: seed: 1000 -> 5"),
        ("", {"num_searches": 3, "num_random": 0, "evaluation_overrides": ("epochs=7",)}, "evaluate/search/seed_0 ho"),
    ],
)
def test_other_settings_are_refused_before_anything_is_run_or_written(tmp_path, binaries, stops_at, settings, message):
    binaries(signals={stops_at})
    assert bool(protocol.run(config(), tmp_path / "run", lambda line: None)) == (not stops_at)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json")}
    before = (tmp_path / "run" / "config.json").read_bytes()
    ran = binaries()
    with pytest.raises(UserError, match=message) as caught:
        protocol.run(config(**settings), tmp_path / "run", lambda line: None)
    assert "\n" not in str(caught.value) and not ran.started
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json")}


def test_a_short_training_of_another_cell_is_refused_before_other_searches_run(tmp_path, binaries):
    binaries(signals={"retrain/random_0"})
    protocol.run(config(), tmp_path / "run", lambda line: None)
    genotypes.save(genotypes.load("DARTS_V1"), tmp_path / "run" / "searches" / "seed_0" / "genotype.json")
    ran = binaries()
    with pytest.raises(UserError, match="retrain/search_0 holds a run with different settings.*: genotype: "):
        protocol.run(config(num_searches=3), tmp_path / "run", lambda line: None)
    assert not ran.started


def test_a_run_that_fails_ends_it_and_is_named(tmp_path, binaries):
    ran, said = binaries(fails={"retrain/search_0"}), []
    with pytest.raises(UserError, match="retrain/search_0 failed with status 1: darts-train: error: the disk is full"):
        protocol.run(config(), tmp_path / "run", said.append)
    assert ran.started[-1] == "retrain/search_0" and said[-1] == "retrain/search_0: failed"
    binaries()
    mended = config(retrain_overrides=("tensorboard=false",))  # a setting that a run may change when it goes on
    assert protocol.run(mended, tmp_path / "run", said.append)["table"]


def test_a_run_that_fails_beside_others_is_told_at_once(tmp_path, binaries):
    binaries(fails={"searches/seed_0", "searches/seed_1"})
    said = []
    with pytest.raises(UserError, match="searches/seed_. failed with status 1"):
        protocol.run(config(processes=2, num_searches=6), tmp_path / "run", said.append)
    assert not any("seed_5: running" in line for line in said)


def test_a_long_run_says_how_far_it_is(tmp_path, monkeypatch):
    class Long:
        name = "searches/seed_0"

        def done(self, directory):
            return (directory / "done").exists()

        def command(self, directory):
            code = "import sys, time; print('epoch 1', flush=True); time.sleep(2); print('epoch 2', flush=True)"
            code += "; time.sleep(2); open(sys.argv[1], 'w').close()"
            return [sys.executable, "-c", code, str(directory / "done")]

    monkeypatch.setattr(workers, "RELAY_SECONDS", 0.1)
    said = []
    assert workers.Workers(tmp_path, 1, said.append).run([Long()])
    assert [line for line in said if ": epoch" in line] == ["searches/seed_0: epoch 1", "searches/seed_0: epoch 2"]


def test_a_signal_that_another_thread_takes_stops_the_runs_too(tmp_path):
    """It wakes nobody who waits for a lock: the same as one that comes just before the main thread begins to wait."""

    class Long:
        name = "searches/seed_0"

        def done(self, directory):
            return False

        def command(self, directory):
            return [sys.executable, "-c", "import time; time.sleep(60)"]

    timer = threading.Timer(1.0, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM))
    said, begin = [], time.monotonic()
    timer.start()
    assert not workers.Workers(tmp_path, 1, said.append).run([Long()])
    assert time.monotonic() - begin < 30 and said[-1] == "searches/seed_0: stopped"


def test_a_process_that_an_earlier_start_has_left_is_waited_for(tmp_path, binaries, monkeypatch):
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.05)
    ran, said = binaries(), []
    planned = Plan(config()).searches[0]
    left = WorkDir(tmp_path / "run" / planned.name)
    left.open_for(planned.config)

    def end():
        process = ran(planned.command(tmp_path / "run"), tmp_path / "run" / "logs" / "left.log")
        process.wait()
        left.close()

    timer = threading.Timer(0.3, end)
    write_json(tmp_path / "run" / "config.json", config().to_json())
    timer.start()
    assert protocol.run(config(), tmp_path / "run", said.append)
    timer.join()
    assert ran.started.count(planned.name) == 1
    assert sum(f"process {os.getpid()} of an earlier start" in line for line in said) == 1


def test_a_run_of_other_settings_is_refused(tmp_path, binaries):
    binaries()
    protocol.run(config(), tmp_path / "run", lambda line: None)
    path = tmp_path / "run" / "retrain" / "random_1" / "config.json"
    write_json(path, json.loads(path.read_text()) | {"learning_rate": 0.5})
    with pytest.raises(UserError, match=r"random_1 holds a run with different settings.*learning_rate: 0.5 -> 0.05"):
        protocol.run(config(), tmp_path / "run", lambda line: None)


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ({"valid_accuracy": None}, "no valid_accuracy to select by. Received: None"),
        ({"valid_accuracy": 0.5, "test_accuracy": None}, "was not tested.*Expected test data"),
        ({"accuracy": 0.5}, "summary.json cannot be read: valid_accuracy is missing. Remove .* to train again"),
    ],
)
def test_what_cannot_select_is_refused(tmp_path, summary, message):
    write_json(tmp_path / "summary.json", {"metric": "accuracy", "better": "higher", "seconds": 1.0} | summary)
    with pytest.raises(UserError, match=message):
        results.validation(tmp_path, "accuracy")
    (tmp_path / "summary.json").write_text('{"metric": ')
    with pytest.raises(UserError, match="summary.json cannot be read"):
        results.validation(tmp_path, "accuracy")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search_preset": "smok"}, "no such preset.*Did you mean smoke"),
        ({"train_preset": "smoke"}, "train_preset must be a preset of darts-train.*which is of darts-search"),
        (
            {"search_preset": "text_search"},
            "one kind of cell. Expected .* for recurrent cells, such as text_train.*conv",
        ),
        ({"train_preset": "text_train"}, "Expected a train_preset for conv cells, such as digits_train.*=text_train"),
        ({"train_preset": "text_train", "retrain_overrides": ("train_portion=0.9",)}, "be for one kind of cell"),
        ({"train_preset": "cifar10_train"}, "retrain_overrides must hold out images.*train_portion=1.0"),
        ({"overrides": ("strategy=multi_worker",)}, "strategy must be none or mirrored in a protocol"),
        ({"overrides": ("seed=3",)}, "overrides cannot set seed, which comes from seed"),
        ({"retrain_overrides": ("epochs=3",)}, "retrain_overrides cannot set epochs, which comes from retrain_epochs"),
        ({"search_overrides": ("epoch=3",)}, "search_overrides: epoch is not a field.*Did you mean epochs"),
        ({"evaluation_overrides": ("epochs=many",)}, "evaluation_overrides: epochs must be an int.*'many'"),
        ({"overrides": ("digits",)}, "overrides must be name=value, comma separated. Received: overrides=digits"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(tmp_path, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        protocol.run(config(**settings), tmp_path / "run", print)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_overrides_are_of_the_fields_types():
    made = changed(
        SearchConfig(),
        "overrides",
        ("epochs=3", "flip=false", "primitives=none", "skip_connect", "learning_rate=0.5", "dataset=digits"),
        {},
    )
    assert made == SearchConfig(
        epochs=3, flip=False, primitives=("none", "skip_connect"), learning_rate=0.5, dataset="digits"
    )
    with pytest.raises(UserError, match="flip must be a bool"):
        changed(SearchConfig(), "overrides", ("flip=no",), {})


def test_commands_are_the_planned_settings(tmp_path, binaries):
    changes = {"overrides": ("tensorboard=false", "init_channels=6"), "search_overrides": ("primitives=none", "scale")}
    ran = binaries()
    plan = Plan(config(**changes))
    for run in (*plan.searches, plan.retrain("search_0", genotypes.load("DARTS_V2"))):
        ran(run.command(tmp_path / "run"), None)
        assert ran.configs[run.name] == run.config
    assert plan.searches[0].config.primitives == ("none", "scale") and not plan.searches[0].config.tensorboard
    texts = Plan(config(search_preset="text_search", train_preset="text_train", overrides=("num_units=8",)))
    for run in (*texts.searches, texts.retrain("random_0", genotypes.load("DARTS_V2", "recurrent"))):
        ran(run.command(tmp_path / "run"), None)
        assert ran.configs[run.name] == run.config and run.config.num_units == 8


@pytest.mark.parametrize("name", ["DARTS_V2", "DARTS"])
def test_random_cells_differ_and_do_not_depend_on_their_number(name):
    like = genotypes.load(name, "recurrent" if name == "DARTS" else "conv")
    cells = protocol.random_cells(like, None, 20, seed=0)
    assert len({canonical(cell) for cell in cells}) == 20 and {cell.kind for cell in cells} == {like.kind}
    assert protocol.random_cells(like, None, 5, seed=0) == cells[:5]
    assert protocol.random_cells(like, None, 5, seed=1) != cells[:5]


def test_help_is_instant_and_a_mistake_one_line(capsys):
    code = "import sys; from darts_tf.bin import protocol as p; import darts_tf.protocol.protocol; p.main(['--help'])"
    code += "; assert 'tensorflow' not in sys.modules"  # nor is it ever loaded: the runs do that
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--retrain_epochs=" in done.stdout
    with pytest.raises(SystemExit):
        binary.main(["--preset=smoke"])
    assert "smoke is a preset of darts-search" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        binary.main(["--data_dir=photos"])
    assert "'data_dir'; a setting of the runs: --overrides=data_dir=..." in capsys.readouterr().err


def test_the_defaults_are_those_of_the_paper():
    c = ProtocolConfig()
    assert (c.num_searches, c.retrain_epochs, c.eval_seeds, c.num_random) == (4, 100, 10, 24)
    plan = Plan(c)
    assert plan.searches[3].config == presets.get("cifar10_search").config.replace(seed=3)
    evaluation = plan.evaluations("search", genotypes.load("DARTS_V2"))[9].config
    assert evaluation.replace(genotype="DARTS_V2") == TrainConfig(seed=9)


@pytest.mark.slow
def test_a_real_one_is_stopped_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "darts_tf.bin.protocol", "--preset=smoke_protocol", "--num_searches=1"]
    command += ["--num_random=1", "--eval_seeds=1", "--search_overrides=order=first", f"--workdir={tmp_path / 'run'}"]
    command += ["--retrain_epochs=6"]  # long enough that the signal comes in time, also on a busy machine
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        for line in process.stdout:
            if line.startswith("retrain/search_0: running"):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 130 and "retrain/search_0: stopped" in rest and "the same command resumes" in rest
    assert WorkDir(tmp_path / "run" / "retrain" / "search_0").user() is None
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and "searches/seed_0: running" not in done.stdout, done.stderr
    found = json.loads((tmp_path / "run" / "protocol.json").read_text())
    (search,), (random,) = found["searches"], found["random"]
    for each, kind in ((search["retrain"], "valid"), (random["workdir"], "valid")):
        summary = json.loads((tmp_path / "run" / each / "summary.json").read_text())
        assert summary["valid_accuracy"] == (search if each == search["retrain"] else random)[kind]
    for each in (*found["evaluations"]["search"], *found["evaluations"]["random"]):
        summary = json.loads((tmp_path / "run" / each["workdir"] / "summary.json").read_text())
        assert (summary["valid_accuracy"], summary["test_accuracy"]) == (each["valid"], each["test"])
    assert found["table"][0]["test_std"] is None and "\nsearch " in done.stdout
    page = (tmp_path / "run" / "report.html").read_text()
    assert "evaluate/search/seed_0" in page and scores.shown(found["table"][0]["test_mean"], "accuracy") in page
