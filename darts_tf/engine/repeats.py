"""A warning is printed once per run, however often its cause recurs."""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator

PREFIX = "warning: "
_VARIABLE = re.compile(r"\S*/\S*|\d[\d.,]*")  # paths and numbers: warnings that differ only in these are the same
_shared: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("said", default=None)


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Returns a function that prints lines, except for warnings that it has printed before.

    Args:
        say: Called with each line; warnings are lines that begin with `PREFIX`.
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
    """Treats all calls of `once` inside as one run, so that a tuning's trials do not repeat each other's warnings."""
    token = _shared.set(set())
    try:
        yield
    finally:
        _shared.reset(token)
