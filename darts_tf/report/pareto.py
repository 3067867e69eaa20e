"""Value over cost: the trials as an SVG chart with the Pareto front marked."""

from collections.abc import Sequence

from darts_tf.report import charts
from darts_tf.report.charts import COLOURS, HEIGHT, WIDTH
from darts_tf.report.markup import Html, join, tag
from darts_tf.report.tables import is_number, show
from darts_tf.runs import scores

COSTS = {"parameters": "parameters", "macs": "multiply-adds"}
"""Key of a trial -> its label."""
_UNITS = (1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1.0, "")


def fronts(trials: Sequence[dict], metric: str, better: str) -> dict[str, list[int]]:
    """Returns, for each cost that is known, the indices of the trials on its Pareto front; see `scores.front`."""
    found = {}
    for cost in COSTS:
        known = [index for index, trial in enumerate(trials) if _is_known(trial, cost, metric)]
        costs, values = ([trials[index][key] for index in known] for key in (cost, f"valid_{metric}"))
        if known:
            found[cost] = [known[each] for each in scores.front(costs, values, better)]
    return found


def figures(trials: Sequence[dict], metric: str, better: str) -> Html | None:
    """Returns a figure for each cost: every trial a point, coloured by its epochs; None if no cost is known."""
    parts = []
    for cost, front in fronts(trials, metric, better).items():
        known = [index for index, trial in enumerate(trials) if _is_known(trial, cost, metric)]
        if len({trials[index][cost] for index in known}) > 1:
            parts.append(_figure([trials[index] for index in known], [known.index(i) for i in front], cost, metric))
    if not parts:
        return None
    note = "Ringed and connected: the Pareto front, the trials that no other one beats in cost or value without "
    note += "being worse in the other one. Values are those after the epochs for which a trial has been trained."
    return join(charts.grid(parts), tag("p", note, class_="note"))


def _is_known(trial, cost, metric):
    return trial.get("status") == "completed" and all(is_number(trial.get(key)) for key in (cost, f"valid_{metric}"))


def _figure(trials, front, cost, metric):
    size, unit = next(each for each in _UNITS if max(trial[cost] for trial in trials) >= each[0] or each[0] == 1)
    points = [(trial[cost] / size, trial[f"valid_{metric}"]) for trial in trials]
    xs, ys = (_range([point[axis] for point in points]) for axis in (0, 1))
    parts, at = charts.axes(xs, ys, metric)
    parts.append(tag("polyline", points=" ".join(",".join(at(*points[each])) for each in front), class_="front"))
    epochs = sorted({trial.get("epochs") or 0 for trial in trials})
    for index, (trial, point) in enumerate(zip(trials, points, strict=True)):
        about = f"trial {trial.get('trial')}: {show(metric, point[1])}, {show('', trial[cost])} {COSTS[cost]}"
        about += f", {trial['epochs']} epochs" if trial.get("epochs") else ""
        colour = f"s{epochs.index(trial.get('epochs') or 0) % COLOURS}"
        kind = f"dot front {colour}" if index in front else f"dot {colour}"
        (x, y), radius = at(*point), 4 if index in front else 3
        parts.append(tag("circle", tag("title", about), cx=x, cy=y, r=radius, class_=kind))
    title = f"validation {metric} against {COSTS[cost]}"
    legend = [
        tag("span", tag("i", class_=f"s{index % COLOURS}"), f"after {each} epochs" if each > 1 else "after 1 epoch")
        for index, each in enumerate(epochs)
        if each
    ]
    caption = tag("figcaption", tag("b", title), f", {unit}" if unit else None, tag("div", *legend, class_="legend"))
    picture = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag("figure", caption, picture, class_="chart")


def _range(values):
    """The range of an axis, slightly wider than its values, so that no point is on the edge."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or abs(low) / 2 or 1.0
    return low - margin, high + margin
