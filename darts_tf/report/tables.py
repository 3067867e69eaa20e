"""Values in words and tables; on a narrow screen each row of a table becomes a card."""

import math
from collections.abc import Sequence
from typing import TypeGuard

from darts_tf.report.markup import Html, tag


def words(name: str) -> str:
    """A key in words."""
    return name.replace("_", " ")


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def show(name: str, value: object, step: float | None = None) -> str:
    """Formats a value; its name determines how.

    Args:
        name: `*accuracy` is a fraction, `*seconds` a time, everything else a plain number.
        value: None and non-finite values are shown as a dash.
        step: On a chart's axis: distance to the next value, which must look different.
    """
    if not is_number(value):
        return "–" if value is None else str(value)
    if not math.isfinite(value):
        return "–"
    if step is not None:
        return _tick(value, step, name.endswith("accuracy"))
    if name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if name.endswith("seconds"):
        return _time(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _tick(value, step, percent):
    if percent:
        value, step = 100 * value, 100 * step
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 2
    text = f"{value:.{places}f}"
    if places > 5 or abs(value) >= 1e5:  # small or large, like its neighbour unless they differ in a late digit
        digits = math.floor(math.log10(abs(value) / step) + 1e-9) + 2 if value and step > 0 else 3
        text = f"{value:.{max(3, digits)}g}"
    return text + (" %" if percent else "")


def _time(seconds):
    seconds = float(seconds)
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _class(cell):
    """What the style sheet has to know of a cell: that it is empty, or a number with its unit, which stay together."""
    return "nothing" if cell in ("", "–") else "short" if len(str(cell)) <= 12 else None


def table(headings: Sequence[str], rows: Sequence[Sequence], marked: Sequence[int] = ()) -> Html:
    """Returns a table; the first column is text, the others are numbers.

    Args:
        headings: One for each column.
        rows: Rows of text or `Html`.
        marked: Indices of rows to show in bold.
    """
    head = tag("thead", tag("tr", *[tag("th", each) for each in headings]))
    body = [
        tag(
            "tr",
            *[
                tag("td", cell, data_label=heading, class_=_class(cell))
                for heading, cell in zip(headings, row, strict=True)
            ],
            class_="marked" if index in marked else None,
        )
        for index, row in enumerate(rows)
    ]
    return tag("table", head, tag("tbody", *body))


def facts(pairs: Sequence[tuple[str, object]]) -> Html | None:
    """Returns a list of names and values; those that are None are left out."""
    found = [
        tag("div", tag("dt", words(name)), tag("dd", value if isinstance(value, Html) else show(name, value)))
        for name, value in pairs
        if value is not None
    ]
    return tag("dl", *found) if found else None
