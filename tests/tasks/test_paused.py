"""A training that is paused and continued, as successive halving does it, is the uninterrupted one to the last bit."""

import io
import json

import numpy as np
import pytest

from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.tasks.train import train
from tests.helpers.language_runs import settings
from tests.helpers.runs import Console, metrics, newest
from tests.helpers.trainings import SMOKE


def same(one, other):
    """All variables, also those of the optimiser, and all records of two work directories."""
    a, b = newest(one), newest(other)
    assert a.step == b.step and a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name, strict=True)
    assert metrics(one) == metrics(other)


def promoted(config, path, *parts):
    """Trains in parts; returns the results of each."""
    found = []
    for until in parts:
        found.append(train(config, path, Console(), until=until))
    return found


def test_two_promotions_of_an_image_network(tmp_path):
    """The rates of learning and of drop path are those of all the epochs."""
    config = SMOKE.replace(epochs=4, drop_path=0.4, max_train_examples=48)
    whole = train(config, tmp_path / "whole", Console())
    parts = promoted(config, tmp_path / "parts", 1, 2, None)
    same(tmp_path / "whole", tmp_path / "parts")
    assert {**parts[-1], "seconds": 0} == {**whole, "seconds": 0}
    records = metrics(tmp_path / "parts")
    assert [record["drop_path"] for record in records] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert records[1]["learning_rate"] == pytest.approx(SMOKE.learning_rate * (1 + np.cos(np.pi / 4)) / 2)
    for count, part in zip((1, 2), parts, strict=False):
        assert part["valid_accuracy"] == max(record["valid_accuracy"] for record in records[:count])
        assert part["parameters"] == whole["parameters"] and part["macs"] == whole["macs"]
        assert part["last"]["epoch"] == count and part["test_accuracy"] is None  # no test on the way


def test_two_promotions_of_a_language_model(texts, tmp_path):
    """Also where the weights are averaged from some epoch on."""
    config = settings(texts, nonmono=1, epochs=6, learning_rate=60.0)
    whole = train(config, tmp_path / "whole", Console())
    assert whole["averaged_from"] is not None
    parts = promoted(config, tmp_path / "parts", 2, 5, 6)
    same(tmp_path / "whole", tmp_path / "parts")
    assert {**parts[-1], "seconds": 0} == {**whole, "seconds": 0}


def test_a_pause_is_not_the_end(tmp_path):
    out = Console()
    found = train(SMOKE.replace(max_train_examples=48), tmp_path, out, until=1)
    assert "paused after 1 of 2 epochs" in out.getvalue() and found["epochs"] == 1
    assert not (tmp_path / "summary.json").exists() and not (tmp_path / "last.keras").exists()
    assert (tmp_path / "best.keras").exists() and json.loads(WorkDir(tmp_path).config.read_text())["epochs"] == 2
    again = train(SMOKE.replace(max_train_examples=48), tmp_path, io.StringIO(), until=1)
    assert again == found  # nothing is left to do


@pytest.mark.parametrize("until", [0, 3, -1])
def test_a_pause_outside_of_the_epochs(tmp_path, until):
    with pytest.raises(UserError, match=f"until must be at least 1 and at most epochs=2. Received: until={until}"):
        train(SMOKE, tmp_path / "run", Console(), until=until)
    assert not (tmp_path / "run").exists()
