"""darts-benchmark: what it reports, and that the exact gradient is the limit of the finite differences."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from absl import flags

from darts_tf.bench import benchmark, gpu_suite, gradient_comparison
from darts_tf.bin import benchmark as binary
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.passes import loss_scale

TINY = {
    "init_channels": 2,
    "num_cells": 3,
    "num_nodes": 1,
    "batch_size": 4,
    "primitives": ("none", "max_pool_3x3", "sep_conv_3x3"),
}
FIELDS = {
    "step_s", "first_step_s", "trace_s", "first_run_s", "build_s", "peak_memory_MB", "executed_ops", "executed_ops_is",
    "order", "hvp", "parameters", "threads", "init_channels", "num_cells", "batch_size", "image_size", "graph_nodes",
    "tensorflow", "device", "estimated_memory_MB", "estimated_tensors_MB", "accumulate", "precision", "recompute",
}  # fmt: skip


def test_search_reports_times_sizes_and_what_it_does():
    said = []
    result = benchmark.search(SearchConfig(**TINY, image_size=8), steps=2, say=said.append)
    assert result.keys() >= FIELDS
    assert all(result[key] > 0 for key in ("step_s", "first_run_s", "trace_s", "build_s", "peak_memory_MB"))
    assert result["first_step_s"] == pytest.approx(
        result["build_s"] + result["trace_s"] + result["first_run_s"], abs=5e-3
    )
    assert (result["order"], result["hvp"], result["image_size"]) == ("second", "finite_difference", 8)
    assert said[0].startswith("building the supernet") and "step 2 of 2" in said[-2]
    # Each derivative is a node of the outer graph and traced once, but executed as often as it is called.
    assert "executed" in result["executed_ops_is"] and result["skipped"] is None
    assert 0.5 * result["graph_nodes"] < result["executed_ops"] < 3 * result["graph_nodes"]
    assert len(benchmark.text(result).splitlines()) == sum(value is not None for value in result.values())


def test_a_recurrent_search_reports_the_same():
    sizes = {"num_units": 4, "vocabulary_size": 20, "bptt": 4, "batch_size": 2, "num_nodes": 2, "order": "first"}
    result = benchmark.search(LanguageSearchConfig(**sizes), steps=1)
    assert result.keys() >= FIELDS - {"init_channels", "num_cells", "image_size"}
    assert result["step_s"] > 0 and result["parameters"] == 20 * 5 + 8 * 8 + 2 * 4 * 8
    assert {name: result[name] for name in sizes} == sizes


def test_a_search_is_timed_with_its_method():
    sizes = TINY | {"init_channels": 8, "order": "first", "image_size": 8}
    plain, partial, control = (
        benchmark.search(SearchConfig(**sizes, method=name), steps=1) for name in ("darts", "pc_darts", "random_nas")
    )
    assert partial["method"] == "pc_darts" and partial["parameters"] < plain["parameters"]
    assert partial["estimated_tensors_MB"] <= plain["estimated_tensors_MB"] and partial["loss"] != plain["loss"]
    assert control["executed_ops"] < plain["executed_ops"] and "valid_loss" not in control


@pytest.mark.parametrize("scale, skipped", [(2.0**40, 2), (1.0, 0)])
def test_steps_that_the_loss_scale_has_undone_are_counted(monkeypatch, scale, skipped):
    monkeypatch.setattr(loss_scale, "START", scale)
    config = TrainConfig(init_channels=4, num_cells=3, batch_size=2, image_size=8, auxiliary=False, precision="float16")
    result = benchmark.train(config, steps=2)
    assert result["skipped"] == skipped and (result["loss"] == 0) == (skipped == 2)


def test_the_gpu_suite_tells_what_fails_and_goes_on():
    result = gpu_suite.run(dict.fromkeys(gpu_suite.SUITES, ["--no_such_flag=1"]), lambda line: None)
    names = [name for name, _ in gpu_suite.variants()]
    assert [row["name"] for row in result["rows"]] == names and len(set(names)) == 32
    assert all("no_such_flag" in row["error"] for row in result["rows"])
    result["rows"].append({"name": "one that works", "step_s": 0.25, "kernels": 1234, "skipped": 2})
    lines = gpu_suite.table(result).splitlines()
    assert lines[-1] == "| one that works | 0.25 |  |  |  | 1,234 |  | 2 |" and len(lines) == 37


def test_exact_is_the_limit_of_a_small_radius_and_not_the_papers():
    """In float64 a radius of 1e-6 crosses no switching point; 0.01 crosses some."""
    result = gradient_comparison.compare(SearchConfig(**TINY, dataset="digits", seed=3), radii=[1e-6], float64=True)
    rows = {row["name"]: row for row in result["rows"]}
    assert list(rows) == ["first order", "radius 0.01", "radius 1e-06", "exact"]
    assert rows["radius 1e-06"]["distance_exact"] < 1e-4
    assert rows["radius 1e-06"]["cosine_exact"] == pytest.approx(1, abs=1e-8)
    assert rows["radius 0.01"]["distance_exact"] > 10 * rows["radius 1e-06"]["distance_exact"]
    assert rows["first order"]["distance_exact"] > 1e-3
    assert rows["exact"]["distance_exact"] == 0 == rows["radius 0.01"]["distance_paper"]
    assert (result["float"], result["image_shape"]) == ("float64", [8, 8, 1])
    lines = benchmark.text(result).splitlines()
    assert lines[-1].startswith("exact") and "against radius 0.01" in "\n".join(lines)


IMAGES = "--init_channels=2 --num_cells=3 --num_nodes=1 --image_size=8 --order=first"
TEXT = "--num_units=4 --bptt=4 --vocabulary_size=20 --order=second"


@pytest.mark.parametrize("suite, sizes", [("search", IMAGES), ("search_recurrent", TEXT)])
def test_binary_prints_one_json_object_last_and_progress_aside(suite, sizes):
    flags = f"{suite} {sizes} --batch_size=2 --steps=1"
    done = subprocess.run(
        [sys.executable, "-m", "darts_tf.bin.benchmark", *flags.split(), "--threads=1", "--format=json"],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    images, texts = {"init_channels", "num_cells", "image_size"}, {"num_units", "bptt", "vocabulary_size"}
    own = images if suite == "search" else texts
    assert result.keys() >= FIELDS - images | own and result["threads"] == 1
    second = suite == "search_recurrent"
    assert (result["order"], result["hvp"]) == (("second", "finite_difference") if second else ("first", None))
    lines = done.stderr.splitlines()
    assert "loading TensorFlow" in lines[0] and "first run" in done.stderr
    assert all(line.startswith("darts-benchmark: ") for line in lines), "TensorFlow's own noise reached the terminal"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "suite"),
        (["search", "--num_cells=2"], "num_cells=2: must be at least 3"),
        (["search", "--steps=0"], "steps"),
        (["search", "--order=third"], "order"),
        (["search", "more"], "unexpected argument 'more'"),
        (["search", "--no_such=1"], "no_such"),
        (["gradients", "--radii=0.1,0"], "above 0"),
        (["gradients", "--radii=0.1,x"], "above 0"),
        (["gradients", "--dataset=mnist"], "dataset"),
        (["search", "--num_units=8"], "does not use --num_units, which is for search_recurrent, gpu"),
        (["--genotype=ENAS"], "the suite search does not use --genotype, which is for train, inference, gpu"),
        (["search_recurrent", "--image_size=8", "--seed=1"], "search_recurrent does not use --image_size, which"),
        (["train", "--order=first"], "does not use --order, which is for search, search_recurrent"),
        (
            ["train", "--num_nodes=4", "--radii=0.1"],
            "--radii, which is for gradients; nor --num_nodes, which is for",
        ),
        (["inference", "--learning_rate=0.1"], "does not use --learning_rate, which is for search, search_rec"),
        (["inference", "--recompute"], "does not use --recompute"),
        (
            ["gradients", "--steps=2"],
            "does not use --steps, which is for search, search_recurrent, train, inference, operations, gpu",
        ),
        (["gradients", "--hvp=exact"], "does not use --hvp"),
        (["gradients", "--precision=float16"], "does not use --precision"),
        (["gradients", "--dataset=random", "--data_dir=x"], "--dataset=random does not use --data_dir"),
        (["search", "--dataset=digits"], "does not use --dataset, which is for gradients"),
        (["gpu", "--nojit_compile"], "does not use --jit_compile, which is for search, search_recurrent, train, inf"),
        (["operations", "--genotype=DARTS_V1"], "the suite operations does not use --genotype"),
        (["search", "--check=3"], "does not use --check, which is for operations"),
        (["operations", "--primitives=none"], "must be at least 2 different names"),
        (["operations", "--check=-1"], "check"),
        (["gpu", "--float64"], "does not use --float64, which is for gradients"),
    ],
)
def test_wrong_flags_exit_2_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        binary.main(arguments)
    out, err = capsys.readouterr()
    assert exit.value.code == 2 and out == "" and message in err and len(err.splitlines()) == 1


def test_every_flag_is_read_by_a_suite():
    """And all that a suite hands to its config is among what it reads."""
    read = set.union(*binary.READS.values()) | binary.ALWAYS
    flag_values = flags.FlagValues()
    binary.main.define_flags(flag_values)
    assert read == {name for name in flag_values}
    for suite, (config, defaults) in binary.SUITES.items():
        fields = {field.name for field in dataclasses.fields(config)}
        own = set(binary.OWN)
        assert binary.READS[suite] - own <= fields
        assert defaults.keys() <= binary.READS[suite] | {"learning_rate_min"}


def test_the_gpu_suite_passes_on_what_each_suite_reads(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(gpu_suite, "run", lambda arguments, say: seen.update(arguments) or {"rows": []})
    monkeypatch.setattr(gpu_suite, "table", lambda result: "")
    assert binary.main("gpu --steps=7 --num_units=4 --genotype=DARTS_V1 --accumulate=2 --threads=1".split()) == 0
    assert {suite: sorted(arguments) for suite, arguments in seen.items()} == {
        "search": ["--accumulate=2", "--steps=7", "--threads=1"],
        "search_recurrent": ["--accumulate=2", "--num_units=4", "--steps=7", "--threads=1"],
        "train": ["--accumulate=2", "--genotype=DARTS_V1", "--steps=7", "--threads=1"],
        "inference": ["--genotype=DARTS_V1", "--steps=7", "--threads=1"],
    }


@pytest.mark.parametrize("suite", binary.ABOUT)
def test_help_lists_what_a_suite_reads_with_its_values(suite, capsys):
    assert binary.main([suite, "--help"]) == 0
    page = capsys.readouterr().out
    shown = set(re.findall(r"^  --(?:\[no\])?(\w+)", page, re.MULTILINE))
    assert shown - {"help"} == binary.READS[suite] | binary.ALWAYS
    for name, value in binary.SUITES.get(suite, (None, {}))[1].items():
        if name in shown:
            assert f"({str(value).removesuffix('.0')})" in page[page.index(f"--{name}=") :].split("\n  --")[0], name
    assert all(text in " ".join(page.split()) for text in binary.ABOUT.values())
