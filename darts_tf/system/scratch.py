"""A folder that exists while a process uses it; those left by killed processes are removed by the next process."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from darts_tf.system.locks import lock_folder

PREFIX = "darts_tf_worker_"


@contextlib.contextmanager
def scratch(
    parent: str | os.PathLike | None = None, prefix: str = PREFIX, family: str = PREFIX
) -> Iterator[pathlib.Path]:
    """Creates an empty folder and removes it afterwards; first removes those left by this user's killed processes.

    The folder is locked, so that a process that starts at the same moment does not take it for a leftover.

    Args:
        parent: Parent folder; by default the system's temporary folder.
        prefix: Prefix of its name.
        family: Prefix of the names of leftovers.

    Raises:
        OSError: It cannot be created.
    """
    parent = pathlib.Path(tempfile.gettempdir() if parent is None else parent)
    folder, lock = _locked(parent, prefix)
    try:
        for left in parent.glob(f"{family}*"):
            with contextlib.suppress(OSError):  # gone, or owned by another user
                if left.stat().st_uid == folder.stat().st_uid and (free := lock_folder(left)) is not None:
                    _remove(left, free)
        yield folder
    finally:
        _remove(folder, lock)


def _locked(parent, prefix):
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # another process was faster and took it for a leftover
            # None on a file system without locks, where nothing is removed either.
            lock = lock_folder(folder, wait=True)
            if folder.exists():
                return folder, lock
            if lock is not None:
                os.close(lock)


def _remove(folder, lock):
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)  # Windows does not remove open files
