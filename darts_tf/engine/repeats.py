"""A warning is printed once per run, however often its cause recurs."""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator

PREFIX = "warning: "
_VARIABLE = re.compile(r"\S*/\S*|\d[\d.,]*")  # paths and numbers: with other ones it is the same warning
_shared: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("said", default=None)


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Returns a function that prints lines without the warnings it has printed before.

    Args:
        say: Called with each line; a warning is one that begins with `PREFIX`.
    """
    shared = _shared.get()
    said: set[str] = set() if shared is None else shared

    def line(text: str) -> None:
        if text.startswith(PREFIX):
            known = _VARIABLE.sub("#", text)
            if known in said:
                return
            said.add(known)
        say(text)

    return line


@contextlib.contextmanager
def as_one_run() -> Iterator[None]:
    """Treats all calls of `once` inside as one run: a tuning's trials do not repeat each other's warnings."""
    token = _shared.set(set())
    try:
        yield
    finally:
        _shared.reset(token)
