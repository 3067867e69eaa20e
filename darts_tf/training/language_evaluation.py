"""How good a language model is on a text: loss, perplexity, bits per character, throughput."""

import math
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.architect import cross_entropy
from darts_tf.data import windows
from darts_tf.data.text import EOS, UNKNOWN, Vocabulary
from darts_tf.training.loop import Diverged

LARGEST = 700.0  # nats of which the exponential is still a number


def perplexity(loss: float) -> float:
    """Returns exp(loss) of nats per word."""
    return math.exp(min(loss, LARGEST))


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

    def __call__(self, rows: np.ndarray, bptt: int) -> dict[str, float]:
        """Evaluates.

        Args:
            rows: `(steps, batch)` word numbers, see `windows.rows`; every word but the first of a row is predicted.
            bptt: Steps at a time; no matter for the result.

        Returns:
            `loss` (nats per word), `perplexity`, `words`, and `words_per_second` without the first window, which builds
            the graph (None if there is one only).

        Raises:
            Diverged: The loss is not finite.
        """
        state, nats, start, timed = self.initial_state(rows.shape[1]), 0.0, None, 0
        for tokens, targets, line in windows.batches(rows, windows.even_plan(len(rows), bptt)):
            mean, state = self._step(tokens, targets, state)
            length = int(line[windows.LENGTH])
            nats += float(mean) * length
            if start is None:
                start = time.monotonic()
            else:
                timed += length
        if not math.isfinite(nats):
            raise Diverged(
                f"The loss on held-out text is not finite ({nats}). Expected a number; the weights are ruined."
            )
        steps = len(rows) - 1
        rate = timed * rows.shape[1] / max(time.monotonic() - start, 1e-9) if timed else None
        found = {"loss": nats / steps, "perplexity": perplexity(nats / steps)}
        return found | {"words": steps * rows.shape[1], "words_per_second": rate}


def characters(vocabulary: Vocabulary) -> np.ndarray:
    """Returns how many characters each word stands for, `(len(vocabulary),)`: its own and the blank that follows.

    `<eos>` is one, the end of a line. Where all words are single characters, as in texts that are spelled out, each is
    one: the blanks between them are not part of the text.
    """
    words = vocabulary.words
    spelled = all(len(word) == 1 for word in words if word not in (EOS, UNKNOWN))
    return np.array([1 if spelled or word == EOS else len(word) + 1 for word in words])


def bits_per_character(loss: float, rows: np.ndarray, vocabulary: Vocabulary) -> float:
    """Returns a loss (nats per word) in bits per character of the words of `rows` that were predicted."""
    return loss / math.log(2) / float(np.mean(characters(vocabulary)[rows[1:]]))
