"""Ctrl-C and SIGTERM: the first stops gracefully, the second immediately."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stopping(notice: str, first: Callable[[int], None], again: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Handles signals while inside, if this is the main thread.

    Args:
        notice: The line that the first signal prints on standard error.
        first: Called with the first signal's number.
        again: Called on the second one, before KeyboardInterrupt is raised.

    Raises:
        KeyboardInterrupt: A second signal was received.
    """
    came: list[int] = []

    def note(number, frame):
        if came:
            again()
            raise KeyboardInterrupt
        came.append(number)
        with contextlib.suppress(OSError):  # closed
            # Bypasses Python's buffers, whose lock the interrupted code may hold.
            os.write(2, f"{notice}\n".encode())
        first(number)

    with _handled_by(note):
        yield


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM end the process while inside, if this is the main thread.

    For C++ code that holds Python's lock, during which no Python handler runs. Afterwards the handlers are restored,
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
