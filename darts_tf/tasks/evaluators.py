"""How good a network is on held-out data: what is measured of images, and what of a text; throughput."""

import collections
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel.objective import count_correct, cross_entropy
from darts_tf.data.text import windows
from darts_tf.data.text.corpus import EOS, UNKNOWN, Vocabulary, silent
from darts_tf.engine.console import PLAIN_SECONDS
from darts_tf.engine.loop import Diverged

TOP = 5
LARGEST = 88.0  # nats of which the exponential is still a float32; a guess among all words has 7 to 11


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
        """Returns the rate; None after one batch only."""
        return self._timed / max(time.monotonic() - self._start, 1e-9) if self._timed else None


class Evaluator:
    """Runs a network over batches of images and adds up.

    Args:
        forward: `(images) -> logits`; traced once for each batch size.
    """

    def __init__(self, forward: Callable):
        self.forward = forward
        self._count = tf.function(self._counts, autograph=False, reduce_retracing=True)

    def _counts(self, batch, labels):
        logits = self.forward(batch)
        counts = {"accuracy": count_correct(logits, labels)}
        if logits.shape[-1] > TOP:
            top = tf.math.in_top_k(labels, tf.cast(logits, tf.float32), TOP)
            counts["top5_accuracy"] = tf.reduce_sum(tf.cast(top, tf.int32))
        return cross_entropy(logits, labels), counts

    def __call__(self, batches: Iterable) -> dict[str, Any]:
        """Evaluates.

        Args:
            batches: Of `(images, labels (N,))`; the last may be smaller.

        Returns:
            `loss` (nats), `accuracy` and, of more than five classes, `top5_accuracy` (0 to 1), `examples`, and
            `images_per_second` without the first batch (None if there is one batch only).
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
        measured = {name: value / count for name, value in sums.items()}
        return measured | {"examples": count, "images_per_second": throughput.rate()}


class LanguageEvaluator:
    """Runs a language model along a text, its state carried from window to window.

    Args:
        forward: `(tokens (steps, batch), state) -> (logits, state)`; traced once for each batch size.
        initial_state: `(batch size) -> state` at the start of a text.
    """

    def __init__(self, forward: Callable, initial_state: Callable):
        self.forward, self.initial_state = forward, initial_state
        self._step = tf.function(self._window, autograph=False, reduce_retracing=True)

    def _window(self, tokens, targets, state):
        logits, state = self.forward(tokens, state)
        return cross_entropy(tf.cast(logits, tf.float32), targets), state

    def __call__(self, rows: np.ndarray, bptt: int, say: Callable[[str], None] = silent) -> dict[str, float]:
        """Evaluates.

        Args:
            rows: `(steps, batch)` word numbers, see `windows.rows`; every word but the first of a row is predicted.
            bptt: Steps at a time; no matter for the result.
            say: Is given a line about the progress now and then.

        Returns:
            `loss` (nats per word), `perplexity`, `words`, and `words_per_second` without the first window (None if
            there is one only).

        Raises:
            Diverged: The perplexity is not finite.

        Deviation: the mean is over the words that are predicted; the original divides by one word more in each row.
        """
        state, nats, throughput, said = self.initial_state(rows.shape[1]), 0.0, _Throughput(), time.monotonic()
        window = tf.TensorSpec((None, rows.shape[1]), tf.int32)
        step = self._step.get_concrete_function(window, window, state)  # for windows of any length
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
        data: `count -> batches` of `(inputs, labels)`: so many of them, or all for 0; few are kept in memory.
        start: The state at the start; none for images.
    """

    def __init__(self, forward: Callable, data: Callable[[int], Iterable], start: Any = ()):
        self.forward, self.data, self.start = forward, data, start
        self._kept: dict[int, Iterable] = {}
        self._step = tf.function(self._measured, autograph=False, reduce_retracing=True)

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


def means(sums: dict[str, float]) -> dict[str, float]:
    """Returns what the steps' sums say of an epoch's training: means over words and steps, with dropout, no penalty."""
    loss = sums["nats"] / sums["length"]
    norm = sums["gradient_norm"] / sums["steps"]
    return {"train_loss": loss, "train_perplexity": perplexity(loss), "gradient_norm": norm}


def characters(vocabulary: Vocabulary) -> np.ndarray:
    """Returns how many characters each word stands for, `(len(vocabulary),)`: its own and the blank that follows.

    `<eos>` is one, the end of a line. `<unk>` has as many as it is written with: the text is taken as the network reads
    it, and what stood there is not known to it. Where all words are single characters, as in texts that are spelled
    out, each is one: the blanks between them are not part of the text.
    """
    words = vocabulary.words
    spelled = all(len(word) == 1 for word in words if word not in (EOS, UNKNOWN))
    return np.array([1 if spelled or word == EOS else len(word) + 1 for word in words])


def bits_per_character(loss: float, rows: np.ndarray, vocabulary: Vocabulary) -> float:
    """Returns a loss (nats per word) in bits per character of the words of `rows` that were predicted."""
    return loss / math.log(2) / float(np.mean(characters(vocabulary)[rows[1:]]))
