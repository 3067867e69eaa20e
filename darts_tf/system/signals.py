"""Ctrl-C and SIGTERM: the first stops in an orderly way, the second at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stopping(notice: str, first: Callable[[int], None], again: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Listens while inside, if this is the main thread.

    Args:
        notice: The line that the first signal prints on standard error.
        first: Is called with the first signal's number.
        again: Is called at the second one, before KeyboardInterrupt is raised.

    Raises:
        KeyboardInterrupt: A second signal came.
    """
    came: list[int] = []

    def note(number, frame):
        if came:
            again()
            raise KeyboardInterrupt
        came.append(number)
        with contextlib.suppress(OSError):  # it is closed
            # Written past Python's buffers, whose lock the interrupted code may hold.
            os.write(2, f"{notice}\n".encode())
        first(number)

    with _handled_by(note):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the process while inside, if this is the main thread.

    For C++ code that holds Python's lock, during which no handler of Python runs. Afterwards handlers are as before,
    even if that code has replaced them.
    """
    with _handled_by(signal.SIG_DFL):
        yield


@contextlib.contextmanager
def _handled_by(handler):
    if threading.current_thread() is not threading.main_thread():  # no other thread may set handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
