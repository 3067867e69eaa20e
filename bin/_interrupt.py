"""Ctrl-C while a command starts: one line and status 130, even during an import.

An exception raised during an import can surface as any other, or not at all; so the process ends immediately there.
Everywhere else Ctrl-C is Python's KeyboardInterrupt.
"""

import contextlib
import os
import signal
import sys

STATUS = 130  # reported by shells for a process ended by Ctrl-C
_IMPORTS = {"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"}


class _State:
    name = None  # of the command; None if this process is another program
    stderr = 2  # a copy, since `runtime.quiet_stderr` suppresses output to 2
    working = False


def install() -> None:
    """Handles Ctrl-C if this process is one of the commands, unless it was started to ignore it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or (name := _program()) is None:
        return
    _State.name = name
    with contextlib.suppress(OSError):
        _State.stderr = os.dup(2)
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, _interrupted)


def working(value: bool) -> None:
    """Sets whether the command handles KeyboardInterrupt; otherwise Ctrl-C ends the process immediately."""
    _State.working = value


def _program():
    """The command's name if run as a script or by `python -m`, otherwise None; see `sys.orig_argv`."""
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    if script == "-m":  # only while runpy searches for the module
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
