"""NumPy archives, read safely from any source (nothing is unpickled, no header is trusted) and written atomically."""

import contextlib
import io
import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy

from darts_tf.system.errors import UserError, one_line, some_of
from darts_tf.system.files import user_path, write_atomically

DEFLATE_RATIO = 1032  # the highest ratio that zlib can reach
_ERRORS = (  # raised by damaged archives
    *(OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, OverflowError, TypeError),
)
_FOREIGN = (  # first bytes of other kinds of file, their kind, and what reads them
    (b"\x93NUMPY", "a single array", "numpy.load"),
    (b"MATLAB 5.0", "a MATLAB file", "scipy.io.loadmat"),
    (b"MATLAB 7.3", "a MATLAB file of version 7.3", "h5py.File"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "h5py.File"),
    (b"PAR1", "a Parquet file", "pandas.read_parquet"),
    *((bytes([0x80, protocol]), "a pickle", "pickle.load, if you trust it,") for protocol in range(2, 6)),
    (b"\x1f\x8b", "a gzip file", "gzip.open"),
)


def members(path: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Returns the names of an archive's arrays, and of its other files.

    Args:
        path: An `.npz` file.

    Raises:
        UserError: There is no such file, or it is of another kind; the message says which, and how to convert it.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        raise UserError(f"There is no file {path}: it is a folder. Expected the path of an .npz archive.")
    try:
        with zipfile.ZipFile(path) as archive:
            # macOS' archiver adds "__MACOSX/._x.npy", which is not an array.
            names = [name for name in archive.namelist() if not name.endswith("/")]
            files = [name for name in names if not name.rpartition("/")[2].startswith("._")]
            arrays = [name.removesuffix(".npy") for name in files if name.endswith(".npy")]
            for name in arrays:
                _header(path, name, archive)
    except UserError:
        raise
    except _ERRORS as error:
        raise UserError(_unreadable(path, error)) from error
    others = [name for name in files if not name.endswith(".npy")]
    if others and not arrays:
        raise UserError(
            f"{path} is a zip archive of other files: expected one of arrays, as numpy.savez writes it. "
            f"Received: {some_of(others)}."
        )
    return arrays, others


def read(path: str | os.PathLike, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of an archive, after checking their headers against its size.

    Args:
        path: An `.npz` file.
        names: Which arrays to read, if they exist; None for all.

    Raises:
        UserError: There is no such file, it is damaged, holds Python objects, or claims more than it can hold.
    """
    path = os.fspath(user_path(path, "the archive"))
    try:
        size = os.path.getsize(path)
        with zipfile.ZipFile(path) as archive:
            there = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            wanted = there if names is None else [name for name in names if name in there]
            for name in wanted:
                check_header(path, name, archive, size)
            return {name: _array(archive, name) for name in wanted}
    except UserError:
        raise
    except _ERRORS as error:
        raise UserError(_unreadable(path, error)) from error


def write(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name, atomically. Raises OSError if that fails."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            add(archive, name, np.asarray(array))
    write_atomically(path, buffer.getvalue())


def add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Adds an array to an archive like `numpy.savez`, but without the date: equal arrays give equal files."""
    with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as file:
        npy.write_array(file, array, allow_pickle=False)


def is_array(path: str | os.PathLike) -> bool:
    """Whether a file is a single array, as written by numpy.save."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX
    return False


def map_array(path: str | os.PathLike) -> np.ndarray:
    """Opens the array of an `.npy` file, which is read on demand.

    Raises:
        UserError: It is damaged, or holds Python objects.
    """
    try:
        return npy.open_memmap(path, mode="r")
    except _ERRORS as error:
        raise UserError(
            f"{path} cannot be read: expected an array of numbers that numpy.save wrote. Received: {one_line(error)}."
        ) from error


def _array(archive, name):
    with archive.open(f"{name}.npy") as file:
        return npy.read_array(file, allow_pickle=False)


def _unreadable(path: str, error: Exception) -> str:
    if not os.path.isfile(path):
        return f"There is no file {path}: expected the path of an .npz archive."
    expected = f"{path} cannot be read: expected an archive that numpy.savez wrote."
    if isinstance(error, zipfile.BadZipFile):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            begin = file.read(16)
            if not begin:
                return f"{expected} Received: an empty file."
            for magic, what, reader in _FOREIGN:
                if begin.startswith(magic):
                    return f"{expected} Received: {what}. Read it with {reader} and write its arrays with numpy.savez."
    return f"{expected} Received: {one_line(error)}."


def _header(path: str, name: str, archive: zipfile.ZipFile) -> tuple[tuple, np.dtype, int]:
    """Returns an array's shape and dtype as claimed by its header, and the length of the header in bytes."""
    with archive.open(f"{name}.npy") as file:
        try:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except Exception as error:  # NumPy parses it as Python, so a damaged one can raise almost anything
            raise UserError(
                f"Array {name!r} of {path} is damaged: expected what numpy.savez writes. Received: {one_line(error)}."
            ) from error
        return shape, dtype, file.tell()


def check_header(path: str, name: str, archive: zipfile.ZipFile, size: int) -> None:
    """Refuses an array before memory is allocated for it: objects, and sizes that the file cannot hold.

    Args:
        path: The file, for messages.
        name: The array's name, without `.npy`.
        archive: The file, open.
        size: Its size, bytes.

    Raises:
        UserError: The array must not be read; one line.
    """
    member = archive.getinfo(f"{name}.npy")
    shape, dtype, header = _header(path, name, archive)
    if dtype.hasobject:
        raise UserError(
            f"Array {name!r} of {path} holds Python objects, which are not loaded, for safety: expected numbers of "
            f"one shape, or strings. Received: dtype {dtype}. Convert it: numpy.array(values.tolist())."
        )
    if not all(type(n) is int and n >= 0 for n in shape) or (shape and not dtype.itemsize):
        # Elements of zero bytes could occur any number of times.
        raise UserError(
            f"Array {name!r} of {path} is damaged: expected whole numbers as its shape, and elements with a size. "
            f"Received: shape {shape}, dtype {dtype}."
        )
    claim = math.prod(shape) * dtype.itemsize
    possible = min(member.compress_size, size) * (1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    if claim != member.file_size - header or claim > possible:
        raise UserError(
            f"Array {name!r} of {path} is damaged: its header claims {claim} bytes, which its {member.compress_size} "
            f"stored bytes do not hold. Received: shape {shape}, dtype {dtype}. Write the archive again."
        )
