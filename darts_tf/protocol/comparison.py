"""A comparison of search methods and random search in NAS-Bench-201, where the true accuracy of every cell is known.

Accuracies are looked up after a search, never during it.
"""

import pathlib
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from darts_tf import genotypes, methods
from darts_tf.bench import benchmark as bench
from darts_tf.config import SearchConfig, presets
from darts_tf.config.protocol import ComparisonConfig
from darts_tf.engine.hparams import Entry, write_hparams
from darts_tf.genotypes import NasBench201Genotype, benchmark
from darts_tf.genotypes.nasbench201 import NUM_CELLS
from darts_tf.protocol import results
from darts_tf.protocol.overrides import changed
from darts_tf.protocol.runs import Run
from darts_tf.protocol.workers import Workers
from darts_tf.report.page import write_report
from darts_tf.runs.scores import shown
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system import streams
from darts_tf.system.errors import UserError
from darts_tf.system.types import Path

_RESERVED = {"seed": "seed", "threads": "threads"}
_TRAINING, _EXAMPLES, _EPOCHS = "nasbench201_train", 25_000, 12  # of the benchmark's short trainings on CIFAR-10
_TIMED = 3  # cells whose trainings are timed
_COUNTS = (1, 2, 3, 5, 10, 20, 50)  # numbers of random cells


def run(config: ComparisonConfig, workdir: Path, say: Callable[[str], None] = streams.out) -> dict[str, Any] | None:
    """Runs a comparison, or resumes an interrupted one in the same directory.

    Each search is a process with its own work directory, `searches/METHOD/seed_N`.

    Args:
        config: The comparison's settings.
        workdir: Path of the comparison's directory.
        say: Called with each progress line.

    Returns:
        The contents of `comparison.json`; None if it was interrupted: the same call resumes it.

    Raises:
        UserError: Bad settings, the directory of another comparison, runs with other settings, or a failed run; one
            line.
    """
    runs = plan(config)
    with WorkDir(workdir) as directory:
        directory.open_for(config, say, (), lambda: [each.begun(directory.path) for each in every(runs)])
        say(f"{len(runs)} methods, {config.num_seeds} seeds each")
        if not Workers(directory.path, config.processes, say).run(every(runs)):
            return None
        result = collect(config, runs, directory.path, say)
        write_json(directory.path / "comparison.json", result)
        write_hparams(directory.path, entries(result))
        write_report([directory.path], directory.path / "report.html", config.benchmark)
    return result


def every(runs: dict[str, list[Run]]) -> list[Run]:
    """Returns all runs, seed after seed, so that a comparison that is stopped early has results for each method."""
    return [each for seed in zip(*runs.values(), strict=True) for each in seed]


def plan(config: ComparisonConfig) -> dict[str, list[Run]]:
    """Returns the searches by each method.

    Raises:
        UserError: The preset is for another space, or no search takes a method or setting; one line.
    """
    base = presets.get(config.search_preset).config
    if not isinstance(base, SearchConfig) or base.space != NasBench201Genotype.kind:
        raise UserError(
            "search_preset must be for searches in NAS-Bench-201, whose cells' accuracies are known. Expected one "
            f"such as nasbench201_small. Received: search_preset={config.search_preset}"
        )
    base = changed(base, "overrides", config.overrides, _RESERVED | {"method": "methods"}).replace(
        threads=config.threads
    )
    return {
        method: [
            Run(
                f"searches/{_folder(method)}/seed_{seed}", config.search_preset, own.replace(seed=seed), "genotype.json"
            )
            for seed in range(config.seed, config.seed + config.num_seeds)
        ]
        for method in config.methods
        for own in [_of_method(base, method)]
    }


def _of_method(base: SearchConfig, method: str) -> SearchConfig:
    names, *settings = method.split(":")
    settings = [part for each in settings for part in each.split(",")]  # the form in which `changed` takes list values
    first, *others = names.split("+")
    try:
        config = changed(base, "methods", [f"method={first}", *others, *settings], _RESERVED)
        methods.make(config)  # fails now, not after hours of other runs
    except UserError as error:
        raise UserError(f"{error} It is of the method {method}") from error
    return config


def _folder(method):
    return method.replace(":", "_").replace("+", "_and_").replace("/", "_")


def collect(
    config: ComparisonConfig, runs: dict[str, list[Run]], path: pathlib.Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Returns the contents of `comparison.json`: the true accuracy of each search's cell, and of random search.

    Accuracies are fractions, not percent. `curve` is the mean over the seeds after each epoch; empty for a method that
    chooses its cell only at the end. `seconds` are those of the epochs, without such a choice.
    """
    known = benchmark.accuracies(config.benchmark) / 100
    rows = []
    for method, each in runs.items():
        found = [_cell(genotypes.load(path / one.name)) for one in each]
        tests = [float(known[cell.index]) for cell in found]
        curves = [_curve(path / one.name, cell, known) for one, cell in zip(each, found, strict=True)]
        rows.append(
            {
                "method": method,
                "found": [cell.string for cell in found],
                "tests": tests,
                **results.spread(tests),
                "test_worst": min(tests),
                "curve": [statistics.fmean(values) for values in zip(*curves, strict=False)],
                "seconds": statistics.fmean(results.search_seconds(path / one.name) for one in each),
                "workdirs": [one.name for one in each],
            }
        )
    training = training_seconds(config, say)
    for row in rows:
        row["random_cells"] = max(1, round(row["seconds"] / training))
    counts = sorted({*_COUNTS, *[row["random_cells"] for row in rows]})
    random = [{"cells": count, **random_search(count, config.benchmark)} for count in counts]
    return {"benchmark": config.benchmark, "training_seconds": training, "table": rows, "random": random}


def entries(result: dict[str, Any]) -> list[Entry]:
    """Returns the searches of `comparison.json` as TensorBoard shows them: by the true accuracy of their cells."""
    return [
        Entry(workdir, {f"test_accuracy_{result['benchmark']}": accuracy}, {"method": row["method"]})
        for row in result["table"]
        for workdir, accuracy in zip(row["workdirs"], row["tests"], strict=True)
    ]


def _cell(found: genotypes.Genotype) -> NasBench201Genotype:
    if not isinstance(found, NasBench201Genotype):
        raise UserError(f"expected a cell of NAS-Bench-201. Received: {found.to_text()}")
    return found


def _curve(path, found, known):
    """The accuracy after each epoch; empty if the last epoch's cell is not the one that the search found."""
    cells = [_cell(genotypes.from_json(record["genotype"])) for record in results.search_records(path)]
    return [float(known[cell.index]) for cell in cells] if cells[-1] == found else []


def random_search(count: int, dataset: str = "cifar10") -> dict[str, float]:
    """Returns the exact expected accuracy of the best of some random cells.

    Cells are drawn from all cells with replacement and trained for 12 epochs, and the one with the best validation
    accuracy is taken: the cell of rank r among N has the probability (r^K - (r-1)^K) / N^K.

    Args:
        count: K, the number of cells drawn.
        dataset: One of `benchmark.DATASETS`.

    Returns:
        `test_mean` and `test_std` of its test accuracy after 200 epochs, as fractions.
    """
    order = np.argsort(benchmark.accuracies(dataset, "valid_12"), kind="stable")
    tests = benchmark.accuracies(dataset)[order] / 100
    shares = np.diff((np.arange(len(tests) + 1) / len(tests)) ** count)
    mean = float(shares @ tests)
    return {"test_mean": mean, "test_std": float(np.sqrt(shares @ (tests - mean) ** 2))}


def training_seconds(config: ComparisonConfig, say: Callable[[str], None]) -> float:
    """Returns how long one of the benchmark's trainings of 12 epochs would take here, in seconds.

    It is estimated from a few steps of trainings of random cells, with this process's threads.
    """
    base: Any = presets.get(_TRAINING).config
    rng, seconds = np.random.default_rng(config.seed), []
    for number in range(_TIMED):
        cell = NasBench201Genotype.of_index(int(rng.integers(NUM_CELLS)))
        timed = bench.train(base.replace(genotype=cell.string), 2)
        seconds.append(timed["step_s"] * _EXAMPLES * _EPOCHS / base.batch_size)
        say(f"training for 12 epochs would take {seconds[-1]:.0f} s, cell {number + 1} of {_TIMED}")
    return round(statistics.fmean(seconds), 1)


def table(result: dict[str, Any]) -> str:
    """The contents of `comparison.json` as lines of text."""
    lines = [["method", "mean", "deviation", "worst", "seeds", "time per search", "random search at equal cost"]]
    chance = {each["cells"]: each["test_mean"] for each in result["random"]}
    for row in sorted(result["table"], key=lambda row: -row["test_mean"]):
        spread = (row[key] for key in ("test_mean", "test_std", "test_worst"))
        figures = ["–" if each is None else shown(each, "accuracy") for each in spread]
        same = f"{shown(chance[row['random_cells']], 'accuracy')} (best of {row['random_cells']})"
        lines.append([row["method"], *figures, str(row["n"]), f"{row['seconds']:,.0f} s", same])
    return results.columns(lines)
