"""Training a derived recurrent cell as a language model; see `classification` for networks on images."""

import contextlib
import math
import time

import numpy as np

from darts_tf.system.keras_settings import keras, tf
from darts_tf import genotypes
from darts_tf.bilevel.optimizers import assign
from darts_tf.cluster import agreement, distribution
from darts_tf.cluster.distribution import same
from darts_tf.data.text import windows
from darts_tf.data.text.corpus import silent
from darts_tf.engine import memory
from darts_tf.engine.console import printer
from darts_tf.engine.loop import steps_in_graph
from darts_tf.engine.session import run, session
from darts_tf.passes.loss_scale import reported
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import write_json
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.tasks.language_data import TextData, TextStream, check_facts, save_facts, tell_unknown
from darts_tf.tasks.language_evaluation import LanguageEvaluator, bits_per_character, language_forward, means
from darts_tf.tasks.language_step import LanguageTrainStep
from darts_tf.tasks.trained import load_network, save_network

ROLLBACK_SEED = 2**32  # what each roll-back adds to the seed of the masks


def triggers(losses: list[float], nonmono: int) -> bool:
    """Returns whether averaging starts after the last of some epochs: the non-monotone trigger.

    Args:
        losses: Validation losses of the epochs so far.
        nonmono: Averaging starts when the last loss is above the least of those before it, but for the `nonmono` epochs
            just before; never for 0.

    Source: `rnn/train.py`; Merity et al., arXiv:1708.02182, algorithm 1.
    """
    *before, last = losses or [math.nan]
    return bool(nonmono) and len(before) > nonmono and last > min(before[:-nonmono])


class Data(TextData):
    """The text of a training, with windows of many lengths.

    Args:
        config: A `LanguageTrainConfig`.
        say: See `text.load_folder`.

    Attributes:
        test: Rows of the test text, `(steps, test_batch_size)`; fewer rows where it is short.

    Raises:
        UserError: See `TextData`.
    """

    def __init__(self, config, say=silent):
        super().__init__(config, config.bptt_deviation, say)
        self.test = windows.evaluation_rows(self.corpus.test, config.test_batch_size, config.bptt, "the test text")


class LanguageTrainTask:
    """One training as the loop sees it, see `loop.Task`.

    Deviation: the original catches whatever goes wrong, Ctrl-C too, goes back to its best weights and carries on, for
    ever. Here only a number that is not finite sends it back, to the last checkpoint, `config.max_rollbacks` times,
    with a lower rate (from the second step on where weights are averaged, see `asgd_update`) and other masks, and that
    is said.

    Args:
        config: A `LanguageTrainConfig`.
        data: A `Data`.
        workdir: An opened `WorkDir`.
        reporter: A `Reporter`.
        distribution: See `step.passes`.
    """

    rollbacks = 0
    finished = False

    def __init__(self, config, data, workdir, reporter, distribution=None):
        self.config, self.data, self.workdir, self.reporter = config, data, workdir, reporter
        self.distribution = distribution
        self.epoch_steps, self.max_rollbacks = data.epoch_steps, config.max_rollbacks
        keras.utils.set_random_seed(config.seed)
        self.network = RecurrentNetwork(config.genotype, len(data.corpus.vocabulary), config.num_units)
        self.step = LanguageTrainStep(self.network, config, distribution=distribution)
        self.variables = self.step.variables
        self.averaging, self.losses = False, []  # the validation losses of the epochs so far
        self.evaluator = LanguageEvaluator(language_forward(self.network), self.network.initial_state)
        self._text, self._loops, self._epoch_start = TextStream(data), {}, time.monotonic()

    @property
    def rate(self) -> float:
        """The learning rate of a window of the nominal length."""
        return self.config.learning_rate * self.config.rollback_rate**self.rollbacks

    def resumed(self, history: list[dict]) -> None:
        """Learns from the records of earlier epochs how good they were, and so whether weights are averaged."""
        self.losses = losses = [record["valid_loss"] for record in history]
        counts = range(min(len(losses), self.config.epochs - 1) + 1)  # after the last epoch there is nothing to average
        self.averaging = any(triggers(losses[:count], self.config.nonmono) for count in counts)

    def describe_data(self) -> dict:
        """See `agreement.of_text`."""
        return agreement.of_text(self.data.corpus, self.data.train, self.data.watched)

    def start(self, step: int) -> None:
        """Opens the text and the stream of step numbers, which seed the masks."""
        if self.rollbacks:
            self.reporter.message(
                f"learning rate {self.rate:g} after {self.rollbacks} of {self.max_rollbacks} roll-backs"
            )
        self._text.start(step)
        self._numbers = iter(tf.data.Dataset.range(step, tf.int64.max))

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes steps; the first call builds the graph, and says so, as does the first one that averages."""
        seed = tf.constant(self.config.seed + self.rollbacks * ROLLBACK_SEED, tf.int64)
        now = tf.constant(self.rate, self.network.compute_dtype), seed
        iterators = [self._text.of(epoch), self._numbers]
        if self.averaging not in self._loops:
            self._loops[self.averaging] = self._build(self.averaging, iterators, now)
        report = self._loops[self.averaging](iterators, tf.constant(count), now)
        return {name: value.numpy() for name, value in report.items()}

    def _build(self, averaging, iterators, now):
        def step(piece, number, now):
            rate, seed = now
            return self.step(piece, rate, tf.stack([seed, number]), averaging)

        names = ["loss", "nats", "length", "gradient_norm", *reported(self.config.precision)]
        loop = steps_in_graph(step, names, self.config.jit_compile)
        with self.reporter.working("building the graph", "graph built"):
            built = loop.get_concrete_function(iterators, tf.constant(1), now)
        longest = round(self.config.bptt + 2 * self.config.bptt_deviation)  # nearly: some windows are longer
        memory.tell(self.reporter.message, built, self.variables, self.config, longest, distribution=self.distribution)
        return loop

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """See `means`."""
        return means(sums)

    def evaluate(self, rows, evaluator=None) -> dict[str, float]:
        """Returns loss, perplexity and (where asked) bits per character on rows of a text, without dropout.

        The network is the present one, with the averaged weights once there are any, unless a `LanguageEvaluator` of
        another is given.
        """
        with self.averaged_weights():
            found = (evaluator or self.evaluator)(rows, self.config.bptt)
        measured = {name: found[name] for name in ("loss", "perplexity")}
        if self.config.bits_per_character:
            measured["bits_per_character"] = bits_per_character(found["loss"], rows, self.data.corpus.vocabulary)
        return measured

    def end_epoch(self, epoch: int, record: dict) -> dict:
        """Evaluates, with the averaged weights once there are any; keeps the network if it is the best so far."""
        found = same(self.distribution, self.evaluate(self.data.watched))
        added = {"learning_rate": self.rate, "averaged": int(self.averaging)}
        added |= {f"valid_{name}": value for name, value in found.items()}
        if added["valid_loss"] < min(self.losses, default=math.inf):
            self.save("best")
        self.losses.append(added["valid_loss"])
        goes_on = epoch + 1 < self.config.epochs
        if goes_on and not self.averaging and triggers(self.losses, self.config.nonmono):
            self.averaging = True
            self.reporter.message(
                f"from epoch {epoch + 2} on the weights are averaged: the validation loss has stalled"
            )
        added["seconds"] = round(time.monotonic() - self._epoch_start, 3)
        self._epoch_start = time.monotonic()
        return added

    def save(self, name: str) -> None:
        """Writes the network as a `.keras` file, with the averaged weights once there are any."""
        with self.averaged_weights():
            save_network(self.network, self.workdir.path / f"{name}.keras")

    @contextlib.contextmanager
    def averaged_weights(self):
        """Puts the averaged weights, once there are any, into the network for a while."""
        if not self.averaging:
            yield
            return
        own = [v.numpy() for v in self.network.weight_variables]
        try:
            assign(self.network.weight_variables, self.step.averages)
            yield
        finally:
            assign(self.network.weight_variables, own)


def train(config, workdir, out=None, tensorboard=None):
    """Trains a derived network, or goes on with an interrupted training in the same work directory.

    Leaves `best.keras` and `last.keras`, `genotype.json`, `vocabulary.txt`, `data.json`, `summary.json`, and what
    `workdir` describes.

    Args:
        config: A `LanguageTrainConfig`.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Returns:
        What `summary.json` holds, see `summary_of`; or None when it was interrupted: the same call goes on.

    Raises:
        UserError: Bad settings, genotype, text or work directory, a full disk, or a loss that is not finite; one line.
    """
    shared = distribution.of(config)
    genotype = genotypes.load(config.genotype, config.cell)
    config = config.replace(genotype=genotype.to_text())  # a file may be gone, or another, when the run is resumed
    data = Data(config, printer(out))
    corpus, total = data.corpus, sum(data.epoch_steps)

    def build(directory, reporter):
        check_facts(directory.path, corpus)
        return LanguageTrainTask(config, data, directory, reporter, shared)

    opened = session(config, workdir, total, "network", build, "validation", out, tensorboard, shared)
    with opened as (task, directory, reporter):
        save_facts(directory.path, corpus)
        genotypes.save(genotype, directory.path / "genotype.json")
        draw(genotype, directory.plots, reporter.message)
        reporter.message(
            f"{corpus.name}: {data.train.size:,} training words, {data.watched.size:,} validation words, vocabulary of "
            f"{len(corpus.vocabulary):,}; network of {task.network.parameters:,} weights; {total} steps"
        )
        tell_unknown(corpus, config.vocabulary_size, reporter.message)
        loop = run(task, directory, config, reporter, shared)
        if loop is None:
            return None
        task.save("last")
        with reporter.working("testing", "tested"):
            summary = summary_of(task, loop.history)
        write_json(directory.path / "summary.json", summary)
    return summary


def summary_of(task, history) -> dict:
    """Says what a finished run found.

    Args:
        task: Of the run.
        history: The records of all epochs.

    Returns:
        `metric` and `better`: which way it is compared; `parameters`, `vocabulary`, `unknown_words` (their shares of
        the words of each split), `epochs`, `seconds` of all epochs, `rollbacks`, `averaged_from` (an epoch, or None),
        `genotype`, `recommended_weights`. `best` and `last` hold `epoch`, `loss`, `perplexity` (of the validation
        text), `test_loss` and `test_perplexity`, and bits per character where asked; `valid_perplexity` and
        `test_perplexity`, and bits per character, are those of the recommended weights.
    """
    test = task.data.test
    tested = {"last": task.evaluate(test)}
    records = {"best": min(history, key=lambda record: record["valid_loss"]), "last": history[-1]}
    if records["best"] is records["last"]:
        tested["best"] = tested["last"]
    else:
        network = load_network(task.workdir.path / "best.keras", RecurrentNetwork)
        tested["best"] = task.evaluate(test, LanguageEvaluator(language_forward(network), network.initial_state))
    found = {
        which: {name.removeprefix("valid_"): value for name, value in record.items() if name.startswith("valid_")}
        | {f"test_{name}": value for name, value in tested[which].items()}
        | {"epoch": record["epoch"]}
        for which, record in records.items()
    }
    measures = ["perplexity"] + ["bits_per_character"] * task.config.bits_per_character
    return {
        "metric": task.config.metric,
        "better": task.config.better,
        "parameters": task.network.parameters,
        "vocabulary": task.network.vocabulary_size,
        "unknown_words": task.data.corpus.unknown_words,
        "epochs": task.config.epochs,
        "seconds": round(math.fsum(record["seconds"] for record in history), 1),
        "rollbacks": task.rollbacks,
        "averaged_from": next((record["epoch"] for record in history if record["averaged"]), None),
        "selected_on": "validation",
        "recommended_weights": "best",
        **{f"valid_{name}": found["best"].get(name) for name in measures},  # bits may have been asked for later
        **{f"test_{name}": found["best"][f"test_{name}"] for name in measures},
        **found,
        "genotype": task.network.genotype.to_json(),
    }
