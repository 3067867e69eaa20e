"""Files that are whole or not there, so that a killed process never leaves half of one; and JSON from anywhere."""

import contextlib
import json
import os
import pathlib
import tempfile

MAX_DEPTH = 100  # of JSON: Python's own limit depends on who calls, and printing a value needs more than reading it


def write_atomically(path, data):
    """Writes a file under a temporary name beside its place and moves it there; creates missing folders.

    Args:
        path: Where the file shall be.
        data: `bytes`, or `str` to be stored as UTF-8.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        OSError: The folder cannot be written to; an older file of that name is as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name on an empty file
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # no error of the system's
            raise
        # By the name that was given: nobody knows the temporary one, and a full disk does not say what it was full for.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def parse_json(text):
    """Reads JSON that comes from anywhere.

    Args:
        text: `bytes` or `str`.

    Raises:
        ValueError: It is none, or is nested too deeply.
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
def temporaries_in(folder):
    """Lets whatever is called inside put its temporary files into a folder that is swept after a kill.

    Keras and TensorFlow take the system's, where nobody would.
    """
    before, tempfile.tempdir = tempfile.tempdir, os.fspath(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
