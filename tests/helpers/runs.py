"""Runs in this process: what they print, how they are interrupted, what they leave; small data for them."""

import io
import json
import os
import pathlib
import signal

import numpy as np

from darts_tf.runs.checkpoint import Checkpoints

LINE = "stopped; the same command or call resumes from"


class Console(io.StringIO):
    """Collects what a search prints; sends a signal when a text appears."""

    def __init__(self, until=None, number=signal.SIGTERM):
        super().__init__()
        self.until, self.number = until, number

    def write(self, text):
        if self.until and self.until in text:
            self.until = None
            os.kill(os.getpid(), self.number)
        return super().write(text)


def newest(workdir):
    return Checkpoints(pathlib.Path(workdir) / "checkpoints", read_only=True).restore()


def metrics(workdir):
    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def same_run(one, other):
    """Asserts that two work directories hold the same run, to the last bit."""
    a, b = newest(one), newest(other)
    assert a.step == b.step and a.arrays.keys() == b.arrays.keys()
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name, strict=True)
    assert metrics(one) == metrics(other)
    for name in ("genotype.json", "split.json", "genotypes/epoch_001.json", "genotypes/epoch_002.json"):
        assert (pathlib.Path(one) / name).read_bytes() == (pathlib.Path(other) / name).read_bytes(), name


def archive(path, count=40, size=9, channels=1, classes=3):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    np.savez(path, x=x, y=np.arange(count) % classes)
    return path


def folder(path, classes=("cat", "dog"), count=10, size=12):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in classes:
        (path / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (size, size, 3)).astype(np.uint8)).save(path / name / f"{index}.png")
    return path
