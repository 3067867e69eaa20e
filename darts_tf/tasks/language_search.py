"""The search for a recurrent cell, from a config to a genotype; see `search` for convolutional ones."""

import math

import numpy as np

from darts_tf.system.keras_settings import keras, tf
from darts_tf import genotypes
from darts_tf.cluster import agreement, distribution
from darts_tf.data.text import windows
from darts_tf.engine import memory
from darts_tf.engine.console import printer
from darts_tf.engine.loop import Diverged, steps_in_graph
from darts_tf.engine.session import run, session
from darts_tf.passes.loss_scale import reported
from darts_tf.spaces.recurrent.cells import ACTIVATIONS
from darts_tf.spaces.recurrent.networks import RecurrentSupernet
from darts_tf.system.errors import UserError
from darts_tf.tasks.language_data import TextData, TextStream, check_facts, save_facts, tell_unknown
from darts_tf.tasks.language_evaluation import LanguageEvaluator, language_forward, means
from darts_tf.tasks.language_step import LanguageSearchStep
from darts_tf.tasks.searching import Searching, order_of


def build_supernet(config, vocabulary_size: int) -> RecurrentSupernet:
    """Builds the supernet of a config; its start values are a function of `config.seed`."""
    keras.utils.set_random_seed(config.seed)
    return RecurrentSupernet(
        vocabulary_size,
        config.num_units,
        config.num_nodes,
        config.concat,
        config.primitives,
        config.alpha_init,
        config.alpha_init_scale,
        "shared_norm" in config.reproduce,
    )


class LanguageSearchTask(Searching):
    """One search on a text as the loop sees it, see `loop.Task`.

    Args:
        config: A `LanguageSearchConfig`.
        data: A `TextData`.
        workdir: An opened `WorkDir`.
        reporter: A `Reporter`.
        distribution: See `step.passes`.

    Raises:
        UserError: The validation text is too short for a batch of the alphas.
    """

    cells, inputs, first_label = ("recurrent",), ("0",), 1

    def __init__(self, config, data, workdir, reporter, distribution=None):
        super().__init__(config, workdir, reporter, distribution)
        self.data, self.epoch_steps = data, data.epoch_steps
        self.alpha_rows = windows.rows(data.corpus.valid, config.batch_size, config.bptt, "the validation text")
        self.supernet = build_supernet(config, len(data.corpus.vocabulary))
        self.step = LanguageSearchStep(self.supernet, config, distribution=distribution)
        self.variables = self.step.variables
        self._text, self._loops = TextStream(data), {}
        self._evaluator = LanguageEvaluator(language_forward(self.supernet), self.supernet.initial_state)

    def rate(self, epoch: int) -> float:
        """Returns the learning rate of a window of the nominal length: always the same."""
        return self.config.learning_rate

    def describe_data(self) -> dict:
        """See `agreement.of_text`."""
        return agreement.of_text(self.data.corpus, self.data.train, self.data.watched)

    def start(self, step: int) -> None:
        """Opens the two texts and the stream of step numbers, which seed the masks.

        Deviation: the validation text is read window after window, from a zero state again where it begins anew. The
        original reads it where the training text is read, modulo its length: windows overlap, may be one word long at
        the end, and the state goes on across it.
        """
        self._text.start(step)
        plan = windows.even_plan(len(self.alpha_rows), self.config.bptt, shortest=2)
        rest = windows.batches(self.alpha_rows, plan[step % len(plan) :])
        self._others = [
            iter(rest.concatenate(windows.batches(self.alpha_rows, plan).repeat())),
            iter(tf.data.Dataset.range(step, tf.int64.max)),
        ]

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes steps; the first call builds the graph, and says so."""
        moves = epoch >= self.config.warmup_epochs
        iterators = [self._text.of(epoch), *self._others]
        rate = tf.constant(self.rate(epoch), self.supernet.compute_dtype)
        if moves not in self._loops:
            self._loops[moves] = self._build(moves, iterators, rate)
        report = self._loops[moves](iterators, tf.constant(count), rate)
        return {name: value.numpy() for name, value in report.items()}

    def _build(self, moves, iterators, rate):
        def step(train_piece, valid_piece, number, rate):
            return self.step(train_piece, valid_piece, number, rate, moves)

        names = ["loss", "nats", "length", "gradient_norm"] + (["valid_loss"] if moves else [])
        names += reported(self.config.precision)
        loop = steps_in_graph(step, names, self.config.jit_compile)
        with self.reporter.working("building the graph", "graph built"):
            built = loop.get_concrete_function(iterators, tf.constant(1), rate)
        memory.tell(
            self.reporter.message, built, self.variables, self.config, self.config.bptt, distribution=self.distribution
        )
        return loop

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """See `means`; and the loss that the alphas go down."""
        return means(sums) | ({"arch_loss": sums["valid_loss"] / sums["steps"]} if "valid_loss" in sums else {})

    def evaluate(self) -> dict[str, float]:
        """Returns loss and perplexity of the supernet on the validation text, without dropout.

        They are not numbers where the moving statistics do not suit the weights yet, which the search can do without.
        """
        try:
            found = self._evaluator(self.data.watched, self.config.bptt)
        except Diverged:
            found = {"loss": math.nan, "perplexity": math.nan}
            self.reporter.message(
                "warning: the supernet has no validation perplexity: the batch norms' moving statistics do not suit "
                "its weights yet; the search itself does not use them"
            )
        return {f"valid_{name}": found[name] for name in ("loss", "perplexity")}

    def curvature_batch(self):
        """Returns the first window of the validation text, without dropout."""
        (piece,) = windows.batches(self.alpha_rows, windows.even_plan(len(self.alpha_rows), self.config.bptt)[:1])
        inputs, labels = self.step.valid.batch(piece, tf.zeros(2, tf.int64), 0.0)
        kept = [None if mask is None else tf.ones_like(mask) for mask in inputs.masks]  # as many masks: no new trace
        return inputs._replace(masks=type(inputs.masks)(*kept)), labels

    def derive(self):
        """Returns the genotype of the present alphas; `none` is never chosen."""
        return genotypes.derive_recurrent(*self.alphas, self.config.primitives, self.config.num_nodes, self.concat)


def search(config, workdir, out=None, tensorboard=None):
    """Searches a recurrent cell, or goes on with an interrupted search; arguments and errors as in `search.search`.

    Args:
        config: A `LanguageSearchConfig`.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Returns:
        The genotype, or None when it was interrupted: the same call goes on.

    Raises:
        UserError: See `search.search`.
    """
    shared = distribution.of(config)
    for name in config.primitives:
        if name not in ACTIVATIONS:
            raise UserError(f"Unknown primitive. Expected some of: {', '.join(ACTIVATIONS)}. Received: {name!r}.")
    data = TextData(config, say=printer(out))
    corpus, total = data.corpus, sum(data.epoch_steps)

    def build(directory, reporter):
        check_facts(directory.path, corpus)
        return LanguageSearchTask(config, data, directory, reporter, shared)

    opened = session(config, workdir, total, "supernet", build, "supernet validation", out, tensorboard, shared)
    with opened as (task, directory, reporter):
        save_facts(directory.path, corpus)
        reporter.message(
            f"{corpus.name}: {data.train.size:,} words train the weights, {task.alpha_rows.size:,} the alphas; "
            f"vocabulary of {len(corpus.vocabulary):,}; supernet of {task.supernet.parameters:,} weights; "
            f"{total} steps, {order_of(config)}"
        )
        tell_unknown(corpus, config.vocabulary_size, reporter.message)
        if run(task, directory, config, reporter, shared) is None:
            return None
        return task.finish()
