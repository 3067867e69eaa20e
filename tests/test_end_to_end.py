"""The whole way, as a user goes it: search, train, evaluate, export, predict, one binary after the other."""

import gzip
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

from darts_tf.system.runtime import module_command
from tests.helpers import programs
from tests.helpers.paths import DATA


def binary(name, *flags, folder):
    command = [sys.executable, "-m", f"darts_tf.bin.{name}", *flags]
    done = programs.run(command, capture_output=True, text=True, timeout=400, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_processes_of_our_own_start_in_a_checkout(tmp_path):
    """There `darts_tf/` lacks what is installed as `darts_tf.bin` and `darts_tf.export`; it must not be found first."""
    (tmp_path / "darts_tf").mkdir()
    (tmp_path / "darts_tf" / "__init__.py").write_text("raise ImportError('the one of the folder')\n")
    for module in ("darts_tf.bin.search", "darts_tf.bin.train", "darts_tf.bin.benchmark"):
        command = [*module_command(module), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.startswith("usage: darts-"), done.stderr
    command = [*module_command("darts_tf.export.verify"), str(tmp_path), "none.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert "none.npz" in done.stdout + done.stderr and "the one of the folder" not in done.stderr


@pytest.mark.slow
def test_from_a_search_to_an_answer(tmp_path):
    binary("search", "--preset=smoke", "--order=first", "--workdir=searched", folder=tmp_path)
    training = ["--genotype=searched", "--workdir=trained", "--epochs=8", "--learning_rate=0.1", "--threads=1"]
    printed = binary("train", *training, folder=tmp_path)
    assert "test accuracy" in printed
    summary = json.loads((tmp_path / "trained" / "summary.json").read_text())
    assert summary["test_accuracy"] > 0.5  # a fifth of the digits' usual training; chance is 0.1
    searched = json.loads((tmp_path / "searched" / "genotype.json").read_text())
    assert summary["genotype"] == searched

    printed = binary("evaluate", "--workdir=trained", "--format=json", folder=tmp_path)
    evaluated = json.loads(printed.splitlines()[-1])
    assert evaluated["accuracy"] == pytest.approx(summary["test_accuracy"])

    binary("export", "--workdir=trained", "--export_dir=exports", "--name=digits", folder=tmp_path)
    assert (tmp_path / "exports" / "digits" / "1" / "saved_model.pb").exists()
    printed = binary("evaluate", "--model=exports/digits", "--dataset=digits", "--format=json", folder=tmp_path)
    assert json.loads(printed.splitlines()[-1])["accuracy"] == pytest.approx(evaluated["accuracy"], abs=0.005)

    digits, paths = datasets.load_digits(), []
    for number in range(0, 1797, 90):
        paths.append(f"{number}.png")
        Image.fromarray(np.rint(digits.images[number] * 255 / 16).astype(np.uint8)).save(tmp_path / paths[-1])
    printed = binary("predict", "--export_dir=exports/digits", *paths, folder=tmp_path)
    answers = [line.split("\t")[:2] for line in printed.splitlines()]
    assert [path for path, _ in answers] == paths
    right = sum(label == str(digits.target[int(path.removesuffix(".png"))]) for path, label in answers)
    assert right > len(paths) / 2


@pytest.mark.slow
def test_from_a_text_to_its_continuation(tmp_path):
    small = ["--num_units=16", "--max_train_words=12000", "--valid_words=3000", "--threads=1"]
    searching = ["--preset=text_search", "--num_nodes=3", "--epochs=1", "--workdir=searched"]
    binary("search", *searching, *small, folder=tmp_path)
    training = ["--preset=text_train", "--genotype=searched", "--epochs=3", "--workdir=trained"]
    assert "test perplexity" in binary("train", *training, *small, folder=tmp_path)
    summary = json.loads((tmp_path / "trained" / "summary.json").read_text())
    assert summary["test_perplexity"] < summary["vocabulary"] / 4  # chance is the vocabulary, 2,000 words
    assert summary["genotype"] == json.loads((tmp_path / "searched" / "genotype.json").read_text())

    binary("export", "--workdir=trained", "--export_dir=exports", "--name=manual", folder=tmp_path)
    for source in ("--workdir=trained", "--model=exports/manual"):
        printed = binary("evaluate", source, "--format=json", folder=tmp_path)
        evaluated = json.loads(printed.splitlines()[-1])
        assert evaluated["perplexity"] == pytest.approx(summary["test_perplexity"], rel=1e-4)

    asked = ["--export_dir=exports", "--name=manual", "--text=the class of", "--words=8", "--seed=1"]
    printed = binary("predict", *asked, "--top_k=10", folder=tmp_path)
    assert printed.startswith("the class of ") and printed == binary("predict", *asked, "--top_k=10", folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset, corpus, words", [("ptb_search", "penn", 10_000), ("wikitext2_train", "wikitext-2", 33_278)]
)
def test_presets_read_the_published_corpora(tmp_path, preset, corpus, words):
    """Through the command that the lab book names, with every setting but the sizes, and the start of the test text."""
    if not (DATA / corpus).is_dir():
        pytest.skip(f"{corpus} is not at {DATA}; DARTS_TF_DATA names the folder")
    sizes = ["--num_units=4", "--batch_size=8", "--epochs=1", "--max_train_words=2000", "--valid_words=2000"]
    search = ["--num_nodes=2", "--noeigenvalue"]
    command = ["search", *search] if "search" in preset else ["train", "--test_batch_size=50"]
    folder = shutil.copytree(DATA / corpus, tmp_path / "corpus", copy_function=shutil.copyfile)
    for path in folder.glob("*.test.*"):
        path.write_bytes(gzip.compress(b"".join(gzip.open(path).readlines()[:200])))
    printed = binary(*command, f"--preset={preset}", f"--data_dir={folder}", *sizes, "--workdir=run", folder=tmp_path)
    assert f"vocabulary of {words:,}" in printed
    (record,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert math.log(record["train_perplexity"]) == pytest.approx(record["train_loss"])
    assert 100 < record["valid_perplexity"] < 2 * words
