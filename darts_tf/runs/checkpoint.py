"""Checkpoints: one file each, complete or absent, with detection of every damaged byte.

A checkpoint is a `.npz` that `numpy.load` reads (no pickle), with the metadata as `metadata.json` inside. The archive's
comment is the SHA-256 of all bytes before it, since the CRCs of a zip do not cover its headers.
"""

import errno
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from darts_tf.runs.workdir import remove_temporaries, sync_directory
from darts_tf.system import npz, streams
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json, write_atomically

_METADATA = "metadata.json"
# Raised when reading an archive's members whose bytes are not what was written (RuntimeError: it is encrypted).
_UNREADABLE = (ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_FORMAT = 1
_DIGEST_SIZE = 64  # hexadecimal digits
_NAME = re.compile(r"step_(\d{8,})\.npz")


class Checkpoint(NamedTuple):
    """The result of `restore`.

    Attributes:
        step: The step after which it was saved.
        arrays: Arrays by name, as passed to `save`.
        metadata: Metadata, as passed to `save`.
    """

    step: int
    arrays: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any]


class Checkpoints:
    """The checkpoints in one directory, which belongs to one process (see the lock of `WorkDir`).

    Args:
        directory: Created if missing. Incomplete files of killed processes are removed from it.
        keep: How many of the newest are kept, at least 1.
        warn: Called with a line about damaged checkpoints; prints to stderr if not given.
        read_only: For a process that only reads: creates and removes nothing.

    Raises:
        UserError: The directory cannot be created.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        keep: int = 2,
        warn: Callable[[str], None] | None = None,
        read_only: bool = False,
    ):
        if keep < 1:
            raise UserError(f"keep must be at least 1. Received: keep={keep}")
        self.directory = pathlib.Path(directory)
        self.keep, self._read_only = keep, read_only
        self._warn = warn or streams.err
        if not read_only:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"Cannot create the directory of checkpoints {self.directory}: {error.strerror or error}"
                ) from error
            remove_temporaries(self.directory)

    def steps(self) -> list[int]:
        """Steps of the checkpoints in the directory, including damaged ones, ascending."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def path(self, step: int) -> pathlib.Path:
        """The path of the checkpoint of that step."""
        return self.directory / f"step_{step:08d}.npz"

    def save(self, step: int, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> pathlib.Path:
        """Writes a checkpoint, flushed to disk on return. Then removes those beyond the newest `keep`.

        Checkpoints of later steps are removed as well: `restore` could not read them, or the run would be further
        ahead.

        Args:
            step: Steps done, at least 0.
            arrays: Arrays by name: numbers, bools or strings of any shape.
            metadata: Anything that JSON can hold; tuples come back as lists.

        Returns:
            The path of the file.

        Raises:
            UserError: The disk is full or cannot be written; earlier checkpoints are unchanged.
            ValueError: A name or an array cannot be stored.
        """
        path = self.path(step)
        data = to_bytes(Checkpoint(step, arrays, metadata))
        earlier = [other for other in self.steps() if other != step]
        try:
            write_atomically(path, data)
            sync_directory(self.directory)  # the new name is on disk before an old one is removed
        except OSError as error:
            raise UserError(self._cannot_write(path, len(data), error, earlier)) from error
        self._remove([other for other in earlier if other > step] + self._superseded(step))
        return path

    def _superseded(self, step: int) -> list[int]:
        past = [other for other in self.steps() if other < step]
        return past[: max(0, len(past) - (self.keep - 1))]

    def _remove(self, steps: list[int]) -> None:
        for other in steps:
            try:
                self.path(other).unlink(missing_ok=True)
            except OSError as error:
                self._warn(f"warning: cannot remove the old checkpoint {self.path(other)}: {error.strerror or error}")

    def _cannot_write(self, path: pathlib.Path, size: int, error: OSError, earlier: list[int]) -> str:
        cause = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            try:
                free = f"{shutil.disk_usage(self.directory).free / 1e6:.1f} MB"
            except OSError:
                free = "an unknown amount"
            cause += f" ({size / 1e6:.1f} MB needed, {free} free on the disk of {self.directory})"
        kept = f"{self.path(earlier[-1]).name} is unchanged" if earlier else "There is no earlier one"
        return f"Cannot write the checkpoint {path}: {cause}. {kept}; fix this and start again to resume from there"

    def restore(self) -> Checkpoint | None:
        """The newest checkpoint that can be read, or None if there are no checkpoints.

        A damaged checkpoint is skipped in favour of the previous one, and `warn` is called.

        Raises:
            UserError: There are checkpoints but all are damaged, or one is not readable or of a newer version: starting
                from scratch must be the user's decision.
        """
        damaged = []
        steps = self.steps()
        for step in reversed(steps):
            path = self.path(step)
            try:
                checkpoint = from_bytes(path.read_bytes(), path)
            except _Damaged as error:
                damaged.append(f"{path.name} ({error})")
            except OSError as error:
                if error.errno != errno.EIO:
                    raise UserError(f"Cannot read the checkpoint {path}: {error.strerror or error}") from error
                damaged.append(f"{path.name} ({error.strerror})")
            else:
                if damaged:
                    self._warn(
                        f"warning: damaged checkpoint in {self.directory}: {', '.join(damaged)}; resuming from "
                        f"{path.name} instead"
                    )
                if not self._read_only:
                    self._remove(self._superseded(step))  # left over from a kill after the last save
                return checkpoint
        if damaged:
            raise UserError(
                f"No checkpoint in {self.directory} can be read: {some_of(damaged)}. "
                "Restore copies of them, or delete them to start from scratch"
            )
        return None


class _Damaged(Exception):
    """A checkpoint differs from what was written; the message says how that was detected."""


def to_bytes(checkpoint: Checkpoint) -> bytes:
    """Returns the content of a file, in memory, since a supernet's takes only tens of megabytes."""
    step, arrays, metadata = checkpoint
    if not 0 <= step:
        raise ValueError(f"step must be at least 0. Received: step={step}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        header = {"format": _FORMAT, "step": int(step), "metadata": dict(metadata)}
        archive.writestr(zipfile.ZipInfo(_METADATA), json.dumps(header, allow_nan=False))
        for name, array in arrays.items():
            array = np.asarray(array)
            if array.dtype.kind not in "biufcSU":
                raise ValueError(f"An array must hold numbers, bools or strings. Received: {name} of {array.dtype}")
            if not name or not name.isprintable():
                raise ValueError(f"An array's name must be printable. Received: {name!r}")
            npz.add(archive, name, array)
        archive.comment = b"0" * _DIGEST_SIZE
    body = buffer.getbuffer()[:-_DIGEST_SIZE]
    return b"".join((body, hashlib.sha256(body).hexdigest().encode()))


def from_bytes(data: bytes, path: str | os.PathLike = "bytes") -> Checkpoint:
    """Reads what `to_bytes` returned; raises _Damaged unless every byte is as written."""
    body, digest = memoryview(data)[:-_DIGEST_SIZE], data[-_DIGEST_SIZE:]
    if len(data) <= _DIGEST_SIZE:
        raise _Damaged(f"{len(data)} bytes")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise _Damaged("its SHA-256 is wrong")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            header = parse_json(archive.read(_METADATA))
            known = header["format"] == _FORMAT
            arrays = {}
            for member in archive.namelist() if known else []:
                if member != _METADATA:
                    name = member.removesuffix(".npy")
                    npz.check_header(str(path), name, archive, len(data))  # the digest does not say who wrote it
                    with archive.open(member) as file:
                        arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    except UserError as error:
        raise _Damaged(str(error)) from error
    except _UNREADABLE as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from error
    if not known:
        raise UserError(
            f"The checkpoint {path} was written by another version of this package. Expected format {_FORMAT}. "
            f"Received: {header['format']}"
        )
    return Checkpoint(header["step"], arrays, header["metadata"])
