"""A warning is said once in a run, however often its cause is met again."""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator

PREFIX = "warning: "
_VARIABLE = re.compile(r"\S*/\S*|\d[\d.,]*")  # paths and numbers: with others the same thing is said again
_shared: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("said", default=None)


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Returns a way to say lines that leaves out the warnings it has said before.

    Args:
        say: Is given each line; a warning is one that begins with `PREFIX`.
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
    """Makes one run of all that `once` is called for inside: a tuning's trials do not repeat each other's warnings."""
    token = _shared.set(set())
    try:
        yield
    finally:
        _shared.reset(token)
