"""darts-benchmark operations: what it measures, and that a search takes what it prints."""

import json

import numpy as np
import pytest

from darts_tf import genotypes, methods, spaces
from darts_tf.bench import operations
from darts_tf.bin import benchmark as binary
from darts_tf.config import SearchConfig
from darts_tf.spaces import costs, latency
from darts_tf.spaces.conv.folding import fold_in_place
from darts_tf.system.errors import UserError
from tests.helpers.arrays import fill, images

TINY = {"init_channels": 4, "num_cells": 3, "num_nodes": 1, "image_size": 8, "operations_file": ""}
TINY |= {"primitives": ("none", "skip_connect", "max_pool_3x3", "sep_conv_5x5")}


@pytest.fixture(scope="module")
def table():
    said = []
    found = operations.measure(
        SearchConfig(**TINY, batch_size=1), rounds=10, check=3, image_channels=1, say=said.append
    )
    assert said[0] == "3 operations on 4x4x16 at stride 2 ..."
    assert "network 9 of 9 ..." in said and said[-1] == "round 10 of 10"
    return found


def test_every_operation_is_measured_at_every_place(table):
    own, config = spaces.get("conv"), SearchConfig(**TINY)
    net = costs.network(own, config, costs.alike(own, config, "skip_connect"), ((8, 8, 1), 10))
    places = {place for _, each in own.places(net) for place in each}
    keys = [tuple(row[name] for name in ("operation", *costs.Place._fields)) for row in table["operations"]]
    assert sorted(keys) == sorted((name, *place) for place in places for name in TINY["primitives"][1:])
    ms = {key: row["ms"] for key, row in zip(keys, table["operations"], strict=True)}
    assert places == {(4, 1, 8, 8), (8, 2, 8, 8), (16, 2, 4, 4)}  # one node reads inputs only
    assert all(0 <= each < 100 for each in ms.values())
    dear = sum(value for key, value in ms.items() if key[0] == "sep_conv_5x5")
    assert dear > sum(value for key, value in ms.items() if key[0] == "skip_connect")
    assert {name: table[name] for name in latency.NETWORK} == {
        "space": "conv", "init_channels": 4, "num_cells": 3, "num_nodes": 1,
    }  # fmt: skip
    assert table["device"] and table["batch_size"] == 1 and table["image_shape"] == [8, 8, 1]


def test_the_prediction_is_right_for_both_reference_networks_and_stated_for_others(table, tmp_path):
    check = table["check"]
    assert len(check["networks"]) == 3 and -1 <= check["spearman"] <= 1 and -1 <= check["pearson"] <= 1
    predicted, measured = ([each[f"{name}_ms"] for each in check["networks"]] for name in ("predicted", "measured"))
    assert check["worst"] == pytest.approx(np.max(np.abs(np.divide(predicted, measured) - 1)), abs=1e-4)
    file = tmp_path / "table.json"
    file.write_text(json.dumps(table))
    config = SearchConfig(**TINY, method="cost", cost_kind="latency", cost_table=str(file))
    method = methods.make(config)
    method.variables(type("Net", (), {"image_shape": (8, 8, 1), "num_classes": 10}))
    read = method.parts[0].costs
    for each in check["networks"]:
        assert read.of(genotypes.load(each["genotype"])) == pytest.approx(each["predicted_ms"])
    lines = operations.text(table).splitlines()
    assert sum(line.startswith(TINY["primitives"][1:]) for line in lines) == 3 and any("8x8x8/2" in x for x in lines)


def test_what_is_measured_is_folded(float64):
    """And gives the same."""
    own, place = spaces.get("conv"), costs.Place(4, 2, 8, 8)
    for name in ("sep_conv_3x3", "skip_connect"):
        layer, x = fill(costs.operation(own, name, place)), images(2, 8, 8, 4)
        expected = layer(x)
        fold_in_place(layer)
        np.testing.assert_allclose(layer(x), expected, rtol=1e-9, atol=1e-12)
        assert all(norm.folded for norm in layer._flatten_layers() if hasattr(norm, "folded"))


def test_the_binary_measures_any_space_and_prints_one_json_object(monkeypatch, capsys):
    seen = {}

    def measured(config, rounds, check, channels, say):
        seen.update(config=config, rest=(rounds, check, channels))
        return {"operations": []}

    monkeypatch.setattr("darts_tf.system.runtime.configure", lambda *_: None)
    monkeypatch.setattr(operations, "measure", measured)
    assert binary.main(["operations", "--space=nasbench201", "--check=2", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"operations": []} and seen["rest"] == (60, 2, 3)
    own = spaces.get("nasbench201").genotype
    assert (seen["config"].primitives, seen["config"].num_nodes) == (own.primitives, own.usual_nodes)
    flags = "--steps=7 --image_channels=1 --primitives=none,skip_connect --num_nodes=2"
    assert binary.main(["operations", *flags.split()]) == 0
    assert seen["rest"] == (7, 0, 1) and seen["config"].primitives == ("none", "skip_connect")
    assert (seen["config"].batch_size, seen["config"].num_nodes) == (1, 2)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(UserError, match="which this space does not define.*Received: space=recurrent"):
        operations.measure(SearchConfig(space="recurrent", primitives=("tanh", "relu")), 1)
    with pytest.raises(UserError, match="nothing to choose between.*Received: primitives=none, skip_connect"):
        operations.measure(SearchConfig(primitives=("none", "skip_connect")), 1)
