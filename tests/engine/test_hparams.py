"""Runs in TensorBoard's HParams, read back by TensorBoard's own plugin."""

import json
import subprocess
import sys

import pytest

from darts_tf import genotypes
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.engine.hparams import Entry, settings_of, write_hparams
from darts_tf.protocol import comparison, results
from darts_tf.runs.workdir import write_json

CELLS = {name: genotypes.load(name) for name in ("DARTS_V1", "DARTS_V2")}


def run(path, genotype, config=TrainConfig, **settings):
    """The work directory of a run, as far as HParams reads it."""
    write_json(path / "config.json", config(**settings).to_json() | ({"genotype": genotype} if genotype else {}))
    return path


@pytest.fixture
def tuning(tmp_path):
    for number, name in enumerate(CELLS, 1):
        run(tmp_path / f"trials/{number:03d}", CELLS[name].to_text(), learning_rate=0.01 * number, data_dir=name)
    run(tmp_path / "trials/003", "damaged")
    return tmp_path


def entries():
    good = {"valid_accuracy": 0.5, "parameters": 1000, "macs": None, "seconds": 60.0}
    last = {"epochs": 4}
    return [Entry("trials/001", good, last), Entry("trials/002", good | {"valid_accuracy": 0.25}, last)]


def shown(folder):
    """What the plugin shows of a folder: `{group: (settings, metrics, status)}`."""
    from tensorboard.backend.event_processing.data_ingester import LocalDataIngester  # noqa: F401
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    events = EventMultiplexer()
    events.AddRunsFromDirectory(str(folder))
    events.Reload()
    provider = MultiplexerDataProvider(events, str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = RequestContext()
    experiment = get_experiment.Handler(request, context, "", api_pb2.GetExperimentRequest()).run()
    statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
    columns = [api_pb2.ColParams(metric=metric.name) for metric in experiment.metric_infos]
    wanted = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=100, col_params=columns)
    groups = list_session_groups.Handler(request, context, "", wanted).run().session_groups
    return {
        group.name: (
            {
                key: value.number_value if value.HasField("number_value") else value.string_value
                for key, value in group.hparams.items()
            },
            {each.name.tag: each.value for each in group.metric_values},
            group.sessions[0].status == api_pb2.STATUS_SUCCESS,
        )
        for group in groups
    }


def test_each_trial_is_a_row_with_its_settings_and_its_result(tuning):
    write_hparams(tuning, [*entries(), Entry("trials/003", {})])
    found = shown(tuning)
    assert set(found) == {"trials/001", "trials/002", "trials/003"}
    settings, metrics, good = found["trials/002"]
    assert metrics == {"valid_accuracy": 0.25, "parameters": 1000, "seconds": 60} and good
    assert (settings["stage"], settings["epochs"], settings["init_channels"]) == ("trials", 4, 36)
    assert settings["learning_rate"] == 0.02 and "data_dir" not in settings and "momentum" not in settings
    chosen = [operation for operation, _ in CELLS["DARTS_V2"].normal]
    counts = {key.removeprefix("normal "): n for key, n in settings.items() if key.startswith("normal ") and n}
    assert counts == {name: chosen.count(name) for name in chosen}
    assert settings.keys() == found["trials/001"][0].keys()  # an operation that a cell does not have counts 0
    assert found["trials/003"][1:] == ({}, False)


def test_a_second_start_replaces_what_the_first_wrote(tuning):
    write_hparams(tuning, entries())
    write_hparams(tuning, [entries()[0]._replace(results={"valid_accuracy": 0.75}), entries()[1]])
    assert shown(tuning)["trials/001"][1] == {"valid_accuracy": 0.75}
    assert len([*tuning.glob("tensorboard/trials/001/*")]) == 1


def test_the_runs_of_a_protocol(tmp_path):
    text = CELLS["DARTS_V1"].to_text()
    search = {"seed": 0, "workdir": "searches/seed_0", "seconds": 9.0, "valid": 0.5, "retrain": "retrain/search_0"}
    random = {"workdir": "retrain/random_0", "valid": 0.25, "seconds": 3.0}
    full = {"seed": 0, "workdir": "evaluate/search/seed_0", "valid": 0.75, "test": 0.625}
    found = {"metric": "accuracy", "searches": [search | {"retrain_seconds": 2.0}], "random": [random]}
    found["evaluations"] = {"search": [full]}
    run(tmp_path / "searches/seed_0", None, SearchConfig)
    genotypes.save(CELLS["DARTS_V1"], tmp_path / "searches/seed_0/genotype.json")
    for name in ("retrain/search_0", "retrain/random_0", "evaluate/search/seed_0"):
        run(tmp_path / name, text, epochs=7)
    write_hparams(tmp_path, results.entries(found))
    rows = shown(tmp_path)
    assert {name: metrics for name, (_, metrics, _) in rows.items()} == {
        "searches/seed_0": {"seconds": 9},
        "retrain/search_0": {"valid_accuracy": 0.5, "seconds": 2},
        "retrain/random_0": {"valid_accuracy": 0.25, "seconds": 3},
        "evaluate/search/seed_0": {"valid_accuracy": 0.75, "test_accuracy": 0.625},
    }
    assert {name: settings["method"] for name, (settings, _, _) in rows.items()} == {
        name: "random" if "random" in name else "search" for name in rows
    }
    operation = CELLS["DARTS_V1"].normal[0][0]
    assert all(settings[f"normal {operation}"] >= 1 for settings, _, _ in rows.values())


def test_the_searches_of_a_comparison():
    row = {"method": "gdas", "workdirs": ["searches/gdas/seed_0"], "tests": [0.9]}
    (entry,) = comparison.entries({"benchmark": "cifar100", "table": [row]})
    assert entry == ("searches/gdas/seed_0", {"test_accuracy_cifar100": 0.9}, {"method": "gdas"})


def test_settings_that_cannot_be_read_are_left_out(tmp_path):
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "config.json").write_text(json.dumps(["no", "object"]))
    assert settings_of(tmp_path, [Entry("gone", {}), Entry("never", {})]) == [{"stage": "."}, {"stage": "."}]


def test_it_loads_no_tensorflow(tuning):
    code = (
        "import pathlib, sys\n"
        "from darts_tf.engine.hparams import Entry, write_hparams\n"
        f"write_hparams(pathlib.Path({str(tuning)!r}), [Entry('trials/001', {{'valid_accuracy': 0.5}})])\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
