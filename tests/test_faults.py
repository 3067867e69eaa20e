"""Real binaries that are hurt; the part for every day. The whole and its rules: docs/development/faults.md."""

import pathlib
import random
import shutil
import signal
import sys
import time
from unittest import mock

import pytest

from tests.faults import disks, kinds, processes
from tests.faults.processes import Place
from tests.faults.results import differences, found
from tests.faults.siege import Siege
from tests.helpers import programs

pytestmark = [pytest.mark.slow, pytest.mark.faults]
RUN = kinds.TRAINING


@pytest.fixture(scope="module", autouse=True)
def copies():
    """Processes that do not import TensorFlow themselves."""
    with mock.patch.object(processes, "popen", programs.Popen):
        yield


@pytest.fixture(scope="module")
def siege(tmp_path_factory):
    """An uninterrupted training, and what hurts others like it."""
    return Siege(RUN, tmp_path_factory.mktemp("siege"), seed=0, say=print)


@pytest.fixture(scope="module")
def siege_of_a_search(tmp_path_factory):
    return Siege(kinds.SEARCH, tmp_path_factory.mktemp("siege"), seed=0, say=print)


@pytest.fixture
def place(siege, tmp_path):
    """A place that holds a copy of the finished training."""
    place = Place(tmp_path / "place")
    shutil.copytree(siege.folder / "whole" / "run", place.run)
    return place


def equal(place, siege):
    """Whether a place holds what the uninterrupted run holds."""
    assert differences(siege.expected, found(place.run)) == [] and place.temporaries() == []
    return True


def assert_refused(life, *words):
    """It said in one line what is wrong."""
    assert life.status == 1 and "Traceback" not in life.out + life.err, life
    lines = life.err.splitlines()
    assert len(lines) == 1 and ": error: " in lines[0], lines
    for word in words:
        assert word in lines[0], (word, lines[0])


def flip(path, seed=0, start=0):
    """Flips one bit of a file, anywhere after its start."""
    data, draw = bytearray(path.read_bytes()), random.Random(seed)
    data[draw.randrange(start, len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def truncate(path):
    """Leaves two thirds of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def test_kills_and_stops(siege):
    counts = siege.run(kills=4, terms=1)
    assert counts.kills + counts.terms == 5 and counts.finished >= 1


def test_a_search_that_is_killed_and_stopped(siege_of_a_search):
    assert siege_of_a_search.run(kills=2, terms=1).finished


def test_a_kill_in_an_epoch_s_end(siege_of_a_search, tmp_path):
    """Right after the checkpoint, before its record is in `metrics.jsonl`."""
    code = (
        "import os, sys\n"
        "from darts_tf.engine import reporting\n"
        "reporting.Reporter.epoch = lambda self, record: os._exit(9)\n"
        "from darts_tf.bin import search\n"
        "sys.exit(search.main(sys.argv[1:]))\n"
    )
    place, command = Place(tmp_path / "place"), kinds.SEARCH.command()
    assert place.live([sys.executable, "-c", code, *command[3:]]).status == 9
    assert place.newest_step() and not (place.run / "metrics.jsonl").exists()
    assert place.live(command).status == 0
    assert equal(place, siege_of_a_search)


def test_killed_exports(siege, tmp_path):
    kind = kinds.export(siege.folder / "whole" / "run")
    assert Siege(kind, tmp_path, seed=0, say=print).run(kills=2, terms=0).finished


def test_what_can_be_mended_is(place, siege):
    truncate(place.run / "checkpoints" / "step_00000018.npz")
    flip(place.run / "metrics.jsonl")
    for name in ("summary.json", "genotype.json", "data.json", "split.json", "last.keras", "plots/normal.png"):
        truncate(place.run / name)
    (events,) = (place.run / "tensorboard").iterdir()
    flip(events, start=100)
    life = place.live(RUN.command())
    assert life.status == 0 and "Traceback" not in life.err, life
    assert "damaged checkpoint" in life.out and "step_00000018.npz" in life.out
    assert equal(place, siege)


@pytest.mark.parametrize("name", ["config.json", "checkpoints/step_00000018.npz"])
def test_what_cannot_is_told(place, name):
    (place.run / "checkpoints" / "step_00000017.npz").unlink()
    truncate(place.run / name)
    before = found(place.run / "plots")
    assert_refused(place.live(RUN.command()), place.run.name, pathlib.Path(name).name)
    assert found(place.run / "plots") == before


def test_a_damaged_network_is_not_exported(place):
    flip(place.run / "best.keras", start=20_000)
    flip(place.run / "last.keras", start=20_000)
    life = place.live([sys.executable, "-m", "darts_tf.bin.export", "--workdir=run", "--export_dir=exports"])
    life = life._replace(err="".join(line + "\n" for line in life.err.splitlines() if ": error: " in line))
    assert_refused(life, ".keras")
    assert not (place.folder / "exports").exists()


def test_the_second_process_is_refused(siege, tmp_path):
    first, second = Place(tmp_path / "first"), Place(tmp_path / "second")
    process = first.start(RUN.command())
    try:
        while not first.newest_step() and process.poll() is None:
            time.sleep(0.01)
        second.run.symlink_to(first.run)
        process.send_signal(signal.SIGSTOP)  # however slow the second is, the first is still there
        assert_refused(second.live(RUN.command()), f"Another process (pid {process.pid}) is using the work directory")
        process.send_signal(signal.SIGCONT)
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()
    assert equal(first, siege)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_full_disk(siege, share):
    try:
        siege.fill(share)
    except disks.NotPermitted:
        pytest.skip("mounting a small disk takes the superuser")


def test_a_limit_for_files(siege, tmp_path):
    place = Place(tmp_path)
    assert_refused(place.live(disks.limited(RUN.command(), 1000)), "File too large", "step_00000001.npz")
    assert place.live(RUN.command()).status == 0 and equal(place, siege)


def test_a_directory_that_cannot_be_written(place, siege):
    whole = place.folder / "copy"
    place.run.rename(whole)
    try:
        with disks.small_disk(place.run, 50_000) as again:
            shutil.copytree(whole, place.run, dirs_exist_ok=True)
            again("ro")
            assert_refused(place.live(RUN.command()), "Cannot use the work directory", "Read-only file system")
            assert equal(place, siege)
    except disks.NotPermitted:
        whole.rename(place.run)
        place.run.chmod(0o555)
        assert_refused(place.live(RUN.command()), "Cannot use the work directory", "Permission denied")
        place.run.chmod(0o755)
        assert equal(place, siege)


def test_a_clock_that_jumps(siege, tmp_path):
    place = Place(tmp_path / "place")
    environment = disks.jumping_clock(tmp_path / "clock")
    life = place.live(RUN.command(), **environment)
    assert (life.status, life.err) == (0, ""), life
    assert equal(place, siege)
