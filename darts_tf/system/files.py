"""Paths as written by users; files that are complete or absent, even after a kill; and JSON from any source."""

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

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # with one slash, as left by pathlib
# Raised by file systems that cannot sync a descriptor: CIFS, FUSE and others; for a folder, also EISDIR.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_FOLDER_SYNC = _NO_SYNC | {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOSYS}
MAX_DEPTH = 100  # for JSON: Python's own limit depends on the caller, and printing a value needs more than reading it


def user_path(path: Path, what: str) -> pathlib.Path:
    """Returns a user's path with `~` and `~name` expanded.

    Use it for every path from outside; applied again, it leaves its result unchanged.

    Args:
        path: Path of a local file or folder, which need not exist.
        what: Name of the argument, which starts the message.

    Raises:
        UserError: It is empty, not a path, a URL, or in the home folder of a nonexistent user; one line.
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
    if expanded.startswith("~"):  # no such user; a shell leaves it unchanged, too
        raise UserError(
            f"{what} begins with the home folder of an unknown user. Expected ~/ for your own, or ./~ for a name that "
            f"begins with ~. Received: {short(repr(text))}."
        )
    found = pathlib.Path(expanded)
    # "./~x" loses its "./": unless absolute, the path would be taken for a home folder the next time.
    return found.absolute() if _URL.match(str(found)) or str(found).startswith("~") else found


def check_local(path: Path, what: str) -> None:
    """Raises UserError for a URL, recognised by its scheme: `pathlib` would turn it into a local folder."""
    text = os.fsdecode(path)
    if _URL.match(text):
        scheme = text.split(":")[0]
        raise UserError(
            f"{what} must be a local path: {scheme}:// is not supported. Received: {short(repr(text))}. Copy the data "
            "to this machine, or mount them and pass the mounted folder."
        )


def sync_file(descriptor: int) -> None:
    """Flushes a file's content to disk, if the file system supports it."""
    _sync(descriptor, _NO_SYNC)


def sync_directory(directory: Path) -> None:
    """Flushes the names in a directory to disk; otherwise a renamed file can vanish in a power failure.

    If the file system does not support this for directories, its own write order has to suffice.
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
        path: Path of the file.
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
            sync_file(file.fileno())  # otherwise a power cut can leave the new name on an empty file
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # not a system error
            raise
        # With the given name: users do not know the temporary one, and a full-disk error names none.
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
    """A context in which temporary files go to a folder that is cleaned up after a kill.

    Keras and TensorFlow use the system's, which is not cleaned up.
    """
    before, tempfile.tempdir = tempfile.tempdir, os.fspath(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
