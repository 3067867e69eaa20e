"""Custom operations, from a Python file named on the command line."""

import os
import runpy

from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path
from darts_tf.system.types import Path

_executed: set[str] = set()  # operations are added once per process


def add_operations(path: str) -> None:
    """Runs a user's Python file that calls `operations.add_operation`; does nothing for an empty path.

    Raises:
        UserError: There is no such file, or it fails; one line that names the error.
    """
    if not path or path in _executed:
        return
    path, given = str(user_path(path, "operations_file")), path
    if path in _executed:
        return
    if not os.path.isfile(path):
        raise UserError(f"There is no file of operations. Expected a Python file. Received: operations_file={path}.")
    try:
        runpy.run_path(path)
    except Exception as error:
        raise UserError(f"operations_file={path} failed: {type(error).__name__}: {error}.") from error
    _executed.update((path, os.fspath(given)))


def add_operations_of(workdir: Path, stored: str, named: str) -> None:
    """Adds the custom operations of a finished run's network.

    Args:
        workdir: The run's work directory, for the message.
        stored: The file that its `config.json` names. It is not run, since work directories are shared with others.
        named: The file that the user names; empty for none.

    Raises:
        UserError: The run has custom operations and no file is named, or as in `add_operations`.
    """
    if stored and not named and stored not in _executed:
        raise UserError(
            f"The run in {workdir} has custom operations, from the Python file {stored!r}. It is not executed unless "
            "you ask for it: expected operations_file=PATH, with a file that you trust."
        )
    add_operations(named)
