"""A progress bar in a notebook, which updates in place: an IPython display, which every front end shows."""

import html
import sys
import threading
from typing import Any


def in_notebook(out: Any) -> bool:
    """Whether a stream is the standard output of a notebook cell."""
    ipython = sys.modules.get("IPython")  # a notebook has imported it
    if ipython is None or out is not sys.stdout:
        return False
    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel") and threading.current_thread() is threading.main_thread()


class NotebookBar:
    """One bar, displayed at the cell's current position on its first update."""

    def __init__(self):
        self._handle: Any = None

    def update(self, where: str, step: int, total: int, facts: str) -> None:
        """Moves the bar; for the arguments see `Console.bar`."""
        from IPython.display import display

        text = f"{where}  {facts}"
        bar = f'<progress value="{step}" max="{total}" style="width: 16em"></progress>'
        content = {"text/plain": f"{step}/{total}  {text}", "text/html": f"<div>{bar} {html.escape(text)}</div>"}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
