"""The parts of the page about one run, of each kind, and about several."""

import re
from collections.abc import Sequence

from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.fields import named
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.engine.early_stop import verdict as verdict_of
from darts_tf.report import charts, composed, drawings, runs, truth
from darts_tf.report.film import film
from darts_tf.report.markup import Html, join, tag
from darts_tf.report.tables import facts, is_number, show, table, words

_SETTINGS = named(
    ("dataset", "data_dir", "method", "seed", "batch_size", "init_channels", "num_cells", "num_units", "bptt", "order"),
    *(SearchConfig, TrainConfig, LanguageSearchConfig, LanguageTrainConfig),
)
_COMPARED = ("accuracy", "perplexity", "loss", "eigenvalue")
_RESULTS = ("test_accuracy", "test_perplexity", "parameters")  # of summaries
_ALONE = {"epoch", "step"}
_TITLES = {
    "skip": "skip connections",
    "pool": "pools",
    "entropy": "entropy of the mixing weights",
    "gap": "gap between an edge's two strongest operations",
}
"""What is measured of each cell -> its chart's title."""
_ORDER = ("accuracy", "perplexity", "loss", "eigenvalue", *_TITLES)  # first in a page
_MEASURES = ("top5_accuracy", "accuracy", "perplexity", "loss")
_COSTS = ("million_macs", "million_parameters", "latency_ms")  # of the method `cost`: expected, derived, target


def run(found: runs.Run, heading: bool = True, nasbench201: str = "") -> Html:
    """Returns everything about a run; see `page.write_report` for `nasbench201`."""
    parts = [tag("h2", f"{found.name}: {found.kind}") if heading else None]
    if found.problem:
        return join(*parts, tag("p", found.problem, class_="note"))
    special = _special(found)
    parts += special(found) if special else _single(found, nasbench201)
    if found.parts:
        parts.append(tag("h3", "All runs"))
        if found.kind != runs.COMPARISON:  # which has too many runs for a joint chart of curves
            parts.append(comparison(found.parts, nasbench201))
        parts += [
            tag("details", tag("summary", f"{each.name}{_result(each, nasbench201)}"), run(each, False, nasbench201))
            for each in found.parts
        ]
    return join(*parts)


def _special(found):
    """The part about a run that consists of other runs; None for other kinds."""
    kinds = {runs.PROTOCOL: composed.protocol, runs.COMPARISON: composed.comparison}
    return {**kinds, **dict.fromkeys(runs.TUNINGS, composed.tuning)}.get(found.kind)


def comparison(found: Sequence[runs.Run], nasbench201: str = "") -> Html:
    """Returns one table of several runs, and joint charts of the curves of runs of one kind."""
    found = [each for each in found if not each.problem]
    rows = [row for each in found for row in (composed.compared(each) if _special(each) else [_compared(each)])]
    known = {heading for row in rows for heading, value in row.items() if value != "–"}
    last = dict.fromkeys(f"last {each.called(key)}" for key in _numbers(found) for each in found)
    chosen = [f"validation {metric} of the selected cell" for metric in _MEASURES]
    measured = [each for each in (*last, *chosen, *map(words, _RESULTS)) if each in known]
    headings = ["run", "kind", "epochs", *measured, "time"]
    figures = []
    for kind in dict.fromkeys(each.kind for each in found):
        alike = [each for each in found if each.kind == kind]
        for key in (key for key in _numbers(alike) if key.endswith(_COMPARED)):
            begun = [each for each in alike if _points(each, key)]
            if len(begun) > 1:
                curves = [(each.name, _points(each, key)) for each in begun]
                figures.append(charts.chart(f"{begun[0].called(key)} ({kind})", curves, key))
    if true := truth.chart(found, nasbench201):
        figures.append(true)
    if not rows:
        return Html("")
    note = "The time of a protocol's method covers its searches and short training runs, not its full training runs."
    methods = any(each.kind == runs.PROTOCOL and each.summary.get("table") for each in found)
    return join(
        table(headings, [[row.get(heading, "–") for heading in headings] for row in rows]),
        tag("p", note, class_="note") if methods else None,
        charts.grid(figures),
    )


def _compared(found):
    """The row of a search or training in a table of several runs, by heading."""
    keys = [key for key in _numbers([found]) if key.startswith("valid_") and key.endswith(_COMPARED)]
    return (
        {"run": found.name, "kind": found.kind, "epochs": show("", len(found.history))}
        | {f"last {found.called(key)}": show(key, _last(found, key)) for key in keys}
        | {words(key): show(key, found.summary.get(key)) for key in _RESULTS}
        | {"time": show("seconds", found.seconds)}
    )


def _single(found, nasbench201):
    """A search or a training."""
    latest = found.history[-1] if found.history else {}
    parts = [
        facts(
            [("epochs done", f"{len(found.history)} of {found.config.get('epochs', '–')}")]
            + [(key, found.config.get(key)) for key in _SETTINGS if found.config.get(key) != ""]
            + [(key, value) for key, value in found.summary.items() if isinstance(value, int | float | str)]
        ),
        tag("details", tag("summary", "all settings"), facts([(k, _setting(v)) for k, v in found.config.items()])),
    ]
    verdict = verdict_of(found.history, found.config.get("epochs", 0))
    if verdict:
        parts.append(
            tag(
                "p",
                f"The dominant eigenvalue grew {verdict.ratio:.2f}-fold: the rule of RobustDARTS stops after epoch "
                f"{verdict.seen} and returns the genotype of epoch {verdict.epoch}"
                + (
                    ", as requested."
                    if found.config.get("early_stop") == "eigenvalue"
                    else "; this search was not configured to stop."
                ),
            )
        )
    figures = []
    for title, keys in groups(_numbers([found])).items():
        curves = [(words(_short(key, title)), points) for key in keys if (points := _points(found, key))]
        marks = (
            [(verdict.epoch, "result of the rule"), (verdict.seen, "stop")] if verdict and title == "eigenvalue" else ()
        )
        if curves:
            figures.append(charts.chart(found.called(_TITLES.get(title, title)), curves, title, marks))
    if true := truth.chart([found], nasbench201):
        figures.append(true)
    parts.append(charts.grid(figures))
    if not latest:
        parts.append(tag("p", "No epoch has finished yet.", class_="note"))
    genotype = found.genotype or found.latest
    if genotype:
        parts += [tag("h3", "Genotype" if found.genotype else "Genotype so far"), drawings.cells(genotype)]
    none = genotype is not None and genotype.none_allowed
    if found.weights:
        parts.append(tag("h3", "Mixing weights over epochs"))
        parts += [
            tag("details", tag("summary", f"{cell} cell"), charts.heat_maps(cell, weights, none), open=True)
            for cell, weights in found.weights.items()
        ]
    if found.genotypes:
        parts += [tag("h3", "All genotypes of the search"), film(found.genotypes, _by_epoch(found))]
    return parts


def _by_epoch(found):
    """The results of each epoch, in words."""
    keys = [key for key in _numbers([found]) if key.startswith("valid_") and key.endswith(("accuracy", "perplexity"))]
    return {
        record["epoch"]: ", ".join(f"{found.called(k)} {show(k, record[k])}" for k in keys if is_number(record.get(k)))
        for record in found.history
        if "epoch" in record
    }


def _setting(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def groups(keys: Sequence[str]) -> dict[str, list[str]]:
    """Sorts keys of records into charts: one for each metric, and one for those that differ only in the cell."""
    found: dict[str, list[str]] = {}
    for key in keys:
        measure = next((each for each in (*_MEASURES, *_COSTS) if key == each or key.endswith(f"_{each}")), None)
        cell = re.fullmatch(r"(.+)_(normal|reduce|reduction|recurrent|nasbench201)", key)
        found.setdefault(measure or (cell[1] if cell else key), []).append(key)
    return dict(sorted(found.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER)))


def _short(key, title):
    """The label that distinguishes a curve from the others in its chart."""
    label = key.removesuffix(f"_{title}").removeprefix(f"{title}_")
    return "reduction" if label == "reduce" else label


def _numbers(found):
    """The keys of all records that hold numbers, in their order."""
    records = [record for each in found for record in each.history]
    return list(dict.fromkeys(k for record in records for k, v in record.items() if is_number(v) and k not in _ALONE))


def _points(found, key):
    return [(r["epoch"], r[key]) for r in found.history if is_number(r.get("epoch")) and is_number(r.get(key))]


def _last(found, key):
    points = _points(found, key)
    return points[-1][1] if points else None


def _result(found, nasbench201):
    """What a run has reached, in a few words; for a search where it is known the truth, not its supernet's accuracy."""
    if nasbench201 and (true := truth.points(found, nasbench201)):
        return f": true test accuracy {show('accuracy', true[-1][1])}"
    key = next((k for k in _numbers([found]) if k in ("valid_accuracy", "valid_perplexity")), None)
    return f": {found.called(key)} {show(key, _last(found, key))}" if key else ""
