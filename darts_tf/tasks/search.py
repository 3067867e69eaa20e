"""The search for a cell, from a config to a genotype, over any domain, space and method."""

import contextlib
import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf import genotypes, methods
from darts_tf.bilevel.curvature import AlphaCurvature
from darts_tf.bilevel.domain import Domain
from darts_tf.bilevel.step import SearchStep
from darts_tf.cluster import distribution
from darts_tf.cluster.distribution import Distribution, same
from darts_tf.config import Search
from darts_tf.data.pipeline import untuned
from darts_tf.engine.callbacks import Callbacks, listed
from darts_tf.engine.console import printer
from darts_tf.engine.monitor import Monitor
from darts_tf.engine.phases import Phases
from darts_tf.engine.reporting import Reporter
from darts_tf.engine.session import run, session
from darts_tf.genotypes import Genotype
from darts_tf.methods.method import Method
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system import keras_settings, npz
from darts_tf.system.types import Path
from darts_tf.tasks import domains, stages
from darts_tf.tasks.judgements import Judgements


class SearchTask:
    """One search in the form that the loop runs, see `loop.Task`."""

    max_rollbacks = rollbacks = 0

    def __init__(
        self,
        config: Search,
        domain: Domain,
        workdir: WorkDir,
        reporter: Reporter,
        distribution: Distribution | None = None,
    ):
        self.config, self.domain, self.workdir, self.reporter = config, domain, workdir, reporter
        self.distribution, self.epoch_steps, self.splits = distribution, domain.epoch_steps, domain.splits
        self.describe_data = domain.describe
        self.method = methods.make(config)
        self.supernet = self.network = domain.supernet(self.method)
        self.step = SearchStep(self.supernet, config, domain, distribution=distribution, method=self.method)
        self.variables = self.step.variables
        self.topology = domain.space.genotype.topology(config.num_nodes)
        if not self.method.moves_alphas:
            config = config.replace(eigenvalue=False)
        self.monitor = Monitor(config, self._eigenvalue, reporter.message)
        self._drawn: Genotype | None = None
        self._curvature: AlphaCurvature | None = None
        self._epoch_start = time.monotonic()
        self._phases = Phases(config, reporter, self.variables, domain.longest, distribution)

    def start(self, step: int) -> None:
        """Opens the data and the stream of step numbers, which seed all randomness."""
        self.domain.open(step)
        self._numbers = iter(untuned(tf.data.Dataset.range(step, tf.int64.max)))

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes steps; in warm-up epochs without the alphas."""
        return self.steps(epoch, count, self.domain.rate(epoch))

    def steps(self, epoch: int, count: int, rate: float) -> dict[str, np.ndarray]:
        """Takes steps at a given learning rate; in epochs after the last one, schedules stay at their end."""
        last = min(epoch, self.config.epochs - 1)
        moves = last >= self.config.warmup_epochs and self.method.moves_alphas

        def step(train, valid, number, now):
            return self.step(train, valid, number, *now, moves)

        dtype = self.supernet.compute_dtype
        now = tf.constant(rate, dtype), tf.constant(last, dtype)
        names = [*self.domain.reported, *(["valid_loss"] if moves else [])]
        return self._phases.run(moves, step, names, [*self.domain.streams(epoch), self._numbers], count, now)

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """See `Domain.means`; adds the loss that the alphas minimise."""
        arch = {"arch_loss": sums["valid_loss"] / sums["steps"]} if "valid_loss" in sums else {}
        return self.domain.means(sums) | arch

    def resumed(self, history: list[dict]) -> None:
        """Passes the records of earlier epochs to the monitor; the last one's cells have been drawn."""
        self.monitor.resumed(history)
        self._drawn = genotypes.from_json(history[-1]["genotype"]) if history else None

    @property
    def finished(self) -> bool:
        """Whether the monitor has stopped the search."""
        return self.monitor.stopped is not None

    def end_epoch(self, epoch: int) -> dict:
        """Evaluates the supernet, derives the epoch's genotype, writes and draws it, updates the monitor."""
        said = self.reporter.message, self.reporter.graph
        found = self.domain.evaluate_supernet(self.supernet, self._mixing, *said)
        added = {"learning_rate": self.domain.rate(epoch), **same(self.distribution, found)}
        genotype = self.derive()
        write_json(self.workdir.genotypes / f"epoch_{epoch + 1:03d}.json", genotype.to_json())
        self.keep_alphas()
        self.draw(epoch + 1, genotype)
        added |= self.method.facts(self._mixing(), genotype)
        strengths = self.strengths(np.float64)
        added |= self.monitor.end_epoch(epoch + 1, genotype, strengths, self.config.primitives)
        added["seconds"] = round(time.monotonic() - self._epoch_start, 3)
        self._epoch_start = time.monotonic()
        return added | {"genotype": genotype.to_json()}

    def keep_alphas(self) -> None:
        """Writes the current architecture variables by name, since a checkpoint only numbers them."""
        npz.write(self.workdir.path / "alphas.npz", self._alphas())

    def _mixing(self) -> Mapping[str, Any]:
        """Returns the current mixing weights as tensors, see `Method.mixing_weights`."""
        return self.method.mixing_weights(self._alphas(), None)

    def _alphas(self) -> dict[str, Any]:
        """Returns the current architecture variables as tensors."""
        return {name: v.value for name, v in self.step.functions.arch.items()}

    def relaxed(self) -> dict[str, np.ndarray]:
        """Returns the current relaxed weights, see `Method.relax`."""
        return {cell: np.asarray(rows) for cell, rows in self.method.relax(self._alphas(), None).items()}

    def strengths(self, dtype: Any = None) -> dict[str, np.ndarray]:
        """Returns the current strengths of the cells' operations, see `Method.strength`."""
        found = self.method.strength({name: np.asarray(a, dtype) for name, a in self.step.functions.arch.items()})
        return {cell: found[cell] for cell in self.domain.space.genotype.cells}

    def derive(self, chosen: Mapping[str, np.ndarray] | None = None) -> Genotype:
        """Returns the genotype of the current alphas, or of a method's choice, see `Method.choose`."""
        return self.method.derive({name: np.asarray(a) for name, a in self.step.functions.arch.items()}, chosen)

    def _eigenvalue(self) -> float:
        if self._curvature is not None:
            return self._curvature()
        self._curvature = curvature = AlphaCurvature(self.step.functions, self.domain.curvature_batch())
        with self.reporter.working("building the eigenvalue's graph", "dominant eigenvalue, with its graph,"):
            return curvature()

    def draw(self, epoch: int, genotype: Genotype) -> None:
        """Shows the strengths of the operations, and draws the cells when they have changed."""
        names = self.domain.space.genotype.names
        for cell, strength in self.strengths().items():
            self.reporter.alphas(epoch, names[cell], strength, self.topology.edge_labels, self.config.primitives)
        if genotype == self._drawn:
            return
        draw(genotype, self.workdir.plots, self.reporter.message)
        self._drawn = genotype
        for name in names.values():
            picture = self.workdir.plots / f"{name}.png"
            self.reporter.drawing(epoch, name, picture if picture.exists() else None)

    def result(self) -> Genotype | None:
        """Returns the genotype found by the search: the current one, or the one that the monitor names.

        If the method chooses it now, a signal may interrupt the choice, in which case this is None.
        """
        stopped = self.monitor.stopped
        if stopped is None:
            chooser = self.method.chooser
            return self.derive() if chooser is None else self._chosen(chooser)
        path = self.workdir.genotypes / f"epoch_{stopped.epoch:03d}.json"
        self.reporter.message(
            f"stopped early, after epoch {stopped.seen} of {self.config.epochs}: the dominant eigenvalue has grown "
            f"{stopped.ratio:.2f}-fold; the result is the genotype of epoch {stopped.epoch}, {path}"
        )
        return genotypes.load(path)

    def _chosen(self, chooser: Method) -> Genotype | None:
        """Returns the genotype that the method chooses by judging the trained supernet; None if interrupted."""
        first = [self.reporter.working("building the graph of a judgement", "first judgement")]

        def measure(weights, batches):
            mixing = {cell: tf.cast(rows, self.supernet.variable_dtype) for cell, rows in weights.items()}
            with first.pop() if first else contextlib.nullcontext():
                return self.domain.judge(self.supernet, self.method.adjust(mixing, self._alphas(), None), batches)

        judge = Judgements(self, measure)
        found = judge.of(lambda: chooser.choose(self.relaxed(), judge))
        return None if found is None else self.derive(found)


def search(
    config: Search,
    workdir: Path,
    out: TextIO | None = None,
    data: Any = None,
    callbacks: Iterable[Any] = (),
) -> Genotype | None:
    """Searches a cell, or resumes an interrupted search in the same work directory; `method=p_darts` in several stages.

    For arguments and errors see `api.runs.search`; `out` is standard output by default.

    Returns:
        The genotype, or None if the search was interrupted: the same call resumes it.
    """
    config, callbacks = domains.given(config, data), listed(callbacks, config.strategy)

    def one(own, path):
        return _search(own, path, out, data, callbacks)

    if stages.staged(config):
        methods.make(config)  # refuses contradictions before anything is written
        return stages.run(config, workdir, one, printer(out), distribution.of(config))
    found = one(config, workdir)
    return None if found is None else found[0]


def _search(config, workdir, out, data, callbacks):
    """Returns `(genotype, strengths of the operations at the end)`, see `search`."""
    keras_settings.check_mode()
    shared = distribution.of(config)
    domain = domains.of(config, data).load(printer(out))
    order = f"{config.order} order" + (f", {config.hvp.replace('_', ' ')}" if config.order == "second" else "")

    build = functools.partial(SearchTask, config, domain, distribution=shared)
    with session(config, workdir, "supernet", build, domain, out, shared) as (task, directory, reporter):
        order = order if task.method.moves_alphas else "of the weights only"
        reporter.message(f"{sum(domain.epoch_steps)} steps, {order}")
        own = Callbacks(callbacks, task.supernet, config.epochs)
        if run(task, directory, config, reporter, shared, own) is None:
            return None
        genotype = task.result()
        if genotype is None:
            return None
        genotypes.save(genotype, directory.path / "genotype.json")
        task.keep_alphas()
        draw(genotype, directory.plots, reporter.message)
        found = genotype, task.strengths()
        own.end()
        return found
