"""Locks of files and folders between processes; of work directories, see `test_checkpoint`."""

import errno
import os
import subprocess
import sys
import textwrap

import filelock
import pytest

from darts_tf.config import SearchConfig
from darts_tf.runs.workdir import WorkDir
from darts_tf.system import locks
from darts_tf.system.errors import UserError

HOLDER = """
    import os, sys
    from darts_tf.system import locks
    path = sys.argv[1]
    held = locks.lock_folder(path) if os.path.isdir(path) else locks.lock(os.open(path, os.O_RDWR))
    print(held is not None, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts a process that locks a path; killed at the end."""
    processes = []

    def start(path):
        command = [sys.executable, "-c", textwrap.dedent(HOLDER), path]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "True\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_lock_is_refused_while_another_process_has_it_and_ends_with_a_kill(tmp_path, hold):
    (tmp_path / "file").write_text("")
    file, folder = hold(tmp_path / "file"), hold(tmp_path)
    mine = os.open(tmp_path / "file", os.O_RDWR)
    assert locks.lock(mine) is False and locks.lock_folder(tmp_path) is None
    for process in (file, folder):
        process.kill()
        process.communicate()
    assert locks.lock(mine, wait=True) is True
    os.close(mine)
    os.close(locks.lock_folder(tmp_path, wait=True))
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_stands_for_a_folder_where_none_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "name", "nt")
    first = locks.lock_folder(str(tmp_path))
    second = locks.lock_folder(str(tmp_path))
    monkeypatch.undo()
    assert first is not None and second is None and os.listdir(tmp_path) == [locks.FILE]
    os.close(first)


@pytest.mark.parametrize("code", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EBADF"])
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, code):
    def refuse(descriptor, blocking):
        raise OSError(getattr(errno, code), "no locks")

    monkeypatch.setattr(filelock, "lock_descriptor", refuse)
    with WorkDir(tmp_path) as first, WorkDir(tmp_path) as second:
        first.open_for(SearchConfig())
        second.open_for(SearchConfig())
        assert first.user() is None and locks.lock_folder(tmp_path) is None


def test_what_is_in_the_way_of_the_lock_is_one_line(tmp_path):
    (tmp_path / locks.FILE).mkdir()
    with pytest.raises(UserError, match="Cannot use the work directory .*: Is a directory") as caught:
        WorkDir(tmp_path).open_for(SearchConfig())
    assert "\n" not in str(caught.value) and WorkDir(tmp_path).user() is None
