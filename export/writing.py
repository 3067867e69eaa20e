"""Continues a prompt with a served or exported language model, one step at a time; the state is kept here."""

import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.text.corpus import EOS, UNKNOWN, Vocabulary
from darts_tf.export.client import Ask, Refused
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json

SHOWN = 10  # number of unknown words in a message


def units_of(version_folder: pathlib.Path) -> int:
    """Returns the width of the state of an exported language model.

    Raises:
        UserError: It is not a language model.
    """
    path = version_folder / "assets" / "model_card.json"
    try:
        units = parse_json(path.read_bytes())["units"]
        return LanguageTrainConfig(num_units=units).num_units  # checks the value
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{version_folder} is not an exported language model: expected assets/model_card.json with its units, as "
            "darts-export writes it. Query an image model with image files, without --text."
        ) from None


def continued(
    ask: Ask,
    vocabulary: Vocabulary,
    units: int,
    prompt: str,
    count: int,
    top_k: int = 0,
    temperature: float = 1.0,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[str]:
    """Yields the words that follow a prompt; `<unk>` is never one of them.

    Args:
        ask: From `client`.
        vocabulary: Vocabulary of the model.
        units: Width of its state.
        prompt: Words separated by spaces; unknown words are read and reported as `<unk>`. A new line is `<eos>`, as in
            the training text.
        count: Number of words.
        top_k: Samples from this many most probable words; 0 for all.
        temperature: Divides the logits; 0 takes the most probable word.
        seed: Seed of the sampling.
        say: Called with the unknown words.

    Raises:
        UserError: The model cannot answer.
    """
    words = prompt.replace("\n", f" {EOS} ").split()
    if unknown := vocabulary.unknown(words):
        say(f"read as {UNKNOWN}: {some_of(unknown, 10)}")
        if not set(words) - {EOS, UNKNOWN, *unknown}:
            say(
                "warning: the model knows none of the prompt's words, so the continuation does not depend on them. "
                "Expected words in the language, spelling and case of its training text"
            )
    tokens = np.array([vocabulary.index[EOS], *vocabulary.encode(words)], np.int32)
    state, random = np.zeros((1, units), np.float32), np.random.default_rng(seed)
    for _ in range(count):
        try:
            outputs = ask("step", {"tokens": tokens[None], "state": state})
            logits, state = outputs["logits"][0].astype(np.float64), outputs["state"].astype(np.float32)
        except Refused as refused:
            raise UserError(f"The model returned an error: {' '.join(str(refused).split())[:300]}") from refused
        except (KeyError, IndexError) as error:
            raise UserError(
                f"Cannot interpret the response ({error}). Expected logits and state from the signature step."
            ) from error
        if logits.shape != (len(vocabulary),):
            raise UserError(
                f"The model has a different vocabulary: expected {len(vocabulary)} logits. Received: {logits.shape}."
            )
        if not np.isfinite(logits).all():
            raise UserError("The model returned logits that are not finite. Expected finite numbers; export it again.")
        logits[vocabulary.index[UNKNOWN]] = -np.inf
        word = choose(logits, top_k, temperature, random)
        tokens = np.array([word], np.int32)
        yield vocabulary.words[word]


def spaced(prompt: str, words: Iterable[str]) -> Iterator[str]:
    """Yields a prompt and the following words as printable text: spaces between words, a new line for `<eos>`."""
    blank = "" if not prompt or prompt.endswith("\n") else " "
    for number, word in enumerate(words):
        if not number:  # only after the model has answered
            yield prompt
        yield "\n" if word == EOS else f"{blank}{word}"
        blank = "" if word == EOS else " "


def choose(logits: np.ndarray, top_k: int, temperature: float, random: np.random.Generator) -> int:
    """Draws a word's number from logits `(vocabulary,)`; see `continued`."""
    if not temperature:
        return int(np.argmax(logits))
    if 0 < top_k < len(logits):
        logits = np.where(logits >= np.partition(logits, -top_k)[-top_k], logits, -np.inf)
    with np.errstate(over="ignore"):  # minus infinity, at the lowest temperatures, means probability zero
        chances = np.exp((logits - logits.max()) / temperature)
    return int(random.choice(len(logits), p=chances / chances.sum()))
