"""darts-protocol in NAS-Bench-201: which searches there are, what random search is worth, the table and the page."""

import json
import subprocess

import numpy as np
import pytest

from darts_tf.config.protocol import ComparisonConfig
from darts_tf.genotypes import benchmark
from darts_tf.protocol import comparison
from darts_tf.system.errors import UserError
from darts_tf.system.runtime import module_command

SMALL = "epochs=2,dataset=digits,max_train_examples=32,valid_examples=16,init_channels=4,num_cells=3,batch_size=8"


def test_methods_become_settings_of_searches():
    config = ComparisonConfig(methods=("darts:order=second:hvp=exact", "pc_darts+drnas:pc_darts_k=2"), seed=5)
    runs = comparison.plan(config)
    (second, *_), (combined, *others) = runs.values()
    assert (second.config.order, second.config.hvp, second.config.method) == ("second", "exact", "darts")
    assert (combined.config.method, combined.config.pc_darts_k, combined.config.order) == ("pc_darts,drnas", 2, "first")
    assert [run.config.seed for run in (combined, *others)] == [5, 6, 7]
    assert len({run.name for run in comparison.every(runs)}) == 6
    assert [run.config.seed for run in comparison.every(runs)] == [5, 5, 6, 6, 7, 7]


def test_all_methods_of_the_preset_can_be_searched_with():
    assert len(comparison.plan(ComparisonConfig())) == len(ComparisonConfig().methods)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search_preset": "digits_search"}, "must be for searches in NAS-Bench-201"),
        ({"methods": ("darts:pc_darts_k=2",)}, "pc_darts_k is a setting of the method pc_darts"),
        ({"methods": ("drnas+gdas",)}, "each relax the choice of operations"),
        ({"methods": ("dartz",)}, "method must be one of darts"),
        ({"methods": ("darts:epochs=x",)}, "epochs"),
        ({"methods": ("darts:seed=3",)}, "cannot set seed"),
        ({"methods": ("darts", "darts")}, "distinct"),
        ({"methods": ("darts:",)}, "name\\+name:setting=value"),
        ({"benchmark": "svhn"}, "benchmark must be one of"),
        ({"overrides": ("method=gdas",)}, "cannot set method"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(UserError, match=message) as refused:
        comparison.plan(ComparisonConfig(**settings))
    assert "\n" not in str(refused.value)


def test_random_search_is_what_drawing_finds():
    tests, valid = benchmark.accuracies("cifar10") / 100, benchmark.accuracies("cifar10", "valid_12")
    assert comparison.random_search(1)["test_mean"] == pytest.approx(tests.mean(), abs=1e-12)
    assert comparison.random_search(1)["test_std"] == pytest.approx(tests.std(), abs=1e-9)
    drawn = np.random.default_rng(0).integers(len(tests), size=(20_000, 10))
    best = tests[drawn[np.arange(len(drawn)), valid[drawn].argmax(1)]]
    found = comparison.random_search(10)
    assert found["test_mean"] == pytest.approx(best.mean(), abs=4 * best.std() / len(drawn) ** 0.5)
    assert found["test_std"] == pytest.approx(best.std(), rel=0.05)
    assert comparison.random_search(10**7)["test_mean"] == pytest.approx(tests[valid.argmax()], abs=1e-3)


@pytest.mark.slow
def test_a_comparison_leaves_a_table_and_a_page(tmp_path):
    flags = "--preset=nasbench201_methods", "--methods=darts,drnas+beta_darts", "--num_seeds=1", f"--overrides={SMALL}"
    command = [*module_command("darts_tf.bin.protocol"), *flags, f"--workdir={tmp_path}"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "best of 1" in first.stdout
    result = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["method"] for row in result["table"]} == {"darts", "drnas+beta_darts"}
    for row in result["table"]:
        assert row["tests"] == [benchmark.query(row["found"][0]).test["cifar10"] / 100]
        assert row["curve"][-1] == row["tests"][0] and len(row["curve"]) == 2
    page = (tmp_path / "report.html").read_text()
    assert "drnas+beta_darts" in page and "Random search" in page
    shares = [f"{100 * row['tests'][0]:.2f} %" for row in result["table"]]
    assert all(f": true test accuracy {share}" in page for share in shares)
