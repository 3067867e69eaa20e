"""Reads NumPy archives that come from anywhere: nothing is unpickled, and no claim of a header is believed."""

import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.lib import format as npy

from darts_tf.errors import UserError, one_line
from darts_tf.files import user_path

DEFLATE_RATIO = 1032  # the most that zlib can compress


def read(path: str | os.PathLike, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of an archive, after their headers were checked against its size.

    Args:
        path: An `.npz` file.
        names: Which arrays, as far as there are any of these names; all for None.

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
    except (OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError, SyntaxError) as error:
        raise UserError(_unreadable(path, error)) from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, OverflowError, TypeError) as error:
        raise UserError(_unreadable(path, error)) from error


def _array(archive, name):
    with archive.open(f"{name}.npy") as file:
        return npy.read_array(file, allow_pickle=False)


def _unreadable(path: str, error: Exception) -> str:
    if not os.path.isfile(path):
        return f"There is no file {path}: expected the path of an .npz archive."
    return f"{path} cannot be read: expected an archive that numpy.savez wrote. Received: {one_line(error)}."


def check_header(path: str, name: str, archive: zipfile.ZipFile, size: int) -> None:
    """Refuses an array before memory is allocated for it: objects, and claims that the file cannot hold.

    Args:
        path: The file, for messages.
        name: The array's, without `.npy`.
        archive: The file, open.
        size: Its size, bytes.

    Raises:
        UserError: The array is not to be read; one line.
    """
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        try:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except Exception as error:  # NumPy parses it as Python, so a damaged one can raise almost anything
            raise UserError(
                f"Array {name!r} of {path} is damaged: expected what numpy.savez writes. Received: {one_line(error)}."
            ) from error
        header = file.tell()
    if dtype.hasobject:
        raise UserError(
            f"Array {name!r} of {path} holds Python objects, which are not read for safety: expected numbers "
            f"of one shape. Received: dtype {dtype}."
        )
    if not all(type(n) is int and n >= 0 for n in shape) or (shape and not dtype.itemsize):
        # What takes no bytes could come any number of times.
        raise UserError(
            f"Array {name!r} of {path} is damaged: expected whole numbers as its shape, and elements of some size. "
            f"Received: shape {shape}, dtype {dtype}."
        )
    claim = math.prod(shape) * dtype.itemsize
    possible = min(member.compress_size, size) * (1 if member.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO)
    if claim != member.file_size - header or claim > possible:
        raise UserError(
            f"Array {name!r} of {path} is damaged: its header claims {claim} bytes, which its {member.compress_size} "
            f"stored bytes do not hold. Received: shape {shape}, dtype {dtype}. Write the archive again."
        )
