"""What searches for cells of every kind do around their steps: genotypes, drawings, the monitor, the result."""

import abc
import time

import numpy as np

from darts_tf import genotypes
from darts_tf.bilevel.curvature import AlphaCurvature
from darts_tf.cluster.distribution import same
from darts_tf.engine.monitor import Monitor
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import write_json


class Searching(abc.ABC):
    """The half of a search that does not depend on its kind of cell; see `loop.Task` for the other.

    A subclass sets `supernet`, `step` (with its `functions`), `epoch_steps` and `variables`.

    Args:
        config: A `config.Search`.
        workdir: An opened `WorkDir`.
        reporter: A `Reporter`.
        distribution: See `step.passes`.
    """

    max_rollbacks = rollbacks = 0
    cells: tuple[str, ...]  # names of the drawings, in the order of the alphas
    inputs: tuple[str, ...]  # names of the cell's inputs, as in the drawings
    first_label: int  # of the first node there

    def __init__(self, config, workdir, reporter, distribution=None):
        self.config, self.workdir, self.reporter, self.distribution = config, workdir, reporter, distribution
        self.monitor = Monitor(config, self._eigenvalue, reporter.message)
        self.genotype, self._drawn, self._curvature, self._epoch_start = None, None, None, time.monotonic()

    @abc.abstractmethod
    def rate(self, epoch: int) -> float:
        """Returns the learning rate of the weights in an epoch (from 0)."""

    @abc.abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Returns what is measured on held-out data after an epoch; no estimate of what a derived network reaches."""

    @abc.abstractmethod
    def derive(self):
        """Returns the genotype of the present alphas."""

    @abc.abstractmethod
    def curvature_batch(self):
        """Returns `(inputs, labels)` of held-out data on which the dominant eigenvalue is measured."""

    @property
    def concat(self) -> range:
        """The nodes whose outputs make the cell's."""
        c = self.config
        end = len(self.inputs) + c.num_nodes
        return range(end - (c.concat or c.num_nodes), end)

    def resumed(self, history: list[dict]) -> None:
        """Hands the records of earlier epochs to the monitor; the last one's cells are drawn."""
        self.monitor.resumed(history)
        self._drawn = genotypes.from_json(history[-1]["genotype"]) if history else None

    @property
    def finished(self) -> bool:
        """Whether the monitor has stopped the search."""
        return self.monitor.stopped is not None

    def end_epoch(self, epoch: int, record: dict) -> dict:
        """Evaluates the supernet, derives the epoch's genotype, writes and draws it, looks after the search."""
        added = {"learning_rate": self.rate(epoch), **same(self.distribution, self.evaluate())}
        self.genotype = self.derive()
        write_json(self.workdir.genotypes / f"epoch_{epoch + 1:03d}.json", self.genotype.to_json())
        self.draw(epoch + 1)
        alphas = dict(zip(self.genotype.cells, self.supernet.arch_variables, strict=True))
        added |= self.monitor.end_epoch(epoch + 1, self.genotype, alphas, self.config.primitives)
        added["seconds"] = round(time.monotonic() - self._epoch_start, 3)
        self._epoch_start = time.monotonic()
        return added | {"genotype": self.genotype.to_json()}

    def _eigenvalue(self) -> float:
        if self._curvature is not None:
            return self._curvature()
        self._curvature = AlphaCurvature(self.step.functions, self.curvature_batch())
        with self.reporter.working("building the eigenvalue's graph", "dominant eigenvalue, with its graph,"):
            return self._curvature()

    def draw(self, epoch: int) -> None:
        """Shows the mixing weights, and draws the cells when they have changed."""
        labels = [str(self.first_label + node) for node in range(self.config.num_nodes)]
        states = [*self.inputs, *labels]
        edges = [f"{s}->{label}" for n, label in enumerate(labels) for s in states[: n + len(self.inputs)]]
        for name, weights in zip(self.cells, self.supernet.mixing_weights(), strict=True):
            self.reporter.alphas(epoch, name, weights.numpy(), edges, self.config.primitives)
        if self.genotype == self._drawn:
            return
        draw(self.genotype, self.workdir.plots, self.reporter.message)
        self._drawn = self.genotype
        for name in self.cells:
            picture = self.workdir.plots / f"{name}.png"
            self.reporter.drawing(epoch, name, picture if picture.exists() else None)

    def result(self):
        """Returns the genotype that the search has found: the present one, or the one that the monitor names."""
        stopped = self.monitor.stopped
        if stopped is None:
            return self.derive()
        path = self.workdir.genotypes / f"epoch_{stopped.epoch:03d}.json"
        self.reporter.message(
            f"stopped early, after epoch {stopped.seen} of {self.config.epochs}: the dominant eigenvalue has grown "
            f"{stopped.ratio:.2f}-fold; the result is the genotype of epoch {stopped.epoch}, {path}"
        )
        return genotypes.load(path)

    def finish(self):
        """Writes and draws what the search has found; returns it."""
        genotype = self.result()
        genotypes.save(genotype, self.workdir.path / "genotype.json")
        draw(genotype, self.workdir.plots, self.reporter.message)
        return genotype

    @property
    def alphas(self) -> list:
        """The alphas as arrays."""
        return [np.asarray(a) for a in self.supernet.arch_variables]


def order_of(config) -> str:
    """Returns how a search's alphas are trained, in words."""
    return f"{config.order} order" + (f", {config.hvp.replace('_', ' ')}" if config.order == "second" else "")
