"""`metrics.jsonl`: one JSON object for each epoch, the source of truth for everything that shows a run."""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, sync_file, write_atomically


def append(path: str | os.PathLike, record: Mapping[str, Any]) -> None:
    """Appends an epoch's record, flushed to disk on return.

    Args:
        path: Path of the file, which is created if necessary.
        record: Values that JSON can hold, and arrays; numbers that are not finite become null.

    Raises:
        UserError: It cannot be written.
    """
    try:
        with open(path, "ab") as file:
            file.write(_line(record))
            file.flush()
            sync_file(file.fileno())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}") from error


def keep(path: pathlib.Path, records: Sequence[Mapping[str, Any]]) -> int:
    """Truncates the file where it no longer has these records: removes later ones, and whatever was damaged.

    Returns:
        How many of the records it has, starting from the first; 0 if there is no file.

    Raises:
        UserError: It cannot be read or written.
    """
    count = 0
    try:
        if path.exists():
            lines = [_line(record) for record in records]
            there = path.read_bytes().splitlines(keepends=True)
            while count < min(len(lines), len(there)) and lines[count] == there[count]:
                count += 1
            write_atomically(path, b"".join(lines[:count]))
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}") from error
    return count


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, oldest first; none if there is no file.

    An incomplete last line, left by a killed process, is ignored.

    Raises:
        UserError: An earlier line is damaged, or the file cannot be read.
    """
    try:
        lines = pathlib.Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}") from error
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and number < len(lines):  # the last part has no newline: half written
            records.append(record)
        elif number < len(lines) - 1:
            raise UserError(
                f"{path} is damaged. Expected one JSON object per line. Received in line {number}: {line[:40]!r}; "
                "delete that line to continue without it"
            )
    return records


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(_jsonable(record), allow_nan=False).encode() + b"\n"


def _jsonable(value: Any) -> Any:
    """The value in JSON's types; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
