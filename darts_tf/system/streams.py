"""Lines for whoever reads: on a terminal, in a notebook, in a log; or for no reader, because the stream is closed.

A standard stream can be None, closed, a full disk, a pipe whose reader has left, ASCII only, or an object that has
nothing but `write`. A message must never end the work that it is about.
"""

import contextlib
import errno
import os
import sys
from typing import Any


def write(text: str, stream: Any) -> None:
    """Writes and flushes, with `?` for what the stream's encoding has no character for.

    Args:
        text: With its line ends.
        stream: Anything with `write`; None for a stream that is closed.

    Raises:
        OSError: The stream cannot take it. If it is a standard stream of this process, it is silent from now on.
    """
    if stream is None:
        raise OSError(errno.EBADF, "it is closed")
    try:
        try:
            stream.write(_printable(text, stream))
        except UnicodeError:  # it did not say which characters it takes
            stream.write(text.encode("ascii", "replace").decode())
        if callable(flush := getattr(stream, "flush", None)):
            flush()
    except BlockingIOError:  # a terminal that was made non-blocking: the next line may pass
        raise
    except Exception as error:  # an object that is not ours raises what it likes
        silence(stream)
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise OSError(errno.EBADF, f"{type(error).__name__}: {error}") from error


def say(text: str, stream: Any) -> None:
    """Writes a line if that can be done."""
    with contextlib.suppress(OSError):
        # The line's end in the same call, since several threads have something to say.
        write(f"{text}\n", stream)


def out(text: str) -> None:
    """Says a line on standard output, whatever that is at the moment."""
    say(text, sys.stdout)


def err(text: str) -> None:
    """Says a line on standard error, whatever that is at the moment."""
    say(text, sys.stderr)


class Errors:
    """A file for what libraries print by the way: it goes to standard error if that can be done."""

    def write(self, text: str) -> int:
        """Writes, or not."""
        with contextlib.suppress(OSError):
            write(text, sys.stderr)
        return len(text)

    def flush(self) -> None:
        """Nothing: that is done."""


def is_terminal(stream: Any) -> bool:
    """Whether the stream is a terminal."""
    try:
        return bool(stream.isatty())
    except Exception:  # it has no such method, or is closed
        return False


def silence(stream: Any) -> None:
    """Lets a standard stream write to nowhere: what it has buffered would fail again when the interpreter ends."""
    if any(stream is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        with contextlib.suppress(Exception):  # it has no descriptor
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def flush(stream: Any) -> None:
    """Writes what is left in a standard stream's buffer, if that can be done; None is a stream that is closed."""
    try:
        stream.flush()
    except Exception:  # it is closed, or has no such method, or there is no space
        silence(stream)


def occupy() -> None:
    """Opens the standard descriptors that are closed, towards nowhere: else the next file would get their number.

    What C++ code writes to descriptor 2 would go into that file.
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
    except LookupError:  # no encoding that Python knows
        return text
