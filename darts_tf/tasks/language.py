"""Language as a domain, in one file because a domain is one unit: what runs read, what steps do, what is measured."""

import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel import optimizers
from darts_tf.bilevel.domain import Domain, Show
from darts_tf.bilevel.objective import Told, cross_entropy
from darts_tf.cluster.agreement import checksum
from darts_tf.data.pipeline import unconverted
from darts_tf.data.text import windows
from darts_tf.data.text.windows import DRAWN, START
from darts_tf.engine.loop import Diverged
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.losses import penalty
from darts_tf.spaces.recurrent.networks import Inputs
from darts_tf.system.types import Tensors
from darts_tf.tasks.evaluators import (
    Evaluators,
    LanguageEvaluator,
    SupernetEvaluator,
    bits_per_character,
    language_forward,
    perplexity,
)
from darts_tf.tasks.language_data import check_facts, load, save_facts, unknown_lines

FIRST_PASS = 1000  # of the original's masks: those of pass n are drawn with this number plus n


class Measured(NamedTuple):
    """Results of a pass over a window in addition to its derivatives; not the logits, which are large.

    Attributes:
        entropy: Mean cross-entropy in nats per word, without the penalties.
        state: The state at the end of the window, `(batch, units)`.
    """

    entropy: tf.Tensor
    state: tf.Tensor


class Text(Domain):
    """A text as rows, and how a step reads them: the common part of searches and trainings.

    Attributes:
        corpus: A `corpus.Corpus`.
        train: Rows of the training text, `(steps, batch_size)`.
        watched: Rows of the validation text, `(steps, valid_batch_size)`; fewer rows if it is short.

    Raises:
        UserError: The text is missing, bad or too short.
    """

    output_axes = Measured(None, 0)
    reported = ("loss", "nats", "length", "gradient_norm")
    figure, deviation = "loss", 0.0

    def __init__(self, config: Any, data: Any = None):
        super().__init__(config, data)
        self.evaluators = Evaluators(LanguageEvaluator)
        self._opened: int | None = None
        self.rates = masks.Masks(
            config.dropout_embedding,
            config.dropout_input,
            config.dropout_x,
            config.dropout_hidden,
            config.dropout,
        )

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads the text, and cuts it into rows."""
        config = self.config
        self.corpus = load(config.dataset, config.data_dir, config.vocabulary_size, say, self._data)
        self._data = None
        words = self.corpus.train[: config.max_train_words or None]
        self.train = windows.rows(words, config.batch_size, config.bptt, "the training text")
        words = self.corpus.valid[: config.valid_words or None]
        self.watched = windows.evaluation_rows(words, config.valid_batch_size, config.bptt, "the validation text")
        self.epoch_steps = [len(self._plan(epoch)) for epoch in range(config.epochs)]
        self.sizes = (len(self.corpus.vocabulary),)
        self.longest = round(config.bptt + 2 * self.deviation)  # approximately: some windows are longer
        return self

    def _plan(self, epoch: int) -> np.ndarray:
        """Returns an epoch's windows, see `windows.plan`."""
        c = self.config
        return windows.plan(len(self.train), c.bptt, c.seed, epoch, deviation=self.deviation)

    def batch_axes(self, network: Any) -> Any:
        """All rows share the dropped words of the vocabulary, and the factor of the penalties."""
        return Inputs(1, 0, masks.Masks(None, 0, 0, 0, 0)), (1, None)

    def check(self, directory: pathlib.Path) -> None:
        """See `check_facts`."""
        check_facts(directory, self.corpus)

    def save(self, directory: pathlib.Path) -> None:
        """Writes `vocabulary.txt` and `data.json`."""
        save_facts(directory, self.corpus)

    def describe(self) -> dict:
        """Numbers of words, and the words in order."""
        vocabulary = self.corpus.vocabulary
        return {
            "training_words": self.train.size,
            "validation_words": self.watched.size,
            "vocabulary": len(vocabulary),
            "text": checksum(self.train, self.watched, np.frombuffer(vocabulary.to_text().encode(), np.uint8)),
        }

    def attach(self, network: Any) -> None:
        """Creates the states that are carried from window to window, for each text."""
        self._network, start = network, network.initial_state(self.config.batch_size)
        self.carried = [tf.Variable(start, trainable=False) for _ in range(2)]

    def loss(self, outputs: Any, labels: Any) -> tf.Tensor:
        """Cross-entropy in nats per word, and the penalties times a factor: `labels` are `(targets, factor)`.

        The factor is a tensor, 1 for the training text and 0 for the validation text, so that both share traces.
        """
        targets, factor = labels
        return cross_entropy(outputs.logits, targets) + factor * self._penalty(outputs)

    def _penalty(self, outputs):
        return penalty(outputs, self.config.activation_penalty, self.config.slowness_penalty)

    def measure(self, loss: tf.Tensor, outputs: Any, labels: Any) -> Any:
        """See `Measured`; the entropy is not computed again from the logits."""
        return Measured(loss - labels[1] * self._penalty(outputs), outputs.state)

    def rate_of(self, rate: tf.Tensor, piece: Any) -> tf.Tensor:
        """Proportional to the drawn length of the window."""
        return rate * tf.cast(piece[2][DRAWN], rate.dtype) / self.config.bptt

    def batch(
        self,
        piece: Any,
        seed: tf.Tensor,
        drop_path: tf.Tensor | None = None,
        held_out: bool = False,
        factor: float | None = None,
    ) -> tuple:
        """`(inputs, labels)` of `(tokens, targets, window)`, see `windows.batches` and `loss`.

        A text's first window starts from a zero state, the others from the end of the previous one.
        """
        tokens, targets, window = piece
        carried, net = self.carried[held_out], self._network
        state = tf.where(window[START] == 0, tf.zeros_like(carried), carried)
        drawn = masks.draw(seed, self.rates, self.config.batch_size, net.units, net.vocabulary_size, state.dtype)
        factor = (0.0 if held_out else 1.0) if factor is None else factor
        return Inputs(tokens, state, drawn), (targets, tf.constant(factor, state.dtype))

    def carry(self, outputs: Any, held_out: bool = False) -> None:
        """Stores the state at the end of the window."""
        self.carried[held_out].assign(outputs.state)

    def report(self, told: Told, norm: tf.Tensor, piece: Any) -> dict:
        """`loss` with the penalties, `nats` summed over time, `length`, `gradient_norm`.

        `nats / length` is the mean cross-entropy of the text, in which every word counts equally, whatever its window.
        """
        entropy, length = told.outputs.entropy, tf.shape(piece[1])[0]
        nats = entropy * tf.cast(length, entropy.dtype)
        return {"loss": told.loss, "gradient_norm": norm, "nats": nats, "length": length}

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        """Means over words and steps; the loss with dropout but without penalties."""
        loss = sums["nats"] / sums["length"]
        norm = sums["gradient_norm"] / sums["steps"]
        return {"train_loss": loss, "train_perplexity": perplexity(loss), "gradient_norm": norm}

    def open(self, step: int) -> None:
        """Opens the training text at a global step."""
        epoch = 0
        while step >= (count := self.steps_in(epoch)):
            epoch, step = epoch + 1, step - count
        self._open(epoch, step)

    def steps_in(self, epoch: int) -> int:
        """The number of its windows."""
        return self.epoch_steps[epoch] if epoch < len(self.epoch_steps) else len(self._plan(epoch))

    def streams(self, epoch: int) -> list:
        """The remaining windows of the epoch."""
        if epoch != self._opened:
            self._open(epoch, 0)
        return [self._windows]

    def _open(self, epoch, position):
        self._opened, self._windows = epoch, iter(windows.batches(self.train, self._plan(epoch)[position:]))

    def _evaluated(self, network, forward, rows, show):
        """Returns the results of `LanguageEvaluator`, without dropout."""
        return self.evaluators.of(network, forward, network.initial_state)(rows, self.config.bptt, show=show)


class SearchText(Text):
    """The text of a search: the training text trains the weights, the validation text the alphas.

    All passes over one window use the same masks, and the virtual step equals the real one: its loss has the same
    penalties. Deviation: the original draws new masks for each pass, and its virtual step omits the penalties;
    `redrawn_masks` and `plain_virtual_step` in `config.reproduce` restore that.

    Attributes:
        alpha_rows: Rows of the validation text, `(steps, batch_size)`.
    """

    held_out = "supernet validation"

    def __init__(self, config: Any, data: Any = None):
        super().__init__(config, data)
        self.space.check(config.primitives)
        self._judge: SupernetEvaluator | None = None
        limited, still = "clip_coefficient" not in config.reproduce, "still_embedding" in config.reproduce
        self.virtual_step = {"clip": config.grad_clip, "limited": limited, "still": (0,) if still else ()}

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads the text, and cuts it into rows."""
        super().load(say)
        c = self.config
        self.alpha_rows = windows.rows(self.corpus.valid, c.batch_size, c.bptt, "the validation text")
        return self

    def lines(self, network: Any) -> list[str]:
        """Sizes, and shares of unknown words."""
        about = (
            f"{self.corpus.name}: {self.train.size:,} words train the weights, {self.alpha_rows.size:,} the alphas; "
            f"vocabulary of {self.sizes[0]:,}; supernet of {network.parameters:,} weights"
        )
        return [about, *unknown_lines(self.corpus, self.config.vocabulary_size)]

    def optimizers(self, weights: Tensors) -> dict[bool, Any]:
        """Plain SGD."""
        return {False: optimizers.SGD(weights, 0.0, self.config.weight_decay)}

    def unrolled_batch(self, batch: tuple, piece: Any, seed: tf.Tensor) -> Any:
        """The batch itself, unless the original's defects are requested."""
        factor = 0.0 if "plain_virtual_step" in self.config.reproduce else 1.0
        if "redrawn_masks" not in self.config.reproduce:
            return batch[0], (batch[1][0], tf.constant(factor, batch[0].state.dtype))
        fold = tf.random.experimental.stateless_fold_in
        return lambda number: self.batch(piece, fold(seed, FIRST_PASS + number), factor=factor)

    def open(self, step: int) -> None:
        """Opens the two texts.

        Deviation: the validation text is read window after window, with a zero state whenever it starts again. The
        original reads it at the position of the training text, modulo its length: windows overlap, may be one word long
        at the end, and the state is carried across the end.
        """
        super().open(step)
        plan = windows.even_plan(len(self.alpha_rows), self.config.bptt, shortest=2)
        rest = windows.batches(self.alpha_rows, plan[step % len(plan) :])
        self._alphas = iter(rest.concatenate(windows.batches(self.alpha_rows, plan).repeat()))

    def streams(self, epoch: int) -> list:
        """The remaining windows of the training text in the epoch, and those of the validation text."""
        return [*super().streams(epoch), self._alphas]

    def rate(self, epoch: int, rollbacks: int = 0) -> float:
        """Constant, for a window of the nominal length."""
        return self.config.learning_rate

    def evaluate_supernet(
        self, supernet: Any, mixing: Callable[[], Mapping[str, Any]], say: Callable[[str], None], show: Show = None
    ) -> dict:
        """Loss and perplexity on the validation text, without dropout.

        They are not finite while the moving statistics do not suit the weights yet; the search does not need them.
        """

        def forward(tokens, state):
            outputs = supernet(tokens, state, mixing=mixing())
            return outputs.logits, outputs.state

        try:
            found = self._evaluated(supernet, forward, self.watched, show)
        except Diverged:
            found = {"loss": math.nan, "perplexity": math.nan}
            say(
                "warning: the supernet has no validation perplexity: the batch norms' moving statistics do not fit "
                "its weights yet; the search itself does not use them"
            )
        return {f"valid_{name}": found[name] for name in ("loss", "perplexity")}

    def judge(self, supernet: Any, mixing: Mapping[str, Any], batches: int = 0) -> tuple[float, float]:
        """Loss and error on the rows that train the alphas, window after window, without dropout."""

        def forward(mixing, tokens, state):
            weights = [v.value for v in supernet.weight_variables]
            outputs, _ = supernet.stateless(weights, mixing, Inputs(tokens, state))
            return outputs.logits, outputs.state

        def data(count):
            plan = windows.even_plan(len(self.alpha_rows), self.config.bptt, shortest=2)[: count or None]
            return windows.batches(self.alpha_rows, plan).map(unconverted(lambda tokens, targets, _: (tokens, targets)))

        start = supernet.initial_state(self.config.batch_size)
        self._judge = self._judge or SupernetEvaluator(forward, data, start)
        return self._judge(mixing, batches)

    def curvature_batch(self) -> tuple:
        """The first window of the validation text, without dropout."""
        (piece,) = windows.batches(self.alpha_rows, windows.even_plan(len(self.alpha_rows), self.config.bptt)[:1])
        inputs, labels = self.batch(piece, tf.zeros(2, tf.int64), held_out=True)
        kept = [None if mask is None else tf.ones_like(mask) for mask in inputs.masks]  # as many masks, so no new trace
        return inputs._replace(masks=type(inputs.masks)(*kept)), labels


class TrainText(Text):
    """The text of a training, with windows of many lengths, and its test text.

    Attributes:
        test: Rows of the test text, `(steps, test_batch_size)`; fewer rows where it is short.
    """

    held_out, tests_at_the_end = "validation", True

    def __init__(self, config: Any, data: Any = None):
        super().__init__(config, data)
        self.deviation, self.max_rollbacks = config.bptt_deviation, config.max_rollbacks
        self.measures = ("perplexity", *["bits_per_character"] * config.bits_per_character)

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads the text, and cuts it into rows."""
        super().load(say)
        config = self.config
        self.test = windows.evaluation_rows(self.corpus.test, config.test_batch_size, config.bptt, "the test text")
        return self

    def lines(self, network: Any) -> list[str]:
        """Sizes, and shares of unknown words."""
        about = (
            f"{self.corpus.name}: {self.train.size:,} training words, {self.watched.size:,} validation words, "
            f"vocabulary of {self.sizes[0]:,}; network of {network.parameters:,} weights; {sum(self.epoch_steps)} steps"
        )
        return [about, *unknown_lines(self.corpus, self.config.vocabulary_size)]

    def optimizers(self, weights: Tensors) -> dict[bool, Any]:
        """SGD, and averaged SGD."""
        decay = self.config.weight_decay
        return {False: optimizers.SGD(weights, 0.0, decay), True: optimizers.ASGD(weights, decay)}

    def rate(self, epoch: int, rollbacks: int = 0) -> float:
        """For a window of the nominal length; lower after each roll-back."""
        return self.config.learning_rate * self.config.rollback_rate**rollbacks

    def evaluate(self, network: Any, test: bool = False, show: Show = None) -> dict[str, float]:
        """Loss, perplexity and (on request) bits per character, without dropout."""
        rows = self.test if test else self.watched
        found = self._evaluated(network, language_forward(network), rows, show)
        measured = {name: found[name] for name in ("loss", "perplexity")}
        if self.config.bits_per_character:
            measured["bits_per_character"] = bits_per_character(found["loss"], rows, self.corpus.vocabulary)
        return measured

    def epoch_facts(self, epoch: int, averaging: bool) -> dict[str, float]:
        """Whether weights are averaged."""
        return {"averaged": int(averaging)}

    def averages_after(self, figures: list[float]) -> bool:
        """See `triggers`."""
        return triggers(figures, self.config.nonmono)

    def facts(self, network: Any, history: list[dict], rollbacks: int) -> dict:
        """Size of the vocabulary, fractions of unknown words, roll-backs, the epoch from which weights are averaged."""
        averaged = next((record["epoch"] for record in history if record["averaged"]), None)
        unknown = self.corpus.unknown_words
        return {
            "vocabulary": self.sizes[0],
            "unknown_words": unknown,
            "rollbacks": rollbacks,
            "averaged_from": averaged,
        }


def triggers(losses: list[float], nonmono: int) -> bool:
    """Returns whether averaging starts after the last of some epochs: the non-monotone trigger.

    Args:
        losses: Validation losses of the epochs so far.
        nonmono: Averaging starts when the last loss exceeds the lowest earlier one, ignoring the `nonmono` epochs just
            before; never for 0.

    Source: `rnn/train.py`; Merity et al., arXiv:1708.02182, algorithm 1.
    """
    *before, last = losses or [math.nan]
    return bool(nonmono) and len(before) > nonmono and last > min(before[:-nonmono])
