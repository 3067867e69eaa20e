"""The results of a protocol's runs, read from their files: seconds, validation, and at the very end the test."""

import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from darts_tf.engine.hparams import Entry
from darts_tf.protocol.runs import Run
from darts_tf.runs.metrics import read_metrics
from darts_tf.runs.scores import shown
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json

CELLS = {"search": "the cells found", "random": "random cells"}


def read_summary(path: pathlib.Path, metric: str) -> dict[str, Any]:
    """A training's `summary.json`.

    Raises:
        UserError: It cannot be read, or lacks the metric.
    """
    try:
        summary = parse_json((path / "summary.json").read_bytes())
        missing = {"seconds", f"valid_{metric}"} - summary.keys()
        if not missing:
            return summary
        wrong = f"{min(missing)} is missing"
    except (OSError, ValueError, AttributeError) as error:
        wrong = str(error)
    raise UserError(f"{path}/summary.json cannot be read: {wrong}. Remove {path} to train again")


def validation(path: pathlib.Path, metric: str) -> dict[str, float]:
    """The validation result of a training, on which selection is based, and its seconds; the test result is not read.

    Raises:
        UserError: The training held out no validation data, there are no test data for the end, or its summary
            cannot be read.
    """
    summary = read_summary(path, metric)
    value = summary[f"valid_{metric}"]
    if value is None or not math.isfinite(value):
        raise UserError(f"{path} has no valid_{metric} to select by. Received: {value}")
    if summary.get(f"test_{metric}", 0.0) is None:  # fails now, not after the full trainings; the value is not read
        raise UserError(
            f"{path} was not tested, since its data have no test part, on which the selected cells are evaluated. "
            "Expected test data, in test/ of a folder or as x_test and y_test of an .npz file"
        )
    return {"valid": value, "seconds": summary["seconds"]}


def search_seconds(path: pathlib.Path) -> float:
    """Seconds of all epochs of a search."""
    return round(math.fsum(record["seconds"] for record in search_records(path)), 1)


def search_records(path: pathlib.Path) -> list[dict[str, Any]]:
    """The records of all epochs of a search, of all of its stages."""
    return [record for stage in WorkDir(path).stages for record in read_metrics(stage.metrics)]


def evaluation(directory: pathlib.Path, run: Run, metric: str) -> dict[str, Any]:
    """The result of a full training; the only place where test results are read."""
    summary = read_summary(directory / run.name, metric)
    values = {which: summary[f"{which}_{metric}"] for which in ("valid", "test")}
    return {"seed": run.config.seed, "workdir": run.name, **values}


def collect(
    metric: str,
    better: str,
    searches: list[dict[str, Any]],
    randoms: list[dict[str, Any]],
    selected: dict[str, int],
    evaluations: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """The contents of `protocol.json`: both methods' cells, which of them were selected, and their full trainings."""
    return {
        "metric": metric,
        "better": better,
        "searches": searches,
        "random": randoms,
        "selected": selected,
        "evaluations": evaluations,
        "table": [
            {
                "method": method,
                "selected_valid": cells[selected[method]]["valid"],
                **spread([each["test"] for each in evaluations[method]]),
                "search_seconds": round(math.fsum(each["seconds"] for each in cells), 1) if method == "search" else 0.0,
                "select_seconds": round(math.fsum(each[seconds] for each in cells), 1),
            }
            for method, cells, seconds in (("search", searches, "retrain_seconds"), ("random", randoms, "seconds"))
        ],
    }


def entries(result: dict[str, Any]) -> list[Entry]:
    """Returns the runs of `protocol.json` as TensorBoard shows them: searches, short trainings, full trainings."""
    valid, test = (f"{part}_{result['metric']}" for part in ("valid", "test"))
    found = []
    for each in result["searches"]:
        found.append(Entry(each["workdir"], {"seconds": each["seconds"]}, {"method": "search"}))
        short = {valid: each["valid"], "seconds": each["retrain_seconds"]}
        found.append(Entry(each["retrain"], short, {"method": "search"}))
    for each in result["random"]:
        found.append(Entry(each["workdir"], {valid: each["valid"], "seconds": each["seconds"]}, {"method": "random"}))
    for method, trainings in result["evaluations"].items():
        for each in trainings:
            found.append(Entry(each["workdir"], {valid: each["valid"], test: each["test"]}, {"method": method}))
    return found


def spread(tests: Sequence[float]) -> dict[str, Any]:
    """Returns mean and standard deviation of a sample, the latter None for a single number, and its size."""
    deviation = statistics.stdev(tests) if len(tests) > 1 else None
    return {"test_mean": statistics.fmean(tests), "test_std": deviation, "n": len(tests)}


def table(result: dict[str, Any]) -> str:
    """The contents of `protocol.json` as lines of text."""
    metric = result["metric"]
    head = ["method", "cells", f"validation {metric}", f"test {metric}", "evaluations", "search time", "selection time"]
    lines = [head]
    for each in result["table"]:
        cells = result["searches" if each["method"] == "search" else "random"]
        test = shown(each["test_mean"], metric)
        if each["test_std"] is not None:
            test = f"{test.removesuffix(' %')} ± {shown(each['test_std'], metric)}"
        lines.append(
            [
                each["method"],
                str(len(cells)),
                shown(each["selected_valid"], metric),
                test,
                str(each["n"]),
                f"{each['search_seconds']:,.0f} s",
                f"{each['select_seconds']:,.0f} s",
            ]
        )
    return columns(lines)


def columns(lines: list[list[str]]) -> str:
    """Returns lines of table cells as text in columns, the first one left-aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [[text.rjust(width) for text, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *cells[1:]]) for line, cells in zip(lines, rows, strict=True))
