"""Training a derived network, from a genotype to a network that can be evaluated and exported, over any domain."""

import contextlib
import functools
import math
import time
from collections.abc import Iterable
from typing import Any, TextIO

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf import genotypes
from darts_tf.bilevel.domain import Domain
from darts_tf.bilevel.optimizers import assign
from darts_tf.bilevel.step import TrainStep
from darts_tf.cluster import distribution
from darts_tf.cluster.distribution import Distribution, same
from darts_tf.config import TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.pipeline import untuned
from darts_tf.engine.callbacks import Callbacks, listed
from darts_tf.engine.console import printer
from darts_tf.engine.phases import Phases
from darts_tf.engine.reporting import Reporter
from darts_tf.engine.session import run, session
from darts_tf.runs import scores
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.system import keras_settings
from darts_tf.system.errors import UserError
from darts_tf.system.types import Path
from darts_tf.tasks import domains
from darts_tf.tasks.trained import load_network, save_network

ROLLBACK_SEED = 2**32  # added by each roll-back to the seed of what is dropped


class TrainTask:
    """One training in the form that the loop runs, see `loop.Task`.

    Deviation: the original language model's training catches every error, including Ctrl-C, returns to its best weights
    and continues, without limit. Here only a number that is not finite sends it back to the last checkpoint, at most
    `config.max_rollbacks` times, with a lower rate (from the second step on if weights are averaged, see `asgd_update`)
    and different masks, and this is reported.
    """

    rollbacks = 0

    def __init__(
        self,
        config: TrainConfig | LanguageTrainConfig,
        domain: Domain,
        workdir: WorkDir,
        reporter: Reporter,
        distribution: Distribution | None = None,
        until: int | None = None,
    ):
        self.config, self.domain, self.workdir, self.reporter = config, domain, workdir, reporter
        self.until = until or config.epochs
        self.distribution, self.epoch_steps, self.splits = distribution, domain.epoch_steps, domain.splits
        self.describe_data, self.max_rollbacks = domain.describe, domain.max_rollbacks
        self.network = domain.network()
        self.step = TrainStep(self.network, config, domain, distribution=distribution)
        self.variables = self.step.variables
        self.averaging = False
        self.figures: list[float] = []  # `Domain.figure` of the epochs so far
        self._phases = Phases(config, reporter, self.variables, domain.longest, distribution)
        self._epoch_start = time.monotonic()

    @property
    def _figure(self):
        return f"valid_{self.domain.figure}"

    @property
    def finished(self) -> bool:
        """Whether the epochs due now have been trained."""
        return len(self.figures) >= self.until

    def resumed(self, history: list[dict]) -> None:
        """Restores the figures of earlier epochs from their records, and so whether weights are averaged."""
        self.figures = figures = [record[self._figure] for record in history]
        counts = range(min(len(figures), self.config.epochs - 1) + 1)  # averaging cannot start after the last epoch
        self.averaging = any(self.domain.averages_after(figures[:count]) for count in counts)

    def start(self, step: int) -> None:
        """Opens the data and the stream of step numbers, which seed what is dropped."""
        if self.rollbacks:
            rate = self.domain.rate(0, self.rollbacks)
            self.reporter.message(f"learning rate {rate:g} after {self.rollbacks} of {self.max_rollbacks} roll-backs")
        self.domain.open(step)
        self._numbers = iter(untuned(tf.data.Dataset.range(step, tf.int64.max)))

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes steps."""
        averaging, dtype = self.averaging, self.network.compute_dtype

        def step(piece, number, now):
            return self.step(piece, number, *now, averaging)

        rate, drop_path = self.domain.rate(epoch, self.rollbacks), self.domain.drop_path(epoch)
        seed = tf.constant(self.config.seed + self.rollbacks * ROLLBACK_SEED, tf.int64)
        now = tf.constant(rate, dtype), tf.constant(drop_path, dtype), seed
        streams = [*self.domain.streams(epoch), self._numbers]
        return self._phases.run(averaging, step, list(self.domain.reported), streams, count, now)

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """See `Domain.means`."""
        return self.domain.means(sums)

    def evaluate(self, test: bool = False) -> dict[str, float]:
        """Measures the current network, with the averaged weights once there are any."""
        with self._averaged_weights():
            return self.domain.evaluate(self.network, test, self.reporter.graph)

    def end_epoch(self, epoch: int) -> dict:
        """Evaluates; keeps the network if it is the best so far."""
        found = same(self.distribution, self.evaluate())
        added = {"learning_rate": self.domain.rate(epoch, self.rollbacks)}
        added |= self.domain.epoch_facts(epoch, self.averaging)
        added |= {f"valid_{name}": value for name, value in found.items()}
        self.figures.append(added[self._figure])
        if scores.best(self.figures, self.config.better) == len(self.figures) - 1:
            self.save("best")
        more = epoch + 1 < self.config.epochs
        if more and not self.averaging and self.domain.averages_after(self.figures):
            self.averaging = True
            self.reporter.message(f"averaging the weights from epoch {epoch + 2} on: the validation loss has stalled")
        added["seconds"] = round(time.monotonic() - self._epoch_start, 3)
        self._epoch_start = time.monotonic()
        return added

    def save(self, name: str) -> None:
        """Writes the network as a `.keras` file, with the averaged weights once there are any."""
        with self._averaged_weights():
            save_network(self.network, self.workdir.path / f"{name}.keras")

    @contextlib.contextmanager
    def _averaged_weights(self):
        """Temporarily puts the averaged weights, once there are any, into the network."""
        if not self.averaging:
            yield
            return
        own = [v.numpy() for v in self.network.weight_variables]
        try:
            assign(self.network.weight_variables, self.step.averages)
            yield
        finally:
            assign(self.network.weight_variables, own)

    def summary(self, history: list[dict]) -> dict:
        """Returns the results of a finished training; see `train`."""
        domain, watched = self.domain, self.domain.held_out
        records = {"best": history[scores.best([each[self._figure] for each in history], self.config.better)]}
        records["last"] = history[-1]
        found = {
            which: {name.removeprefix("valid_"): value for name, value in record.items() if name.startswith("valid_")}
            | {"epoch": record["epoch"]}
            for which, record in records.items()
        }
        if domain.tests_at_the_end and self.until == self.config.epochs:
            tested = {"last": self.evaluate(test=True)}
            tested["best"] = tested["last"]
            if records["best"] is not records["last"]:
                best = load_network(self.workdir.path / "best.keras")
                tested["best"] = domain.evaluate(best, test=True)
            for which, measured in tested.items():
                found[which] |= {f"test_{name}": value for name, value in measured.items()}
        recommended = "best" if watched == "validation" else "last"
        chosen = found[recommended]  # bits per character may have been requested later
        valid = {f"valid_{name}": chosen.get(name) if watched == "validation" else None for name in domain.measures}
        last = {name: chosen.get(name) if watched == "test" else None for name in domain.measures}
        return {
            "metric": self.config.metric,
            "better": self.config.better,
            "parameters": self.network.parameters,
            "epochs": len(history),
            "seconds": round(math.fsum(record["seconds"] for record in history), 1),
            **domain.facts(self.network, history, self.rollbacks),
            "selected_on": watched,
            "recommended_weights": recommended,
            **valid,
            **{f"test_{name}": chosen.get(f"test_{name}", value) for name, value in last.items()},
            **found,
            "genotype": self.network.genotype.to_json(),
        }


def train(
    config: TrainConfig | LanguageTrainConfig,
    workdir: Path,
    out: TextIO | None = None,
    until: int | None = None,
    data: Any = None,
    callbacks: Iterable[Any] = (),
) -> dict[str, Any] | None:
    """Trains a derived network, or resumes an interrupted training in the same work directory.

    Writes `best.keras` and `last.keras`, `genotype.json`, `data.json` (what inference needs to know about the data),
    for a text `vocabulary.txt`, `summary.json`, and the files that `workdir` describes.

    For arguments and errors see `api.runs.train`; `out` is standard output by default. With `until`, the training
    pauses after this many of `config.epochs` epochs, to which all schedules refer; another call continues as if there
    had been no pause. If one of the `callbacks` stops the training, the network is tested and saved as it is.

    Returns:
        The contents of `summary.json`, or None if the training was interrupted: the same call resumes it. After a
        pause, the same for the epochs so far, without a test. `metric` and `better`: how networks are compared;
        `parameters`, `epochs`, `seconds` of all epochs, see also `Domain.facts`; `genotype`; `selected_on` and
        `recommended_weights`: the best epoch if validation data decide which it is, otherwise the last, since the best
        epoch by test data would look better than it is. `best` and `last` hold `epoch`, the measurements after that
        epoch and, if there are test data that were not measured after each epoch, `test_accuracy` and so on;
        `valid_accuracy` and `test_accuracy`, or the same for perplexity and bits per character, are those of the
        recommended weights, None if not measured.
    """
    keras_settings.check_mode()
    if until is not None and not 1 <= until <= config.epochs:
        raise UserError(f"until must be at least 1 and at most epochs={config.epochs}. Received: until={until}.")
    config, callbacks = domains.given(config, data), listed(callbacks, config.strategy)
    shared = distribution.of(config)
    genotype = genotypes.load(config.genotype, config.space)
    config = config.replace(genotype=genotype.to_text())  # a file may be gone or changed when the run is resumed
    domain = domains.of(config, data).load(printer(out))

    build = functools.partial(TrainTask, config, domain, distribution=shared, until=until)
    with session(config, workdir, "network", build, domain, out, shared) as (task, directory, reporter):
        genotypes.save(genotype, directory.path / "genotype.json")
        draw(genotype, directory.plots, reporter.message)
        own = Callbacks(callbacks, task.network, config.epochs)
        loop = run(task, directory, config, reporter, shared, own)
        if loop is None:
            return None
        if task.until < config.epochs:
            reporter.message(f"paused after {len(loop.history)} of {config.epochs} epochs")
            return task.summary(loop.history)
        task.save("last")
        with reporter.working("testing", "tested") if domain.tests_at_the_end else contextlib.nullcontext():
            summary = task.summary(loop.history)
        write_json(directory.path / "summary.json", summary)
        own.end()
    return summary
