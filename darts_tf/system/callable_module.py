"""Packages that are also functions: `darts_tf.report(...)` in addition to `darts_tf.report.write_report`.

Python binds a package's name in its parent when any of its modules is imported, so a function could not keep that name.
"""

import importlib
import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    @property
    def __wrapped__(self) -> Any:
        """The Python interface's function of this name, whose signature `inspect` shows."""
        return getattr(importlib.import_module("darts_tf.api.products"), self.__name__.rpartition(".")[2])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it."""
        return self.__wrapped__(*args, **kwargs)


def make(name: str) -> None:
    """Makes a package callable, by its full name."""
    sys.modules[name].__class__ = _Callable
