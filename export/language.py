"""The functions of a served language model, and the checks of its export; the client keeps the state.

A server keeps no state, so that any of several servers may take the next step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.data.text.corpus import EOS
from darts_tf.export.saving import Served
from darts_tf.export.verify import BATCHES, Case
from darts_tf.tasks.language_data import VOCABULARY, load_again
from darts_tf.tasks.trained import TextFacts, Trained

PADDING = -1
LENGTH = 12  # words of the texts with which an export is checked


def served(
    trained: Trained[TextFacts], data_dir: str, with_tflite: bool, say: Callable[[str], None], data: Any = None
) -> Served:
    """Returns what is needed to serve a language model.

    Args:
        trained: The model.
        data_dir: Location of the text; empty for its location in training.
        with_tflite: Has no effect: there are no TFLite files of language models.
        say: Called with progress lines.
        data: A text passed from Python code, see `memory.of_vocabulary`.

    Raises:
        UserError: The text is missing or a different one.
    """
    network, vocabulary = trained.network, trained.facts.vocabulary
    corpus = load_again(trained.config, vocabulary, data_dir, say, data)
    start = vocabulary.index[EOS]
    cases = cases_of(network, corpus.test, start)
    step = cases[0].inputs
    score, one = {"tokens": step["tokens"]}, step | {"tokens": step["tokens"][:, :1]}
    return Served(
        endpoints=lambda: trace(network, start),
        asset=VOCABULARY,
        asset_text=vocabulary.to_text(),
        cases=cases,
        requests=[("score", score), ("step", step), ("step", one)],
        data="text",
        card={
            "vocabulary": len(vocabulary),
            "units": network.units,
            "input": "step: tokens (batch, length), state (batch, units); score: tokens, with -1 after the last",
            "weights": trained.weights,
            "perplexity": trained.summary.get(trained.weights, {}),
            "parameters": network.parameters,
            "stored_numbers": None,
        },
        checks=lambda found: found["saved_model"],
    )


def trace(network: Any, start: int) -> dict:
    """Traces a language model.

    Args:
        network: The model.
        start: Index of the word before a text, `<eos>`.

    Returns:
        Concrete functions by the name of their signature. `step` takes `tokens`, `(batch, length)` int32, and `state`,
        `(batch, units)` float32 (zeros at the start), and returns `logits`, `(batch, vocabulary)`, of the next word,
        and the new `state`. `score` takes `tokens`, rows padded with -1 at the end, and returns `log_probabilities`,
        `(batch, length)`, of each word after `<eos>` and the words before it (0 for padding), and `perplexity`,
        `(batch,)`. `serving_default` is `score`.
    """
    words = network.vocabulary_size

    def checked(tokens, least):
        message = f"tokens must be word indices from {least} to {words - 1}"
        with tf.control_dependencies(
            [tf.debugging.assert_less(tokens, words, message), tf.debugging.assert_greater(tokens, least - 1, message)]
        ):
            return tf.identity(tokens)

    def step(tokens, state):
        rows = [tf.shape(tensor)[0] for tensor in (tokens, state)]
        same = tf.debugging.assert_equal(*rows, "state must have a row for each row of tokens")
        with tf.control_dependencies([same]):
            tokens = tf.identity(tokens)
        logits, state = network.next_word(tf.transpose(checked(tokens, 0)), state)
        return {"logits": tf.cast(logits, tf.float32), "state": state}

    def score(tokens):
        tokens = checked(tokens, PADDING)
        there = tf.not_equal(tokens, PADDING)
        late = tf.reduce_any(there[:, 1:] & ~there[:, :-1])
        at_end = tf.debugging.assert_equal(late, False, f"rows must be padded with {PADDING} at their ends only")
        with tf.control_dependencies([at_end]):
            following = tf.where(there, tokens, 0)
        before = tf.pad(following, [[0, 0], [1, 0]], constant_values=start)[:, :-1]
        outputs = network(tf.transpose(before), network.initial_state(tf.shape(tokens)[0]))
        logits = tf.transpose(tf.cast(outputs.logits, tf.float32), (1, 0, 2))
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(following, logits)
        nats = tf.where(there, nats, tf.zeros_like(nats))
        count = tf.maximum(tf.reduce_sum(tf.cast(there, nats.dtype), 1), 1)
        return {"log_probabilities": -nats, "perplexity": tf.exp(tf.reduce_sum(nats, 1) / count)}

    tokens = tf.TensorSpec((None, None), tf.int32, name="tokens")
    state = tf.TensorSpec((None, network.units), network.embedding.dtype, name="state")
    scored = tf.function(score, autograph=False).get_concrete_function(tokens)
    stepped = tf.function(step, autograph=False).get_concrete_function(tokens, state)
    return {"serving_default": scored, "score": scored, "step": stepped}


def cases_of(network: Any, text: np.ndarray, start: int) -> list[Case]:
    """Returns a network's outputs for pieces of a text, each starting from the state at the end of the previous one.

    Args:
        network: The language model.
        text: Word numbers.
        start: Number of the word before a text, `<eos>`.

    Returns:
        Cases of `step`, of `score`, and of `serving_default` with padded rows, all for the same words.
    """
    count = max(BATCHES)
    tokens = np.resize(text, (count, 2 * LENGTH)).astype(np.int32)
    earlier, tokens = tokens[:, :LENGTH], tokens[:, LENGTH:]
    with tf.device("CPU:0"):
        _, state = network.next_word(tf.constant(earlier.T), network.initial_state(count))
        logits, new_state = network.next_word(tf.constant(tokens.T), state)
        before = np.concatenate([np.full((count, 1), start, np.int32), tokens[:, :-1]], 1)
        scored = network(tf.constant(before.T), network.initial_state(count)).logits
        likely = tf.gather(tf.nn.log_softmax(scored), tokens.T[..., None], batch_dims=2)[..., 0].numpy().T
    state, logits, new_state = (tensor.numpy() for tensor in (state, logits, new_state))
    longer = np.pad(tokens, [(0, 0), (0, 3)], constant_values=PADDING)
    return [
        Case("step", {"tokens": tokens, "state": state}, {"logits": logits, "state": new_state}),
        Case("score", {"tokens": tokens}, {"log_probabilities": likely}),
        Case("serving_default", {"tokens": longer}, {"perplexity": np.exp(-likely.mean(1))}),
    ]
