"""Checkpoints and work directories under kills, damage, full disks and strangers."""

import contextlib
import errno
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.runs import workdir as workdir_module
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system.errors import UserError
from tests.helpers.paths import ROOT
from tests.helpers.states import assert_is_state, save, state


def refuse_warning(message):
    raise AssertionError(message)


@pytest.fixture
def open_directory():
    """A directory that an unprivileged user can reach, unlike pytest's own."""
    path = pathlib.Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def unprivileged():
    """Root may write everywhere; permissions are tested as somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_round_trip_and_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "checkpoints", keep=2, warn=refuse_warning)
    assert checkpoints.restore() is None
    for step in (1, 20, 123456789):
        save(checkpoints, step)
        assert_is_state(checkpoints.restore(), step)
    assert sorted(os.listdir(checkpoints.directory)) == ["step_00000020.npz", "step_123456789.npz"]
    save(checkpoints, 123456789)  # the same step again replaces it
    assert checkpoints.steps() == [20, 123456789]
    with np.load(checkpoints.path(20)) as plain:  # anybody can read it
        np.testing.assert_array_equal(plain["alphas"], state(20)["alphas"])


def test_what_a_kill_before_the_removal_of_old_ones_has_left_goes(tmp_path):
    all_kept = Checkpoints(tmp_path, keep=4)
    for step in (5, 6, 7, 8):
        save(all_kept, step)
    assert Checkpoints(tmp_path, keep=2, read_only=True).restore().step == 8 and all_kept.steps() == [5, 6, 7, 8]
    assert Checkpoints(tmp_path, keep=2).restore().step == 8 and all_kept.steps() == [7, 8]


def test_equal_states_are_equal_files(tmp_path):
    a, b = Checkpoints(tmp_path / "a"), Checkpoints(tmp_path / "b")
    assert save(a, 7).read_bytes() == save(b, 7).read_bytes()


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for arrays in ({"a": np.array([object()])}, {"": np.zeros(1)}, {"a\0b": np.zeros(1)}):
        with pytest.raises(ValueError, match="must"):
            checkpoints.save(1, arrays, {})
    with pytest.raises(ValueError):
        checkpoints.save(1, {}, {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_orphans_of_a_killed_process_are_removed_but_not_by_a_reader(tmp_path):
    orphan = tmp_path / ".step_00000001.npz.123.tmp"
    orphan.write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    assert Checkpoints(tmp_path, read_only=True).restore() is None and orphan.exists()
    assert Checkpoints(tmp_path).restore() is None
    assert os.listdir(tmp_path) == ["notes.txt"]
    assert Checkpoints(tmp_path / "none", read_only=True).restore() is None and not (tmp_path / "none").exists()


def test_orphans_anywhere_in_a_work_directory_are_removed_but_not_those_of_runs_below(tmp_path):
    orphans = ("genotypes/.epoch_001.json.1.tmp", ".best.1.tmp/best.keras", "tuner/trial_000/.trial.json.1.tmp")
    others = ("trials/000/.lock", "trials/000/checkpoints/.step_00000001.npz.1.tmp", ".hidden", "alphas/a.tmp")
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig())
    for name in (*orphans, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig())
    assert [name for name in (*orphans, *others) if (tmp_path / name).exists()] == list(others)


def test_a_damaged_newest_falls_back_and_says_so_and_is_replaced(tmp_path):
    messages = []
    checkpoints = Checkpoints(tmp_path, keep=2, warn=messages.append)
    save(checkpoints, 1)
    save(checkpoints, 2).write_bytes(b"")
    assert_is_state(checkpoints.restore(), 1)
    assert len(messages) == 1 and "\n" not in messages[0]
    assert "step_00000002.npz (0 bytes); resuming from step_00000001.npz" in messages[0]
    # A save before the damaged step must not push the good one out in favour of the damaged one.
    checkpoints.save(1, state(1), {"epoch": 1, "history": [0.5, None]})
    assert checkpoints.steps() == [1]


def test_all_damaged_is_an_error_and_not_a_new_start(tmp_path):
    checkpoints = Checkpoints(tmp_path, warn=refuse_warning)
    for step in (1, 2):
        path = save(checkpoints, step)
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"No checkpoint in .* can be read: step_00000002.npz .*step_00000001.npz") as e:
        checkpoints.restore()
    assert "\n" not in str(e.value)


def test_truncation_anywhere_is_noticed(tmp_path):
    checkpoints = Checkpoints(tmp_path, warn=lambda message: None)
    save(checkpoints, 1, size=20)
    path = save(checkpoints, 2, size=20)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        assert_is_state(checkpoints.restore(), 1, size=20)
    path.write_bytes(data + b"x")
    assert checkpoints.restore().step == 1


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_changed_bits_are_noticed(data):
    with tempfile.TemporaryDirectory() as directory:
        checkpoints = Checkpoints(directory, warn=lambda message: None)
        save(checkpoints, 1, size=20)
        path = save(checkpoints, 2, size=20)
        damaged = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            position = data.draw(st.integers(0, len(damaged) - 1))
            damaged[position] ^= 1 << data.draw(st.integers(0, 7))
        intact = bytes(damaged) == path.read_bytes()
        path.write_bytes(damaged)
        assert_is_state(checkpoints.restore(), 2 if intact else 1, size=20)


KILLED = """
    import sys
    sys.path.insert(0, sys.argv[2])
    from tests.helpers.states import save
    from darts_tf.runs.checkpoint import Checkpoints
    checkpoints = Checkpoints(sys.argv[1], warn=lambda message: sys.exit(message))
    found = checkpoints.restore()
    step = found.step if found else 0
    print("ready", flush=True)
    while True:
        step += 1
        save(checkpoints, step, size=100_000)
        print(step, flush=True)
"""


def test_kill_minus_nine_at_any_moment_loses_nothing_that_was_saved(tmp_path):
    moments = random.Random(0)
    reported = 0
    for number in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path, ROOT],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        first = process.stdout.readline() if number % 2 else ""  # on a busy machine 80 ms may be too short for a save
        time.sleep(moments.uniform(0.0, 0.08))
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        assert err == ""
        steps = [int(line) for line in (first + out).split()]
        reported = max([reported, *steps])
        found = Checkpoints(tmp_path, read_only=True, warn=refuse_warning).restore()
        if reported:
            assert found.step >= reported  # what the process said it saved is there
            assert_is_state(found, found.step, size=100_000)
    assert reported > 0
    Checkpoints(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failing_disk_is_one_line_and_leaves_the_earlier_one(tmp_path, monkeypatch, code):
    checkpoints = Checkpoints(tmp_path, warn=refuse_warning)

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(workdir_module.os, "fsync", fail)
        with pytest.raises(UserError, match="There is no earlier one"):
            save(checkpoints, 1)
    save(checkpoints, 1)
    with monkeypatch.context() as patched:
        patched.setattr(workdir_module.os, "fsync", fail)
        with pytest.raises(UserError) as caught:
            save(checkpoints, 2)
    message = str(caught.value)
    assert "\n" not in message and os.strerror(code) in message and "step_00000001.npz is unchanged" in message
    assert ("MB needed" in message) == (code != errno.EIO)
    assert os.listdir(tmp_path) == ["step_00000001.npz"]
    assert_is_state(checkpoints.restore(), 1)


def test_a_file_larger_than_allowed_is_one_line_and_leaves_the_earlier_one(tmp_path):
    code = """
        import resource, signal, sys
        sys.path.insert(0, sys.argv[2])
        from tests.helpers.states import save
        from darts_tf.system.errors import UserError
        from darts_tf.runs.checkpoint import Checkpoints
        checkpoints = Checkpoints(sys.argv[1])
        save(checkpoints, 1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            save(checkpoints, 2, size=100_000)
        except UserError as error:
            print(error)
        assert checkpoints.restore().step == 1
    """
    arguments = [sys.executable, "-c", textwrap.dedent(code), tmp_path, ROOT]
    out = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert out.count("\n") == 1 and "File too large (0.4 MB needed" in out and "step_00000001.npz is unchanged" in out
    assert os.listdir(tmp_path) == ["step_00000001.npz"]


def test_a_really_full_disk(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system takes root")
    try:
        checkpoints = Checkpoints(tmp_path, warn=refuse_warning)
        save(checkpoints, 1, size=150_000)
        with pytest.raises(UserError, match="No space left on device .*step_00000001.npz is unchanged"):
            save(checkpoints, 2, size=150_000)
        assert os.listdir(tmp_path) == ["step_00000001.npz"]
        assert_is_state(checkpoints.restore(), 1, size=150_000)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(UserError, match="Read-only file system"):
            save(checkpoints, 2, size=10)
        assert_is_state(Checkpoints(tmp_path).restore(), 1, size=150_000)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_permissions_are_one_line(open_directory):
    save(Checkpoints(open_directory), 1)
    open_directory.chmod(0o555)
    with unprivileged():
        with pytest.raises(UserError, match=r"Cannot write the checkpoint .*Permission denied"):
            save(Checkpoints(open_directory), 2)
        with pytest.raises(UserError, match=r"Cannot create the directory .*Permission denied"):
            Checkpoints(open_directory / "below")
    Checkpoints(open_directory).path(1).chmod(0)
    with unprivileged(), pytest.raises(UserError, match=r"Cannot read the checkpoint .*Permission denied"):
        Checkpoints(open_directory).restore()


# The work directory.


def test_a_new_directory_gets_config_and_layout(tmp_path):
    work, said = WorkDir(tmp_path / "deeply" / "nested"), []
    work.open_for(SearchConfig(epochs=3), said.append)
    assert not said and not work.resumed
    assert SearchConfig.from_json(json.loads(work.config.read_text())) == SearchConfig(epochs=3)
    for name in ("checkpoints", "genotypes", "plots", "tensorboard"):
        assert getattr(work, name) == work.path / name
    assert work.metrics == work.path / "metrics.jsonl"
    work.close()


def test_the_same_run_is_opened_again_and_harmless_changes_are_told(tmp_path):
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig())
        (work.path / "metrics.jsonl").write_text("{}\n")
    said = []
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig(threads=2), said.append)
        assert said == ["changed since the last start: threads: 0 -> 2"] and work.resumed
        assert work.read_config(SearchConfig).threads == 2


def test_another_run_is_refused_with_both_values_and_left_alone(tmp_path):
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig())
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(UserError) as caught:
        WorkDir(tmp_path).open_for(SearchConfig(epochs=3, order="first", threads=7))
    assert "epochs: 50 -> 3; order: second -> first." in str(caught.value) and "threads" not in str(caught.value)
    assert "\n" not in str(caught.value) and (tmp_path / "config.json").read_bytes() == before
    with WorkDir(tmp_path) as work:  # the refused one does not hold the lock
        work.open_for(SearchConfig())


@pytest.mark.parametrize("first, second", [(SearchConfig, TrainConfig), (TrainConfig, SearchConfig)])
def test_a_run_of_the_other_kind_is_refused_and_left_alone(tmp_path, first, second):
    with WorkDir(tmp_path) as work:
        work.open_for(first())
    before = (tmp_path / "config.json").read_bytes()
    message = f"holds a run of another kind. Expected {second.kind}. Received: {first.kind};"
    with pytest.raises(UserError, match=message) as caught:
        WorkDir(tmp_path).open_for(second())
    assert "\n" not in str(caught.value) and (tmp_path / "config.json").read_bytes() == before


def test_a_file_that_does_not_say_its_kind_is_a_search(tmp_path):
    settings = SearchConfig().to_json()
    del settings["kind"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="another kind. Expected train. Received: search;"):
        WorkDir(tmp_path).open_for(TrainConfig())
    said = []
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig(), said.append)
        assert not said and work.resumed


def test_foreign_content_is_refused_and_nothing_is_added(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds other files and no config.json.*Received: thesis.tex;"):
        WorkDir(tmp_path).open_for(SearchConfig())
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_what_a_start_leaves_that_was_killed_early_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_text("123\n")
    (tmp_path / ".config.json.123.tmp").write_text("{")
    (tmp_path / "checkpoints").mkdir()
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig())
    assert not (tmp_path / ".config.json.123.tmp").exists()
    (tmp_path / "config.json").unlink()
    (tmp_path / "checkpoints" / "step_00000001.npz").write_text("precious")
    with pytest.raises(UserError, match="holds other files and no config.json.*Received: checkpoints"):
        WorkDir(tmp_path).open_for(SearchConfig())


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"epochs": "5"}', b'{"epohcs": 5}', b"nul"])
def test_a_damaged_config_is_one_line(tmp_path, damage):
    (tmp_path / "config.json").write_bytes(damage)
    with pytest.raises(UserError, match="config.json is damaged or from another version: ") as caught:
        WorkDir(tmp_path).open_for(SearchConfig())
    assert "\n" not in str(caught.value)
    assert (tmp_path / "config.json").read_bytes() == damage


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    code = """
        import sys, time
        from darts_tf.config import SearchConfig
        from darts_tf.runs.workdir import WorkDir
        work = WorkDir(sys.argv[1])
        work.open_for(SearchConfig())
        print("open", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=rf"Another process \(pid {process.pid}\) is using the work directory"):
            WorkDir(tmp_path).open_for(SearchConfig())
    finally:
        process.kill()
        process.communicate()
    with WorkDir(tmp_path) as work:
        work.open_for(SearchConfig())


def test_places_that_are_no_directory_or_cannot_be_written_are_one_line(tmp_path, open_directory):
    (tmp_path / "file").write_text("")
    open_directory.chmod(0o555)
    for path, cause in (
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "below", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(UserError, match=f"Cannot use the work directory .*{cause}"):
            WorkDir(path).open_for(SearchConfig())
    with unprivileged():
        for path in (open_directory, open_directory / "new"):
            with pytest.raises(UserError, match=r"Cannot use the work directory .*Permission denied"):
                WorkDir(path).open_for(SearchConfig())
    with pytest.raises(UserError, match="must be the path of a directory"):
        WorkDir("")


def test_write_json_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(workdir_module.os, "fsync", fail)
    with pytest.raises(OSError, match="No space") as caught:
        write_json(path, {"a": 2})
    assert caught.value.filename == str(path)
    assert json.loads(path.read_text()) == {"a": 1} and os.listdir(tmp_path) == ["a.json"]
    monkeypatch.undo()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_json(tmp_path / "folder", {"a": 2})
    assert str(caught.value) == f"[Errno {errno.EISDIR}] Is a directory: '{tmp_path / 'folder'}'"  # not the temporary
    assert sorted(os.listdir(tmp_path)) == ["a.json", "folder"]
