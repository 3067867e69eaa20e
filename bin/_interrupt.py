"""Ctrl-C while a binary starts: one line and status 130, also from the midst of an import.

An exception that is raised in the midst of an import can come out as any other, or not at all; so there the process
ends at once. Everywhere else Ctrl-C is Python's KeyboardInterrupt.
"""

import contextlib
import os
import signal
import sys

STATUS = 130  # as shells report a process that Ctrl-C has ended
_IMPORTS = {"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"}


class _State:
    name = None  # of the binary; None where this process is another program
    stderr = 2  # a copy, since `runtime.quiet_stderr` holds back what is written to 2
    working = False


def install() -> None:
    """Takes Ctrl-C over where this process is one of the binaries, unless it was started to ignore it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or (name := _program()) is None:
        return
    _State.name = name
    with contextlib.suppress(OSError):
        _State.stderr = os.dup(2)
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, _interrupted)


def working(value: bool) -> None:
    """Says whether the binary handles KeyboardInterrupt: before and after that Ctrl-C ends the process at once."""
    _State.working = value


def _program():
    """The binary's name where it is run as a script or by `python -m`, else None; see `sys.orig_argv`."""
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    if script == "-m":  # only while runpy looks for the module
        modules = [word.removeprefix("-m") for word in sys.orig_argv]
        script = next((word.rpartition(".")[2] for word in modules if word.startswith("darts_tf.bin.")), "")
        return f"darts-{script}" if script else None
    return script if script.startswith("darts-") else None


def _interrupted(number, frame):
    if _State.working and not _is_importing(frame):
        raise KeyboardInterrupt
    with contextlib.suppress(OSError):
        os.write(_State.stderr, f"{_State.name}: interrupted\n".encode())
    os._exit(STATUS)


def _is_importing(frame):
    while frame is not None:
        if frame.f_code.co_filename in _IMPORTS:
            return True
        frame = frame.f_back
    return False
