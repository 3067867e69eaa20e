"""The signatures of a served language model, and its export; the client keeps the state, and the server none."""

import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from darts_tf.data.text.corpus import EOS
from darts_tf.export import card, signatures, verify, warmup
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.tasks.language_data import VOCABULARY, load_again
from darts_tf.tasks.language_trained import LanguageModel

PADDING = -1
LENGTH = 12  # words of the texts that an export is checked with


def trace(network: RecurrentNetwork, start: int) -> dict:
    """Traces a language model.

    Args:
        network: The model.
        start: Index of the word before a text, `<eos>`.

    Returns:
        Concrete functions by the name of their signature. `step` takes `tokens`, `(batch, length)` int32, and `state`,
        `(batch, units)` float32 (zeros at the start), and returns `logits`, `(batch, vocabulary)`, of the next
        word, and the new `state`. `score` takes `tokens`, rows that are padded with -1 at their ends, and returns
        `log_probabilities`, `(batch, length)`, of each word after `<eos>` and the words before it (0 for padding),
        and `perplexity`, `(batch,)`.
        `serving_default` is `score`.
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


def build(trained: LanguageModel, folder: pathlib.Path, name: str, data_dir: str, say: Callable[[str], None]) -> None:
    """Writes a language model's files into a folder and checks them on real text.

    Args:
        trained: The model.
        folder: A new folder.
        name: The model's name.
        data_dir: Where the text is; empty for where it was in training.
        say: Called with lines of progress.

    Raises:
        UserError: The text is missing or another, or the export's outputs are not the network's.
    """
    config = trained.config
    corpus = load_again(config, data_dir, say)
    trained.vocabulary.check_same(corpus.vocabulary, "The text that an export is checked with")
    expected = outputs_of(trained.network, corpus.test, trained.vocabulary.index[EOS])
    say("tracing and writing ...")
    with signatures.writing(), tempfile.TemporaryDirectory() as temporary:
        vocabulary = pathlib.Path(temporary, VOCABULARY)
        vocabulary.write_text(trained.vocabulary.to_text(), "utf-8")
        endpoints = trace(trained.network, trained.vocabulary.index[EOS])
        numbers = signatures.save(endpoints, folder, vocabulary)
        warmup.write(folder, requests(name, expected))
    say("checking it in a new process ...")
    found = verify.in_fresh_process(folder, expected, "darts_tf.export.verify_language")
    say(
        f"equal to the network on real text at batch {' and '.join(map(str, verify.BATCHES))}: logits within "
        f"{found['logits']:.1g}, states within {found['state']:.1g}, log probabilities within "
        f"{found['log_probabilities']:.1g}; {found['warmup_requests']} warm-up requests run"
    )
    card.write(folder, trained, card.language_card(trained, name, numbers, found))


def outputs_of(network: RecurrentNetwork, text: np.ndarray, start: int) -> dict:
    """Returns a network's outputs for pieces of a text, each from the state after the piece before it.

    Returns:
        `tokens` `(n, LENGTH)`, `state` `(n, units)` and, of each piece, `logits` `(n, vocabulary)` and `new_state`, and
        `log_probabilities` `(n, LENGTH)` as `score` has them.
    """
    count = max(verify.BATCHES)
    tokens = np.resize(text, (count, 2 * LENGTH)).astype(np.int32)
    earlier, tokens = tokens[:, :LENGTH], tokens[:, LENGTH:]
    with tf.device("CPU:0"):
        _, state = network.next_word(tf.constant(earlier.T), network.initial_state(count))
        logits, new_state = network.next_word(tf.constant(tokens.T), state)
        before = np.concatenate([np.full((count, 1), start, np.int32), tokens[:, :-1]], 1)
        scored = network(tf.constant(before.T), network.initial_state(count)).logits
        likely = tf.gather(tf.nn.log_softmax(scored), tokens.T[..., None], batch_dims=2)[..., 0]
    found = {"logits": logits, "state": state, "new_state": new_state, "log_probabilities": tf.transpose(likely)}
    return {"tokens": tokens} | {key: value.numpy() for key, value in found.items()}


def requests(model: str, known: dict) -> list:
    """Returns warm-up requests: both signatures at the usual sizes of a batch, a step of one word and of more."""
    made = []
    for size in warmup.BATCH_SIZES:
        rows = np.arange(size) % len(known["tokens"])
        tokens, state = known["tokens"][rows], known["state"][rows]
        made.append(warmup.request(model, "score", {"tokens": tokens}))
        made += [warmup.request(model, "step", {"tokens": t, "state": state}) for t in (tokens, tokens[:, :1])]
    return made
