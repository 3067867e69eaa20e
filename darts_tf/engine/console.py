"""The console of a run: a progress bar on a terminal or in a notebook, otherwise lines at intervals for log files.

A reader that exits (`darts-search | head`) never stops a run.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO

import rich.console
import rich.progress
import rich.table

from darts_tf.engine.notebook import NotebookBar, in_notebook
from darts_tf.system import streams

PLAIN_SECONDS = 10.0
"""Without a terminal: seconds between two progress lines."""


class Console:
    """Prints lines, a progress bar and a spinner on a terminal, otherwise only lines; stops once its reader has exited.

    Args:
        out: Anything with `write`; None for no output.

    Attributes:
        terminal: Whether `out` is a terminal, on which lines appear above the bar.
        has_bar: Whether there is a bar, on a terminal or in a notebook.
    """

    def __init__(self, out: TextIO | None):
        self._out = out
        # Not rich's own answer: FORCE_COLOR makes it take a file for a terminal. The bar needs Unicode.
        self._rich = rich.console.Console(file=out) if streams.is_terminal(out) else None
        self.terminal = bool(self._rich and not self._rich.is_dumb_terminal and self._rich.encoding.startswith("utf"))
        self._notebook = NotebookBar() if not self.terminal and in_notebook(out) else None
        self.has_bar = self.terminal or self._notebook is not None
        self._bar: rich.progress.Progress | None = None
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Prints one line, above the bar if there is one."""
        if self.terminal and self._rich:
            with self._harmless():
                self._rich.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)
            return
        with self._harmless(), self._lock:
            if self._out is not None:
                streams.write(f"{text}\n", self._out)

    def bar(self, where: str, step: int, total: int, facts: str) -> None:
        """Draws the progress bar, if there is one."""
        with self._harmless():
            if self._notebook is not None:
                self._notebook.update(where, step, total, facts)
                return
            if self._bar is None:
                self._bar = rich.progress.Progress(
                    _column("{task.description}"),
                    rich.progress.BarColumn(bar_width=None),
                    _column("{task.fields[facts]}"),
                    console=self._rich,
                    expand=True,
                    refresh_per_second=4,
                    transient=True,
                )
                self._bar.add_task(where, total=total, facts=facts)
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], description=where, completed=step, facts=facts)

    @contextlib.contextmanager
    def busy(self, text: str, seconds: Callable[[], float]) -> Iterator[None]:
        """Shows a spinner with the elapsed seconds; without a terminal, a line at the start and from time to time."""
        self.stop()
        with contextlib.ExitStack() as stack:
            if self.terminal:
                sign = rich.progress.Progress(
                    rich.progress.SpinnerColumn(),
                    _column("{task.description} ... ({task.elapsed:.0f} s)"),
                    console=self._rich,
                    refresh_per_second=4,
                    transient=True,
                )
                sign.add_task(text, total=None)
                with self._harmless():
                    sign.start()
                stack.callback(lambda: self._end(sign))
            else:
                self.line(f"{text} ...")
                over = threading.Event()
                thread = threading.Thread(target=self._repeat, args=(text, seconds, over), daemon=True)
                thread.start()
                stack.callback(thread.join)
                stack.callback(over.set)  # runs before the join
            yield

    def _repeat(self, text: str, seconds: Callable[[], float], over: threading.Event) -> None:
        while not over.wait(PLAIN_SECONDS):
            self.line(f"{text} ... ({seconds():.0f} s)")

    def stop(self) -> None:
        """Removes the bar; the next progress draws a new one."""
        if self._bar is not None:
            self._end(self._bar)
            self._bar = None

    def _end(self, shown: rich.progress.Progress) -> None:
        with self._harmless():
            shown.stop()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Prevents a write failure from stopping the run: after the first one, nothing is printed."""
        try:
            yield
        except BlockingIOError:
            pass
        except (OSError, ValueError):  # a closed pipe or a full disk; a closed file
            streams.silence(self._out)
            self._out = None
            if self._rich is not None:
                self._rich.file = open(os.devnull, "w", encoding="utf-8")  # lives as long as the process


def _column(text: str) -> rich.progress.TextColumn:
    return rich.progress.TextColumn(text, markup=False, table_column=rich.table.Column(no_wrap=True))


def printer(out: TextIO | None) -> Callable[[str], None]:
    """Returns a function that prints lines before a run has a reporter; for `out` see `Reporter`."""
    return Console(sys.stdout if out is None else out).line
