"""The tables that introduce runs that consist of other runs."""

from darts_tf.config.fields import named
from darts_tf.config.protocol import ComparisonConfig, ProtocolConfig
from darts_tf.config.tuning import IN_FULL, Tune
from darts_tf.report import charts, drawings, pareto
from darts_tf.report.markup import Html, tag
from darts_tf.report.runs import COMPARISON, PROTOCOL, Run
from darts_tf.report.tables import facts, is_number, show, table

_PROTOCOL = named(
    ("search_preset", "train_preset", "num_searches", "num_random", "retrain_epochs", "eval_seeds", "seed"),
    ProtocolConfig,
)
_COMPARISON = named(("search_preset", "num_seeds", "benchmark", "seed"), ComparisonConfig)
_HALVING = named(("reduction_factor", "rungs"), Tune)
_TUNING = named(("prior", "random_share", "algorithm", "trials", "minutes", "budget_epochs"), Tune)
_TUNING += _HALVING + named(("temperature", "refine"), Tune)


def tuning(found: Run) -> list[Html | None]:
    """Returns the table of a tuning's trials, a chart of value over cost, and the best genotype."""
    trials = found.summary.get("trials") or []
    metric = str(found.summary.get("metric", "accuracy"))  # older runs do not have it
    better = str(found.summary.get("better", "higher"))
    best = found.summary.get("best") or {}
    fronts = pareto.fronts(trials, metric, better)
    columns = {f"validation {metric}": f"valid_{metric}", "epochs": "epochs"}
    columns |= {
        "parameters": "parameters",
        "multiply-adds": "macs",
        "time with set-up": "seconds",
        "message": "message",
    }
    always = ("validation", "parameters", "time")
    columns = {
        heading: key
        for heading, key in columns.items()
        if heading.startswith(always) or any(trial.get(key) is not None for trial in trials)
    }
    rows = [
        [f"trial {trial.get('trial')}", trial.get("status", "–")]
        + [_shown(key, trial) for key in columns.values()]
        + [", ".join(pareto.COSTS[cost] for cost, front in fronts.items() if index in front)]
        for index, trial in enumerate(trials)
    ]
    marked = [index for index, trial in enumerate(trials) if trial.get("trial") == best.get("trial")]
    unused = (
        _HALVING if found.config.get("algorithm") in IN_FULL else ("refine",) if "algorithm" in found.config else ()
    )
    parts = [facts([(key, found.config.get(key)) for key in _TUNING if key not in unused])]
    parts.append(table(["trial", "status", *columns, "Pareto front for"], rows, marked))
    parts.append(pareto.figures(trials, metric, better))
    if not trials:
        parts.append(tag("p", "The tuning run has not finished; its trials so far are below.", class_="note"))
    if reason := found.summary.get("stopped_because"):
        parts.append(tag("p", f"No further trials: {reason}.", class_="note"))
    if found.genotype:
        parts += [tag("h3", "Best genotype"), drawings.cells(found.genotype)]
    return parts


def _shown(key, trial):
    return trial.get(key, "") if key == "message" else show(key, trial.get(key))


def protocol(found: Run) -> list[Html | None]:
    """Returns the table of a protocol's methods, then their candidates and evaluations."""
    data = found.summary
    metric = str(data.get("metric", ""))
    rows = [
        [
            row.get("method", "–"),
            show(metric, row.get("selected_valid")),
            _spread(row, metric),
            show("", row.get("n")),
            show("seconds", row.get("search_seconds")),
            show("seconds", row.get("select_seconds")),
        ]
        for row in data.get("table") or []
    ]
    headings = [
        "method",
        f"validation {metric} of the selected cell",
        f"test {metric}, mean ± deviation",
        "evaluations",
    ]
    parts = [facts([(key, found.config.get(key)) for key in _PROTOCOL])]
    if rows:
        parts.append(table([*headings, "search time", "selection time"], rows))
    else:
        below = "; its runs so far are below." if found.parts else "."
        parts.append(tag("p", f"The protocol has not finished, so it has no table yet{below}", class_="note"))
    if data.get("better"):
        parts.append(tag("p", f"For {metric}, {data['better']} is better.", class_="note"))
    chosen = data.get("selected") or {}
    for method, key in (("search", "searches"), ("random", "random")):
        entries = data.get(key) or []
        if entries:
            parts.append(tag("h3", f"Candidates from {method}; the selected one is in bold"))
            parts.append(_candidates(entries, metric, chosen.get(method)))
    for method, entries in (data.get("evaluations") or {}).items():
        body = [[e.get("workdir"), show(metric, e.get("valid")), show(metric, e.get("test"))] for e in entries or []]
        if body:
            parts.append(tag("h3", f"Evaluations of the selected cell from {method}"))
            parts.append(table(["run", f"validation {metric}", f"test {metric}"], body))
    return parts


def comparison(found: Run) -> list[Html | None]:
    """Returns the table of the methods, best first, with random search, and the curves of their results."""
    data = found.summary
    rows = sorted(data.get("table") or [], key=lambda row: -row.get("test_mean", 0))
    random = data.get("random") or []
    chance = {each.get("cells"): each.get("test_mean") for each in random}
    parts = [facts([(key, found.config.get(key)) for key in _COMPARISON])]
    if not rows:
        return [*parts, tag("p", "The comparison has not finished; its searches so far are below.", class_="note")]
    words = f"True test accuracy on {data.get('benchmark')}, according to NAS-Bench-201, of the cells found."
    parts.append(tag("p", words, class_="note"))
    headings = [
        "mean",
        "deviation",
        "worst",
        "seeds",
        "time per search",
        "random search at equal cost",
        "random cells",
    ]
    body = [
        [row.get("method", "–")]
        + [show("accuracy", row.get(key)) for key in ("test_mean", "test_std", "test_worst")]
        + [show("", row.get("n")), show("seconds", row.get("seconds"))]
        + [show("accuracy", chance.get(row.get("random_cells"))), show("", row.get("random_cells"))]
        for row in rows
    ]
    parts.append(table(["method", *headings], body))
    curves = [
        (str(row.get("method")), charts.ending([*enumerate(curve, 1)], row.get("test_mean", curve[-1])))
        for row in rows
        if (curve := row.get("curve"))
    ]
    figures = [
        charts.chart(
            f"after each epoch, mean over seeds ({number})", curves[start : start + charts.COLOURS], "accuracy"
        )
        for number, start in enumerate(range(0, len(curves), charts.COLOURS), 1)
    ]
    parts.append(charts.grid(figures))
    parts.append(tag("h3", "Random search: the best cell by validation after 12 epochs"))
    shown = [
        [show("", each.get("cells")), show("accuracy", each.get("test_mean")), show("accuracy", each.get("test_std"))]
        for each in random
    ]
    parts.append(table(["cells", "mean", "deviation"], shown))
    took = show("seconds", data.get("training_seconds"))
    parts.append(tag("p", f"Training for 12 epochs would take {took} here, estimated from a few steps.", class_="note"))
    return parts


def compared(found: Run) -> list[dict[str, str]]:
    """Returns a run's rows in a table of several runs, by heading: a tuning's best trial, a protocol's methods."""
    metric, name = str(found.summary.get("metric", "accuracy")), {"run": found.name, "kind": found.kind}
    chosen = f"validation {metric} of the selected cell"
    if found.kind == PROTOCOL and (rows := found.summary.get("table")):
        return [
            name
            | {"run": f"{found.name}, {row.get('method', '–')}", chosen: show(metric, row.get("selected_valid"))}
            | {f"test {metric}": _spread(row, metric)}
            | {"time": show("seconds", _total([row.get("search_seconds"), row.get("select_seconds")]))}
            for row in rows
        ]
    if found.kind == COMPARISON and (rows := found.summary.get("table")):
        return [
            name
            | {"run": f"{found.name}, {row.get('method', '–')}"}
            | {"test accuracy": _spread(row, "accuracy"), "time": show("seconds", row.get("seconds"))}
            for row in rows
        ]
    taken = _total(trial.get("seconds") for trial in found.summary.get("trials") or [])
    row = name | {"time": show("seconds", found.seconds if taken is None else taken)}
    if best := found.summary.get("best"):
        row |= {chosen: show(metric, best.get(f"valid_{metric}")), "parameters": show("", best.get("parameters"))}
    return [row]


def _total(values):
    """The sum of the known values; None if there are none."""
    known = [each for each in values if is_number(each)]
    return sum(known) if known else None


def _spread(row, metric):
    """Mean and standard deviation of a method's tests; a single test has no deviation."""
    mean, deviation = (show(metric, row.get(key)) for key in ("test_mean", "test_std"))
    return mean if row.get("test_std") is None else f"{mean} ± {deviation}"


def _candidates(entries, metric, chosen):
    """A table of cells and their short trainings, which select; a random cell has only that training."""
    searched = any(entry.get("retrain") for entry in entries)
    headings = ["short training run", f"validation {metric} of short training run", "short training time"]
    rows = [
        [entry.get("retrain") or entry.get("workdir"), show(metric, entry.get("valid"))]
        + [show("seconds", entry.get("retrain_seconds" if searched else "seconds"))]
        for entry in entries
    ]
    if searched:
        headings = ["search", "search time", *headings]
        searches = [[entry.get("workdir"), show("seconds", entry.get("seconds"))] for entry in entries]
        rows = [search + row for search, row in zip(searches, rows, strict=True)]
    return table(headings, rows, [chosen])
