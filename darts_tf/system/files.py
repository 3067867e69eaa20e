"""Paths as users write them; files that are complete or absent, even after a kill; and JSON from any source."""

import contextlib
import errno
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any

from darts_tf.system.errors import UserError, short
from darts_tf.system.types import Path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash, as pathlib leaves it
# What file systems raise that cannot sync a descriptor: CIFS, FUSE and others; for a folder, also EISDIR.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_FOLDER_SYNC = _NO_SYNC | {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOSYS}
MAX_DEPTH = 100  # of JSON: Python's own limit depends on the caller, and printing a value needs more than reading it


def user_path(path: Path, what: str) -> pathlib.Path:
    """Returns a path that a user has written, with `~` and `~name` expanded.

    Use it wherever a path comes from outside, as often as you like: its result passes unchanged.

    Args:
        path: Of a local file or folder, which need not exist.
        what: The argument, which starts the message.

    Raises:
        UserError: It is empty, not a path, a URL, or in the home folder of a user that does not exist; one line.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise UserError(
            f"{what} must be the path of a directory or a file, a string or os.PathLike. Received: {short(repr(path))}."
        ) from None
    if not text or "\0" in text:
        raise UserError(f"{what} must be the path of a directory or a file. Received: {short(repr(text))}.")
    check_local(text, what)
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):  # no such user; a shell leaves it so, too
        raise UserError(
            f"{what} begins with the home folder of an unknown user. Expected ~/ for your own, or ./~ for a name that "
            f"begins with ~. Received: {short(repr(text))}."
        )
    found = pathlib.Path(expanded)
    # "./~x" loses its "./": without an absolute path it would be taken for a home folder the next time.
    return found.absolute() if _URL.match(str(found)) or str(found).startswith("~") else found


def check_local(path: Path, what: str) -> None:
    """Raises UserError for a URL, by its scheme: with `pathlib` it would become a local folder."""
    text = os.fsdecode(path)
    if _URL.match(text):
        scheme = text.split(":")[0]
        raise UserError(
            f"{what} must be a local path: {scheme}:// is not supported. Received: {short(repr(text))}. Copy the data "
            "to this machine, or mount them and pass the mounted folder."
        )


def sync_file(descriptor: int) -> None:
    """Makes a file's content reach the disk, where the file system supports it."""
    _sync(descriptor, _NO_SYNC)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory reach the disk; without it a renamed file can vanish when the power fails.

    Where the file system does not support this for directories, its own order of writing has to suffice.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        if error.errno in _NO_FOLDER_SYNC:
            return
        raise
    try:
        _sync(descriptor, _NO_FOLDER_SYNC)
    finally:
        os.close(descriptor)


def _sync(descriptor, forgiven):
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in forgiven:
            raise


def write_atomically(path: Path, data: bytes | str) -> pathlib.Path:
    """Writes a file under a temporary name next to its place and moves it there; creates missing folders.

    Args:
        path: Of the file.
        data: `bytes`, or `str` to be stored as UTF-8.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        OSError: The folder is not writable; an older file of that name is unchanged.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            sync_file(file.fileno())  # else a power cut can leave the new name on an empty file
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # no error of the system's
            raise
        # By the name that was given: users do not know the temporary one, and a full disk does not name any.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def parse_json(text: bytes | str) -> Any:
    """Reads JSON from any source.

    Args:
        text: `bytes` or `str`.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    try:
        found = json.loads(text)
        level = [found]
        for _ in range(MAX_DEPTH):
            level = [each for part in level for each in _inner(part)]
            if not level:
                return found
    except RecursionError:
        pass
    raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _inner(part):
    values = part.values() if isinstance(part, dict) else part
    return (each for each in values if isinstance(each, dict | list)) if isinstance(part, dict | list) else ()


@contextlib.contextmanager
def temporaries_in(folder: Path) -> Iterator[None]:
    """Inside it, temporary files go to a folder that is swept after a kill.

    Keras and TensorFlow take the system's, which is not swept.
    """
    before, tempfile.tempdir = tempfile.tempdir, os.fspath(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
