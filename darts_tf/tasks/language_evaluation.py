"""How good a language model is on a text: loss, perplexity, bits per character, throughput."""

import math
import pathlib
import time
from collections.abc import Callable

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel.objective import cross_entropy
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.text import windows
from darts_tf.data.text.corpus import EOS, UNKNOWN, Vocabulary, silent, unknown_share
from darts_tf.engine.console import PLAIN_SECONDS
from darts_tf.engine.loop import Diverged
from darts_tf.runs.saved_model import load_saved_model, signature_of
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import parse_json, user_path
from darts_tf.tasks.language_data import PARTS, VOCABULARY, load_again, load_vocabulary, tell_unknown
from darts_tf.tasks.language_trained import load_language_model

LARGEST = 88.0  # nats of which the exponential is still a float32; a guess among all words has 7 to 11


def perplexity(loss: float) -> float:
    """Returns exp(loss) of nats per word; infinity above `LARGEST`."""
    return math.exp(loss) if loss <= LARGEST else math.inf


def means(sums: dict[str, float]) -> dict[str, float]:
    """Returns what the steps' sums say of an epoch's training: means over words and steps, with dropout, no penalty."""
    loss = sums["nats"] / sums["length"]
    norm = sums["gradient_norm"] / sums["steps"]
    return {"train_loss": loss, "train_perplexity": perplexity(loss), "gradient_norm": norm}


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
            say: Is told now and then how far it is.

        Returns:
            `loss` (nats per word), `perplexity`, `words`, and `words_per_second` without the first window, which warms
            up (None if there is one only).

        Raises:
            Diverged: The perplexity is not finite.

        Deviation: the mean is over the words that are predicted; the original divides by one word more in each row.
        """
        state, nats, start, timed = self.initial_state(rows.shape[1]), 0.0, None, 0
        said = time.monotonic()
        window = tf.TensorSpec((None, rows.shape[1]), tf.int32)
        step = self._step.get_concrete_function(window, window, state)  # for windows of any length
        for tokens, targets, line in windows.batches(rows, windows.even_plan(len(rows), bptt)):
            mean, state = step(tokens, targets, state)
            length = int(line[windows.LENGTH])
            nats += float(mean) * length
            if start is None:
                start = time.monotonic()
            else:
                timed += length
            if time.monotonic() - said > PLAIN_SECONDS:
                said = time.monotonic()
                say(f"{(int(line[windows.START]) + length) * rows.shape[1]:,} of {rows.size:,} words")
        steps = len(rows) - 1
        if not nats / steps <= LARGEST:
            raise Diverged(
                f"The perplexity on held-out text is not finite (a loss of {nats / steps:.4g} nats per word). Expected "
                "a number; the weights are ruined. Train with a lower learning rate."
            )
        rate = timed * rows.shape[1] / max(time.monotonic() - start, 1e-9) if timed else None
        found = {"loss": nats / steps, "perplexity": perplexity(nats / steps)}
        return found | {"words": steps * rows.shape[1], "words_per_second": rate}


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


def evaluate(
    workdir: str = "",
    model: str = "",
    weights: str | None = None,
    data_dir: str = "",
    split: str = "test",
    max_words: int = 0,
    batch_size: int | None = None,
    with_bits: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Evaluates a trained language model on a text.

    Args:
        workdir: Work directory of a training run; or
        model: A version's folder that `darts-export` wrote, of a language model.
        weights: Of a work directory: `best` or `last`; None for those that its summary recommends.
        data_dir: See `text.load_folder`; empty for the text of the run.
        split: `test`, `valid` or `train`.
        max_words: The first so many; 0 for all.
        batch_size: Rows that the text is read in; None for the run's, 10 to validate and 1 to test in the original, or
            fewer where the text is short, see `windows.evaluation_rows`.
        with_bits: Whether to tell bits per character, too.
        say: Is told what is going on.

    Returns:
        What `LanguageEvaluator` returns, `unknown_words`, the share of `<unk>` among the words that were evaluated,
        `bits_per_character` where asked, and `dataset`, `split`, `source`.

    Raises:
        UserError: No such model or text, a vocabulary that does not fit, or a text that is too short.
    """
    workdir, model = workdir and str(user_path(workdir, "workdir")), model and str(user_path(model, "model"))
    say(f"loading {workdir or model} ...")
    if workdir:
        trained = load_language_model(workdir, weights)
        config, vocabulary = trained.config, trained.vocabulary
        forward, start = language_forward(trained.network), trained.network.initial_state
    else:
        config, vocabulary, forward, start = _saved_model(pathlib.Path(model))
    corpus = load_again(config, data_dir, say)
    vocabulary.check_same(corpus.vocabulary, f"The text in {data_dir or config['data_dir'] or corpus.name}")
    words = getattr(corpus, split)[: max_words or None]
    usual = config["test_batch_size" if split == "test" else "valid_batch_size"]
    long = 1 if batch_size else config["bptt"]  # rows that are asked for may be short
    rows = windows.evaluation_rows(words, batch_size or usual, long, f"the {PARTS[split]} text")
    share = unknown_share(rows, vocabulary)
    tell_unknown(corpus, config["vocabulary_size"], say, **{split: share})
    say(f"evaluating {rows.size:,} words in {rows.shape[1]} row{'s' * (rows.shape[1] > 1)} ...")
    found = LanguageEvaluator(forward, start)(rows, config["bptt"], say) | {"unknown_words": share}
    if with_bits or config.get("bits_per_character"):
        found["bits_per_character"] = bits_per_character(found["loss"], rows, vocabulary)
    return {"dataset": corpus.name, "split": split, "source": workdir or model} | found


def language_forward(network) -> Callable:
    """Returns `(tokens, state) -> (logits, state)` of a language model, without dropout."""

    def forward(tokens, state):
        outputs = network(tokens, state)
        return outputs.logits, outputs.state

    return forward


def is_language_model(folder: str) -> bool:
    """Whether a folder holds an exported language model."""
    return (user_path(folder, "model") / "assets" / VOCABULARY).is_file()


def _saved_model(folder):
    loaded = load_saved_model(folder)
    step = signature_of(loaded, folder, "step", ["tokens", "state"], ["logits", "state"])
    units = step.structured_input_signature[1]["state"].shape[-1]
    path = folder / "assets" / "model_card.json"
    try:
        config = LanguageTrainConfig.from_json(parse_json(path.read_bytes())["training_config"]).to_json()
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read: expected what darts-export writes; export the model again. "
            f"Received: {one_line(error)}."
        ) from error

    def forward(tokens, state, keep=loaded):
        def one(before, words):
            outputs = step(tokens=words[:, None], state=before[1])
            return tf.ensure_shape(outputs["logits"], shape), tf.ensure_shape(outputs["state"], state.shape)

        shape = (tokens.shape[1], len(vocabulary))
        logits, states = tf.scan(one, tokens, (tf.zeros(shape), state))
        return logits, states[-1]

    vocabulary = load_vocabulary(folder / "assets")
    return config, vocabulary, forward, lambda batch: tf.zeros((batch, units))
