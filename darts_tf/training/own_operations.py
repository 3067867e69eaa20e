"""Operations of the user's own, from a Python file named on the command line."""

import pathlib
import runpy

from darts_tf.errors import UserError

_executed = set()  # operations are added once in a process


def add_operations(path: str) -> None:
    """Runs a user's Python file that calls `operations.add_operation`; does nothing for an empty path.

    Raises:
        UserError: There is no such file, or it fails; one line that names the error.
    """
    if not path or path in _executed:
        return
    if not pathlib.Path(path).is_file():
        raise UserError(f"There is no file of operations. Expected a Python file. Received: --operations_file={path}.")
    try:
        runpy.run_path(path)
    except Exception as error:
        raise UserError(f"--operations_file={path} failed: {type(error).__name__}: {error}.") from error
    _executed.add(path)
