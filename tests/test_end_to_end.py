"""The whole way, as a user goes it: search, train, evaluate, export, predict, one binary after the other."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets


def binary(name, *flags, folder):
    command = [sys.executable, "-m", f"darts_tf.bin.{name}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


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
