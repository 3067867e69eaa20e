"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """Bad input, told in one line: what is wrong, what was expected, what came, how to mend it.

    The binaries print the message without a traceback and exit with status 1. Anything else that is raised is a defect
    of this package and keeps its traceback.
    """


def one_line(error: BaseException) -> str:
    """Returns the type and the first line of an error, at most 150 characters of that.

    Args:
        error: Any exception.
    """
    line = (str(error).strip().splitlines() or [""])[0]
    line = line if len(line) <= 150 else f"{line[:150]}..."
    return f"{type(error).__name__}: {line.rstrip('. ')}" if line else type(error).__name__
