"""Evaluation of a network on held-out data, for images and for texts, including throughput."""

import collections
import functools
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel.domain import Show
from darts_tf.bilevel.objective import count_correct, cross_entropy
from darts_tf.data.text import windows
from darts_tf.data.text.corpus import EOS, UNKNOWN, Vocabulary
from darts_tf.engine.console import PLAIN_SECONDS
from darts_tf.engine.loop import Diverged
from darts_tf.system.streams import silent

TOP = 5
LARGEST = 88.0  # nats whose exponential still fits float32; guessing among all words has 7 to 11


class _Throughput:
    """Examples per second without the first batch, which builds the graph."""

    def __init__(self):
        self._start, self._timed = math.nan, 0

    def add(self, examples: int) -> None:
        """Counts a batch that has just been computed."""
        if math.isnan(self._start):
            self._start = time.monotonic()
        else:
            self._timed += examples

    def rate(self) -> float | None:
        """Returns the rate; None after a single batch."""
        return self._timed / max(time.monotonic() - self._start, 1e-9) if self._timed else None


def _traced(method):
    """A `tf.function` of one object's method.

    TensorFlow counts the tracings of each code, over all objects, and would warn after some: a `partial` has no code.
    """
    return tf.function(functools.partial(method), autograph=False, reduce_retracing=True)


class Evaluators:
    """An evaluator for each network, so that each is traced once.

    Args:
        make: Makes the evaluator of a network, called with what that takes.
    """

    def __init__(self, make: Callable):
        self._make = make
        self._made: dict[Any, Any] = {}

    def of(self, network: Any, *args: Any) -> Any:
        """Returns a network's evaluator, made of `args` when it is asked for the first time."""
        if network not in self._made:
            self._made[network] = self._make(*args)
        return self._made[network]


class Evaluator:
    """Runs a network over batches of images and accumulates the results.

    Args:
        forward: `(images) -> logits`; traced once for each batch size.
    """

    def __init__(self, forward: Callable):
        self.forward = forward
        self._count = _traced(self._counts)

    def _counts(self, batch, labels):
        logits = self.forward(batch)
        counts = {"accuracy": count_correct(logits, labels)}
        if logits.shape[-1] > TOP:
            top = tf.math.in_top_k(labels, tf.cast(logits, tf.float32), TOP)
            counts["top5_accuracy"] = tf.reduce_sum(tf.cast(top, tf.int32))
        return cross_entropy(logits, labels), counts

    def __call__(self, batches: Iterable, show: Show = None) -> dict[str, Any]:
        """Evaluates.

        Args:
            batches: Batches of `(images, labels (N,))`; the last may be smaller.
            show: Called with the graph of the network.

        Returns:
            `loss` (nats), `accuracy` and, with more than five classes, `top5_accuracy` (0 to 1), `examples`, and
            `images_per_second` without the first batch (None for a single batch).
        """
        count, throughput = 0, _Throughput()
        sums: dict[str, float] = collections.defaultdict(float)
        for batch, labels in batches:
            mean, counts = self._count(batch, labels)
            sums["loss"] += float(mean) * len(labels)
            for name, value in counts.items():
                sums[name] += int(value)
            count += len(labels)
            throughput.add(len(labels))
        if show is not None:
            show(self._count.get_concrete_function(batch, labels).graph)
        measured = {name: value / count for name, value in sums.items()}
        return measured | {"examples": count, "images_per_second": throughput.rate()}


class LanguageEvaluator:
    """Runs a language model over a text, carrying its state from window to window.

    Args:
        forward: `(tokens (steps, batch), state) -> (logits, state)`; traced once for each batch size.
        initial_state: `(batch size) -> state` at the start of a text.
    """

    def __init__(self, forward: Callable, initial_state: Callable):
        self.forward, self.initial_state = forward, initial_state
        self._step = _traced(self._window)

    def _window(self, tokens, targets, state):
        logits, state = self.forward(tokens, state)
        return cross_entropy(tf.cast(logits, tf.float32), targets), state

    def __call__(
        self,
        rows: np.ndarray,
        bptt: int,
        say: Callable[[str], None] = silent,
        show: Show = None,
    ) -> dict[str, float]:
        """Evaluates.

        Args:
            rows: `(steps, batch)` word numbers, see `windows.rows`; every word but the first of a row is predicted.
            bptt: Steps at a time; does not affect the result.
            say: Called with a progress line now and then.
            show: Called with the graph of the network.

        Returns:
            `loss` (nats per word), `perplexity`, `words`, and `words_per_second` without the first window (None for a
            single window).

        Raises:
            Diverged: The perplexity is not finite.

        Deviation: the mean is over the words that are predicted; the original divides by one word more in each row.
        """
        state, nats, throughput, said = self.initial_state(rows.shape[1]), 0.0, _Throughput(), time.monotonic()
        window = tf.TensorSpec((None, rows.shape[1]), tf.int32)
        step = self._step.get_concrete_function(window, window, state)  # for windows of any length
        if show is not None:
            show(step.graph)
        for tokens, targets, line in windows.batches(rows, windows.even_plan(len(rows), bptt)):
            mean, state = step(tokens, targets, state)
            length = int(line[windows.LENGTH])
            nats += float(mean) * length
            throughput.add(length * rows.shape[1])
            if time.monotonic() - said > PLAIN_SECONDS:
                said = time.monotonic()
                say(f"{(int(line[windows.START]) + length) * rows.shape[1]:,} of {rows.size:,} words")
        steps = len(rows) - 1
        if not nats / steps <= LARGEST:
            raise Diverged(
                f"The perplexity on held-out text is not finite (a loss of {nats / steps:.4g} nats per word). "
                "Expected a number; the weights have diverged. Train with a lower learning rate."
            )
        found = {"loss": nats / steps, "perplexity": perplexity(nats / steps)}
        return found | {"words": steps * rows.shape[1], "words_per_second": throughput.rate()}


class SupernetEvaluator:
    """Measures a supernet at any mixing weights over batches of images or windows of a text.

    Args:
        forward: `(mixing, inputs, state) -> (logits, state)`; traced once for each kind of batch.
        data: `count -> batches` of `(inputs, labels)`: this many, or all for 0; a few are kept in memory.
        start: The initial state; none for images.
    """

    def __init__(self, forward: Callable, data: Callable[[int], Iterable], start: Any = ()):
        self.forward, self.data, self.start = forward, data, start
        self._kept: dict[int, Iterable] = {}
        self._step = _traced(self._measured)

    def _measured(self, mixing, inputs, labels, state):
        logits, state = self.forward(mixing, inputs, state)
        return cross_entropy(logits, labels), count_correct(logits, labels), state

    def __call__(self, mixing: Any, batches: int = 0) -> tuple[float, float]:
        """Evaluates; see `Domain.judge`."""
        if batches not in self._kept:
            data = self.data(batches)
            self._kept[batches] = list(data) if batches else data
        state, nats, correct, count = self.start, 0.0, 0, 0
        for inputs, labels in self._kept[batches]:
            mean, hits, state = self._step(mixing, inputs, labels, state)
            size = math.prod(labels.shape)
            nats, correct, count = nats + float(mean) * size, correct + int(hits), count + size
        return nats / count, (count - correct) / count


def language_forward(network: Any) -> Callable:
    """Returns `(tokens, state) -> (logits, state)` of a language model, without dropout."""

    def forward(tokens, state):
        outputs = network(tokens, state)
        return outputs.logits, outputs.state

    return forward


def perplexity(loss: float) -> float:
    """Returns exp(loss) of nats per word; infinity above `LARGEST`."""
    return math.exp(loss) if loss <= LARGEST else math.inf


def bits_per_character(loss: float, rows: np.ndarray, vocabulary: Vocabulary) -> float:
    """Returns a loss (nats per word) in bits per character of the words of `rows` that were predicted.

    A word has its own characters and the following space. `<eos>` is one, the end of a line. `<unk>` has as many as its
    own spelling: the text is taken as the network reads it, and the network does not know the original word. If all
    words are single characters, as in character-level texts, each counts as one: the spaces between them are not part
    of the text.
    """
    words = vocabulary.words
    spelled = all(len(word) == 1 for word in words if word not in (EOS, UNKNOWN))
    lengths = np.array([1 if spelled or word == EOS else len(word) + 1 for word in words])
    return loss / math.log(2) / float(np.mean(lengths[rows[1:]]))
