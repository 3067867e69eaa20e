"""A folder for the lifetime of a process, in the system's temporary folder; those of killed ones are removed."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

PREFIX = "darts_tf_worker_"


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
    """Creates an empty folder, and removes it; those that killed processes of this user have left are removed first.

    The folder itself is locked, so that a process that starts at the same moment does not take it for a leftover.
    """
    for left in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_if_free(left)
    folder, lock = _locked()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked():
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):  # another process was faster, and took it for a leftover
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _remove_if_free(folder):
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, or not a folder of this user
        return
    try:
        if os.fstat(lock).st_uid == os.getuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, or a file system without locks
        pass
    finally:
        os.close(lock)
