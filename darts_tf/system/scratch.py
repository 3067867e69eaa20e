"""A folder that exists as long as a process uses it; those that killed processes have left are removed by the next."""

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
    """Makes an empty folder and removes it afterwards, and first those that killed processes of this user have left.

    The folder is locked, so that a process that starts at the same moment does not take it for a leftover.

    Args:
        parent: Where to make it; the system's temporary folder unless given.
        prefix: What its name begins with.
        family: What the names of leftovers begin with.

    Raises:
        OSError: It cannot be made.
    """
    parent = pathlib.Path(tempfile.gettempdir() if parent is None else parent)
    folder, lock = _locked(parent, prefix)
    try:
        for left in parent.glob(f"{family}*"):
            with contextlib.suppress(OSError):  # it is gone, or of another user
                if left.stat().st_uid == folder.stat().st_uid and (free := lock_folder(left)) is not None:
                    _remove(left, free)
        yield folder
    finally:
        _remove(folder, lock)


def _locked(parent, prefix):
    while True:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(FileNotFoundError):  # another process was faster, and took it for a leftover
            lock = lock_folder(
                folder, wait=True
            )  # None on a file system without locks: nothing is removed there either
            if folder.exists():
                return folder, lock
            if lock is not None:
                os.close(lock)


def _remove(folder, lock):
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that is open
