"""Curves as SVG and heat maps as PNG, small and embedded in the page, with the page's colours."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from darts_tf.report.markup import Html, join, tag
from darts_tf.report.runs import Weights
from darts_tf.report.tables import show

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 340, 190, 46, 10, 8, 22
CHARACTER = 7  # maximum width of a digit at label size; the page uses the reader's font
COLOURS = 8  # as in the style

Points = Sequence[tuple[float, float]]
"""`(epoch, value)`."""

Curve = tuple[str, Points]
"""A name and its points."""


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Returns at most six round numbers between two numbers, optionally only whole ones."""
    if not high > low:
        return [low]
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(each for each in (1, 2, 5, 10) if each * power >= raw * 0.999)
    step = max(step, 1) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def axes(xs: Sequence[float], ys: Sequence[float], kind: str, whole: Sequence[bool] = (False, False)) -> tuple:
    """Returns the grid and labels between the ends of two axes as SVG elements, and `(x, y) -> a point's place` in it.

    `kind` is that of the vertical axis' values; `whole` says for each axis whether only whole numbers are marked.
    """
    (x0, x1), (y0, y1) = xs, ys
    steps, levels = ticks(x0, x1, whole=whole[0]), ticks(y0, y1, whole=whole[1])
    labels = _labels(kind, levels)
    left = max(LEFT, 8 + CHARACTER * max(map(len, labels), default=0))  # a value that hardly changes needs many digits

    def at(x, y):
        across = left + (x - x0) / (x1 - x0) * (WIDTH - left - RIGHT)
        return f"{across:.1f}", f"{HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = []
    for y, label in zip(levels, labels, strict=True):
        height = at(x0, y)[1]
        parts.append(tag("line", x1=left, x2=WIDTH - RIGHT, y1=height, y2=height, class_="grid"))
        parts.append(tag("text", label, x=left - 5, y=height, dy="0.35em", text_anchor="end"))
    for x, label in zip(steps, _labels("", steps), strict=True):
        parts.append(tag("text", label, x=at(x, y0)[0], y=HEIGHT - 6, text_anchor="middle"))
    return parts, at


def _labels(kind, levels):
    step = levels[1] - levels[0] if len(levels) > 1 else 0
    return [show(kind, level, step) for level in levels]


def ending(curve: Points, result: float) -> Points:
    """Returns the points of a curve, which end at a result: a second point of the last epoch, if the values differ."""
    return curve if math.isclose(curve[-1][1], result) else [*curve, (curve[-1][0], result)]


def chart(title: str, curves: Sequence[Curve], kind: str = "", marks: Sequence[tuple[float, str]] = ()) -> Html:
    """Returns a figure of curves over epochs, with a legend that shows each curve's last value; see also `ending`.

    Args:
        title: Title of the figure.
        curves: At least one, each with at least one point.
        kind: The name that determines how values are formatted, see `tables.show`.
        marks: Vertical lines, `(epoch, label)`.
    """
    xs = [x for _, points in curves for x, _ in points]
    ys = [y for _, points in curves for _, y in points]
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    if y1 - y0 <= 1e-9 * max(abs(y0), abs(y1)):  # a constant curve is drawn in the middle
        y0, y1 = (y0 - abs(y0) / 2, y1 + abs(y1) / 2) if y0 else (-1.0, 1.0)
    if x0 == x1:
        x0, x1 = x0 - 1, x1 + 1
    whole = all(float(y).is_integer() for y in ys)
    parts, at = axes((x0, x1), (y0, y1), kind, (True, whole))
    for x, what in marks:
        across, _ = at(x, y0)
        parts.append(tag("line", tag("title", what), x1=across, x2=across, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark"))
    legend = []
    for index, (name, points) in enumerate(curves):
        colour = f"s{index % COLOURS}"
        places = [at(x, y) for x, y in points]
        parts.append(tag("polyline", points=" ".join(",".join(place) for place in places), class_=colour))
        if len(points) < 3:
            parts += [tag("circle", cx=x, cy=y, r=2.5, class_=colour) for x, y in places]
        known = f"{name} " if name != title else None
        legend.append(tag("span", tag("i", class_=colour), known, tag("b", show(kind, points[-1][1]))))
    picture = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    apart = any(len(points) > 1 and points[-2][0] == points[-1][0] for _, points in curves)
    note = ". A vertical line at the end leads to the result, where it is not the last epoch's." if apart else None
    caption = tag("figcaption", tag("b", title), note, tag("div", *legend, class_="legend"))
    return tag("figure", caption, picture, class_="chart")


def heat_maps(title: str, weights: Weights, none: bool = False) -> Html:
    """Returns a figure with a heat map for each edge: one row per operation, one column per epoch.

    The colours range from the smallest to the largest weight of the cell, since most searches change little.

    Args:
        title: The cell's name.
        weights: Mixing weights of the cell.
        none: Whether an edge may select `none`.
    """
    low, high = float(weights.values.min()), float(weights.values.max())
    shares = (weights.values - low) / (high - low or 1)
    maps, height = [], f"height: {1.05 * len(weights.primitives):.2f}rem"
    for index, edge in enumerate(weights.edges):
        choosable = [none or name != "none" for name in weights.primitives]
        best = int(np.where(choosable, weights.values[-1, index], -1).argmax())
        names = [
            tag("span", name, class_="best" if row == best else None) for row, name in enumerate(weights.primitives)
        ]
        picture = tag(
            "img",
            src="data:image/png;base64," + base64.b64encode(_png(shares[:, index].T)).decode(),
            alt=f"{title}, edge {edge}: mixing weights over epochs",
        )
        maps.append(
            tag(
                "div",
                tag("b", edge),
                tag("div", tag("div", *names), picture, class_="rows", style=height),
                class_="map",
            )
        )
    first, last = weights.epochs[0], weights.epochs[-1]
    words = (
        f"{title} cell, mixing weights of each edge. Left to right: epochs {first} to {last}. Faint to strong: "
        f"{low:.3g} to {high:.3g}. Bold: the strongest operation at the end."
    )
    return tag("figure", tag("figcaption", words), tag("div", *maps, class_="maps"))


def _png(shares: np.ndarray) -> bytes:
    """A PNG of one blue with the values as opacity, `(rows, columns)` in [0, 1]: suits light and dark pages."""
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = (37, 99, 235)
    pixels[..., 3] = np.rint(20 + 235 * shares)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def grid(figures: Sequence[Html]) -> Html | None:
    """Returns figures side by side, as many as fit."""
    return tag("div", join(*figures), class_="grid") if figures else None
