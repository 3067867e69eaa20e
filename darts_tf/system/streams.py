"""Printing of lines to a terminal, a notebook or a log, or to no reader if the stream is closed.

A standard stream can be None, closed, a full disk, a pipe without a reader, ASCII only, or an object that has only
`write`. A message must never stop the work that it reports.
"""

import contextlib
import errno
import os
import sys
from typing import Any


def write(text: str, stream: Any) -> None:
    """Writes and flushes, with `?` for characters that the stream's encoding lacks.

    Args:
        text: Text, including line ends.
        stream: Anything with `write`; None for a closed stream.

    Raises:
        OSError: The stream cannot be written. If it is a standard stream of this process, it is silenced.
    """
    if stream is None:
        raise OSError(errno.EBADF, "it is closed")
    try:
        try:
            stream.write(_printable(text, stream))
        except UnicodeError:  # it has no encoding
            stream.write(text.encode("ascii", "replace").decode())
        if callable(flush := getattr(stream, "flush", None)):
            flush()
    except BlockingIOError:  # a non-blocking terminal: the next line may succeed
        raise
    except Exception as error:  # a foreign object may raise anything
        silence(stream)
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise OSError(errno.EBADF, f"{type(error).__name__}: {error}") from error


def say(text: str, stream: Any) -> None:
    """Writes a line if possible."""
    with contextlib.suppress(OSError):
        # Includes the line end in the same call, since several threads may write.
        write(f"{text}\n", stream)


def out(text: str) -> None:
    """Writes a line to the current standard output."""
    say(text, sys.stdout)


def err(text: str) -> None:
    """Writes a line to the current standard error."""
    say(text, sys.stderr)


def silent(text: str) -> None:
    """Writes nothing: for callers who want no progress."""


class Errors:
    """A file for output of libraries, which goes to standard error if possible."""

    def write(self, text: str) -> int:
        """Writes if possible."""
        with contextlib.suppress(OSError):
            write(text, sys.stderr)
        return len(text)

    def flush(self) -> None:
        """Does nothing: `write` flushes."""


def is_terminal(stream: Any) -> bool:
    """Whether the stream is a terminal."""
    try:
        return bool(stream.isatty())
    except Exception:  # no such method, or closed
        return False


def silence(stream: Any) -> None:
    """Discards a standard stream's output: its buffer would fail again when the interpreter exits."""
    if any(stream is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        with contextlib.suppress(Exception):  # no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def flush(stream: Any) -> None:
    """Writes what is left in a standard stream's buffer, if possible; None is a closed stream."""
    try:
        stream.flush()
    except Exception:  # closed, no such method, or no space
        silence(stream)


def occupy() -> None:
    """Opens closed standard descriptors on the null device; otherwise the next file would get their number.

    The output of C++ code to descriptor 2 would go into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one


def _printable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None)
    if not isinstance(encoding, str):
        return text
    try:
        return text.encode(encoding, "replace").decode(encoding)
    except LookupError:  # not an encoding that Python knows
        return text
