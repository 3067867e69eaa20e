"""A protocol from its settings to its table: searches, selection, random cells of equal cost, evaluation."""

import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from darts_tf import genotypes
from darts_tf.config.protocol import ProtocolConfig
from darts_tf.engine.hparams import write_hparams
from darts_tf.genotypes import Genotype
from darts_tf.protocol import results
from darts_tf.protocol.runs import Plan
from darts_tf.protocol.workers import Workers
from darts_tf.report.page import write_report
from darts_tf.runs import scores
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system import streams
from darts_tf.system.types import Path
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.space import space_of


def run(config: ProtocolConfig, workdir: Path, say: Callable[[str], None] = streams.out) -> dict[str, Any] | None:
    """Runs a protocol, or resumes an interrupted one in the same directory.

    Each search and each training is a process with its own work directory: `searches/seed_N`, `retrain/search_N`,
    `retrain/random_N`, `evaluate/search/seed_N` and `evaluate/random/seed_N`. A completed run is not run again, an
    interrupted one is resumed. Cells are selected by the validation data of their short trainings; test results are
    read only for the two selected cells' full trainings.

    Args:
        config: The protocol's settings.
        workdir: Path of the protocol's directory.
        say: Called with each progress line.

    Returns:
        The contents of `protocol.json`; None if it was interrupted: the same call resumes it.

    Raises:
        UserError: Bad settings, a directory of another protocol, runs with other settings, or a failed run; one line.
    """
    plan = Plan(config)
    with WorkDir(workdir) as directory:
        directory.open_for(config, say, (), lambda: plan.check(directory.path))
        try:
            result = _Protocol(plan, directory.path, say).run()
        except _Stopped:
            return None
        write_json(directory.path / "protocol.json", result)
        write_hparams(directory.path, results.entries(result))
        write_report([directory.path], directory.path / "report.html")
    return result


class _Stopped(Exception):
    """A signal was received; everything is saved."""


class _Protocol:
    """The four stages, each of which waits for the previous one."""

    def __init__(self, plan: Plan, path: pathlib.Path, say: Callable[[str], None]):
        self.plan, self.path, self.say = plan, path, say
        self.workers = Workers(path, plan.config.processes, say)

    def run(self):
        """Returns the contents of `protocol.json`."""
        plan = self.plan
        self._all(plan.searches, "searches")
        found = [genotypes.load(self.path / search.name) for search in plan.searches]
        searches = [
            {
                "seed": search.config.seed,
                "workdir": search.name,
                "genotype": short["genotype"],
                "seconds": results.search_seconds(self.path / search.name),
                "retrain": short["workdir"],
                "retrain_seconds": short["seconds"],
                "valid": short["valid"],
            }
            for search, short in zip(plan.searches, self._short("search", found), strict=True)
        ]
        cells = random_cells(found[0], plan.primitives, self._num_random(searches), plan.config.seed)
        randoms = self._short("random", cells)

        selected = {"search": self._select("search", searches), "random": self._select("random", randoms)}
        evaluations = self._evaluate({"search": found[selected["search"]], "random": cells[selected["random"]]})
        return results.collect(self.plan.metric, self.plan.better, searches, randoms, selected, evaluations)

    def _all(self, runs, title):
        done = sum(run.done(self.path) for run in runs)
        self.say(f"{title}: {len(runs)}" + (f", already done: {done}" if done else ""))
        if not self.workers.run(runs):
            raise _Stopped

    def _short(self, method, cells):
        """Trains each cell for a short time; reads its result on validation data, never that on test data."""
        runs = [self.plan.retrain(f"{method}_{i}", cell) for i, cell in enumerate(cells)]
        self._all(runs, f"short training runs of {results.CELLS[method]}")
        trained = []
        for run, cell in zip(runs, cells, strict=True):
            about = {"seed": run.config.seed, "workdir": run.name, "genotype": cell.to_json()}
            trained.append(about | results.validation(self.path / run.name, self.plan.metric))
        return trained

    def _num_random(self, searches):
        """The number of short trainings of random cells that take as long as the searches and their short trainings."""
        short = [each["retrain_seconds"] for each in searches]
        spent, one = sum(each["seconds"] for each in searches) + sum(short), statistics.fmean(short)
        equal = max(1, round(spent / one))
        self.say(
            f"the searches and their short training runs took {spent:.0f} s, one short training run {one:.0f} s: "
            f"{equal} random cells cost the same"
        )
        return self.plan.config.num_random or equal

    def _select(self, method, trained):
        values = [each["valid"] for each in trained]
        index = scores.best(values, self.plan.better)
        shown = ", ".join(scores.shown(value, self.plan.metric) for value in values)
        self.say(f"validation {self.plan.metric} of {results.CELLS[method]}: {shown}; selected: number {index}")
        return index

    def _evaluate(self, cells):
        runs = {method: self.plan.evaluations(method, cell) for method, cell in cells.items()}
        in_turn = [run for pair in zip(*runs.values(), strict=True) for run in pair]
        self._all(in_turn, "full training runs of the two selected cells")
        metric = self.plan.metric
        return {key: [results.evaluation(self.path, run, metric) for run in each] for key, each in runs.items()}


def random_cells(like: Genotype, primitives: Sequence[str] | None, count: int, seed: int) -> list[Genotype]:
    """Draws distinct cells uniformly from the space of a cell; the first ones do not depend on the count.

    Args:
        like: A cell of the space.
        primitives: The space's operations; None for the usual ones.
        count: How many; fewer if the space has no more.
        seed: Determines all randomness here.
    """
    prior, random = load_prior(None, space_of(like, primitives)), np.random.default_rng(seed)
    cells: list[Genotype] = []
    while len(cells) < count:
        found = propose(prior, 1.0, cells, (), 0.0, random)
        if found is None:
            break
        cells.append(found)
    return cells
