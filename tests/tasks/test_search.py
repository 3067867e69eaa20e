"""Whole searches, by the library and by the binary: what they leave, that they resume, and to what."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darts_tf import genotypes as genotype
from darts_tf.config import presets
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.tasks.search import search
from tests.helpers.runs import LINE, Console, archive, folder, metrics, newest, same_run
from tests.helpers.searches import SMOKE, run

BINARY = [sys.executable, "-m", "darts_tf.bin.search", "--preset=smoke"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of the smoke preset: its directory, its genotype, what it printed."""
    workdir = tmp_path_factory.mktemp("search") / "deep" / "run"  # parents are made
    return workdir, *run(workdir)


def test_what_a_run_leaves(whole):
    workdir, found, printed = whole
    assert found == genotype.load(workdir / "genotype.json") == genotype.load(str(workdir))
    config = json.loads((workdir / "config.json").read_text())
    assert config == SMOKE.to_json()
    epochs = sorted(path.name for path in (workdir / "genotypes").iterdir())
    assert epochs == ["epoch_001.json", "epoch_002.json"]
    assert genotype.load(workdir / "genotypes" / "epoch_002.json") == found
    assert {"normal.svg", "reduction.svg", "normal.gv", "reduction.gv"} <= {
        p.name for p in (workdir / "plots").iterdir()
    }
    shown = EventAccumulator(str(workdir / "tensorboard")).Reload().Graph()
    assert {"cell0", "cell1", "cell2"} <= {part.split("_")[0] for node in shown.node for part in node.name.split("/")}
    split = json.loads((workdir / "split.json").read_text())
    assert sorted(split["train_indices"] + split["valid_indices"]) == list(range(64))
    steps = 32 // SMOKE.batch_size
    assert [(record["epoch"], record["step"]) for record in metrics(workdir)] == [(1, steps), (2, 2 * steps)]
    wanted = {"train_loss", "train_accuracy", "arch_loss", "valid_loss", "valid_accuracy", "gradient_norm", "genotype"}
    assert wanted | {"learning_rate"} <= metrics(workdir)[0].keys()
    assert genotype.from_json(metrics(workdir)[-1]["genotype"]) == found
    assert not [path for path in workdir.rglob("*") if path.name.endswith(".tmp")]
    for text in ("building the graph", "graph built in", "epoch 1/2", "supernet validation accuracy", "arch loss"):
        assert text in printed


def test_alphas_move(whole):
    first, last = (newest_alphas(whole[0], step) for step in (4, 8))
    for a, b in zip(first, last, strict=True):
        assert np.abs(b).max() > 3e-3 and not np.array_equal(a, b)


def newest_alphas(workdir, step):
    with np.load(pathlib.Path(workdir) / "checkpoints" / f"step_{step:08d}.npz") as arrays:
        return [arrays[f"alphas/{i:05d}"] for i in range(2)]


def test_two_epochs_are_one_and_one_more(whole, tmp_path, capfd):
    """After Ctrl-C; `test_train` and `test_language` have the other signal."""
    before = signal.getsignal(signal.SIGINT)
    found, printed = run(tmp_path, Console("epoch 1 done", signal.SIGINT))
    assert found is None and LINE in printed.splitlines()[-1] and "Traceback" not in printed
    assert "stopping" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) == before
    assert newest(tmp_path).step == 4 and len(metrics(tmp_path)) == 1 and not (tmp_path / "genotype.json").exists()
    found, printed = run(tmp_path)
    assert found == whole[1] and "resuming at step 4 of 8" in printed
    same_run(whole[0], tmp_path)


def test_a_finished_run_is_told_again_without_a_graph(whole, tmp_path):
    workdir, found, _ = whole
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (workdir / "genotype.json").unlink()
    (workdir / "metrics.jsonl").write_text("".join(lines[:1]) + lines[1][:20])  # killed while it wrote
    again, printed = run(workdir, threads=0, keep_checkpoints=3)
    assert again == found == genotype.load(workdir / "genotype.json")
    assert "building the graph" not in printed and "keep_checkpoints: 2 -> 3" in printed
    assert (workdir / "metrics.jsonl").read_text().splitlines(keepends=True) == lines
    run(workdir)


def test_another_configuration_or_a_second_process_is_refused(whole):
    workdir = whole[0]
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="(?s)seed: 2 -> 3.*order|order.*seed: 2 -> 3"):
        run(workdir, seed=3, order="first")
    with WorkDir(workdir) as held:
        held.open_for(SMOKE)
        with pytest.raises(UserError, match=f"Another process.*{os.getpid()}"):
            run(workdir)
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


def test_first_order_on_an_archive_of_odd_images_with_batch_statistics(tmp_path):
    path = archive(tmp_path / "own.npz")
    changes = {"order": "first", "bn_eval": "batch", "batch_size": 4, "epochs": 1, "max_train_examples": 30}
    found, printed = run(tmp_path / "run", dataset="npz", data_dir=str(path), tensorboard=False, **changes)
    assert found and "15 examples train the weights" in printed and "3 classes of 9x9x1 images" in printed
    assert not list((tmp_path / "run").glob("tensorboard/events*"))
    assert 0 <= metrics(tmp_path / "run")[0]["valid_accuracy"] <= 1


def test_exact_second_order_on_an_image_folder_with_few_primitives(tmp_path):
    path = folder(tmp_path / "images")
    primitives = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3")
    changes = {"hvp": "exact", "primitives": primitives, "batch_size": 4, "epochs": 1, "image_size": 8, "cutout": 3}
    changes["num_nodes"] = 1
    found, printed = run(tmp_path / "run", dataset="folder", data_dir=str(path), **changes)
    assert {name for name, _ in (*found.normal, *found.reduce)} <= set(primitives[1:])
    assert "2 classes of 8x8x3 images" in printed and "exact" in printed


def test_alphas_are_frozen_in_warm_up_epochs(tmp_path):
    changes = {"warmup_epochs": 1, "order": "first", "arch_bn_updates": True, "concat": 1, "split": "index"}
    found, _ = run(tmp_path, keep_checkpoints=9, checkpoint_minutes=1e-9, steps_per_loop=1, **changes)
    start = newest_alphas(tmp_path, 1)
    for step in (2, 3, 4):
        for a, b in zip(start, newest_alphas(tmp_path, step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(start[0], newest_alphas(tmp_path, 5)[0])
    assert "arch_loss" not in metrics(tmp_path)[0] and "arch_loss" in metrics(tmp_path)[1]
    assert list(found.normal_concat) == [3]


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path):
    changes = {"order": "first", "learning_rate": 1e30, "steps_per_loop": 2, "checkpoint_minutes": 1e-9}
    with pytest.raises(UserError, match="not finite.* (step|steps) .*lower learning rate") as caught:
        run(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    for step in Checkpoints(tmp_path / "checkpoints", read_only=True).steps():
        assert all(np.isfinite(a).all() for a in newest(tmp_path).arrays.values()), step
    assert not (tmp_path / "genotype.json").exists()


def test_a_full_disk_during_a_checkpoint_is_one_line(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Full(Console):
        def write(self, text):  # from the first step on no file may be larger than a tenth of a checkpoint
            if "epoch 1/2" in text:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
            return super().write(text)

    try:
        with pytest.raises(UserError, match="Cannot write the checkpoint .*needed.*start again") as caught:
            run(tmp_path, Full(), order="first", checkpoint_minutes=1e-9, steps_per_loop=1, tensorboard=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_binary(tmp_path):
    """One process as the user starts it: nothing on stderr, the genotype on the last lines of stdout."""
    done = subprocess.run(
        [*BINARY, f"--workdir={tmp_path / 'run'}", "--order=first", "--threads=1", "--epochs=1", "--notensorboard"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout[done.stdout.index("Genotype(") :]
    assert genotype.parse(text.splitlines()[0]) == genotype.load(tmp_path / "run" / "genotype.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


@pytest.mark.slow
def test_first_run_of_the_readme(tmp_path):
    """The embedded default, at a tenth of its length: learns the digits and finds cells that are not all alike."""
    with warnings.catch_warnings():
        found = search(presets.get("digits_search").config.replace(epochs=2), tmp_path, out=Console())
    assert metrics(tmp_path)[-1]["train_loss"] < metrics(tmp_path)[0]["train_loss"]
    assert len({name for name, _ in (*found.normal, *found.reduce)}) > 1
