"""The exception that means "the user can fix this", and helpers that keep messages to one short line."""

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, described in one line: what is wrong, what was expected, what was received, how to fix it.

    The commands print the message without a traceback and exit with status 1, or with 2 for a setting. Any other
    exception is a defect of this package and keeps its traceback.

    Example:
        >>> import darts_tf
        >>> try:
        ...     darts_tf.genotype.load("DARTS_V3")
        ... except darts_tf.UserError as error:
        ...     print(str(error).partition(";")[0])
        'DARTS_V3' is neither a published genotype nor a file
    """

    def _render_traceback_(self) -> list[str]:
        """The lines that a notebook shows."""
        return [f"{type(self).__name__}: {self}"]


def one_line(error: BaseException, most: int = 153) -> str:
    """Returns the type and the first line of an error.

    Args:
        error: Any exception.
        most: Maximum length of the line.
    """
    line = (str(error).strip().splitlines() or [""])[0].rstrip(". ")
    return f"{type(error).__name__}: {short(line, most)}" if line else type(error).__name__


def short(text: str, most: int = 120) -> str:
    """Returns a text, or its beginning and `...`, at most `most` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def some_of(names: Iterable, shown: int = 3, separator: str = ", ") -> str:
    """Returns the first of many names for a message: `a, b, c and 97 more`.

    Args:
        names: Any number of names, or other texts; the middle of long ones is left out.
        shown: Maximum number of names shown.
        separator: Separator between names.
    """
    words = [" ".join(str(name).split()) for name in names]
    first = separator.join(word if len(word) <= 100 else f"{word[:48]} ... {word[-47:]}" for word in words[:shown])
    return f"{first} and {len(words) - shown} more" if len(words) > shown else first
