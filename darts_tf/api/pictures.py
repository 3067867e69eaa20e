"""Pictures of runs for notebooks: the cells found, and the mixing weights over the epochs."""

import pathlib
import re

from darts_tf.report import charts, drawings
from darts_tf.report.markup import Html, join, tag
from darts_tf.report.runs import Run
from darts_tf.report.style import STYLE
from darts_tf.system.files import user_path, write_atomically
from darts_tf.system.types import Path

_CURVES = ("accuracy", "perplexity", "loss")
# The page's style, limited to this part of a notebook by nesting its rules. Front ends have their own style for
# figures.
_OWN = "figure, figcaption { width: auto; max-width: none; margin: 0; text-align: start; font-style: normal; }"
_SCOPED = ".darts_tf {" + _OWN + re.sub(r":root|(?<![\w-])body(?= )", "&", STYLE) + "}"


class Picture:
    """Some HTML that a notebook shows; `str` gives the text.

    Args:
        title: Title of the saved page.
        body: The HTML.
    """

    def __init__(self, title: str, body: Html):
        self._title, self._body = title, body

    def __str__(self) -> str:
        """Returns the HTML, for a page that may hold other pictures."""
        return str(tag("div", tag("style", Html(_SCOPED)), self._body, class_="darts_tf"))

    def _repr_html_(self) -> str:
        return str(self)

    def save(self, path: Path) -> pathlib.Path:
        """Writes a self-contained page. Raises OSError, or UserError if `path` is not a path."""
        head = tag("head", tag("meta", charset="utf-8"), tag("title", self._title))
        page = tag("html", head, tag("body", Html(str(self))), lang="en")
        return write_atomically(user_path(path, "path"), f"<!DOCTYPE html>\n{page}\n")


def picture(run: Run) -> Picture:
    """Returns the results of a run: its cells (or those of the last epoch so far), mixing weights and accuracy."""
    found = run.genotype or run.latest
    none = found is not None and found.none_allowed
    last = run.history[-1] if run.history else {}
    curves = {
        name: [(record["epoch"], record[name]) for record in run.history if record.get(name) is not None]
        for name in last
        if name.startswith("valid_") and name.endswith(_CURVES)
    }
    figures = [
        charts.chart(title := run.called(key), [(title, points)], key) for key, points in curves.items() if points
    ]
    return Picture(
        run.name,
        join(
            None if found is None else drawings.cells(found),
            *[charts.heat_maps(cell, weights, none) for cell, weights in run.weights.items()],
            charts.grid(figures),
        ),
    )
