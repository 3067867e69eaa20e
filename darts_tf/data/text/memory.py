"""Texts passed from Python code: lists of lines, or of token numbers."""

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from darts_tf.data.given import NAME, PARTS
from darts_tf.data.text.corpus import EOS, SPLITS, Corpus, Vocabulary, corpus_of
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.streams import silent

FORMS = (
    "a list of strings, one per line; or a list of token numbers; or a pair of lists for training and validation; or "
    "a dict of lists with the keys train, validation and test"
)
_SHARE = 10  # one part in this many is cut off for each missing split


def load_memory(data: Any, vocabulary_size: int = 0, say: Callable[[str], None] = silent) -> Corpus:
    """Reads a text passed from Python.

    If validation or test text is not given, it is cut off the end of the training text, a tenth each.

    Args:
        data: The training text, `(training, validation)`, or a dict with the keys `train`, `validation`, `test`. Each
            is a list of strings, lines of words separated by spaces, each of which ends with `<eos>`; or a list or
            array of token numbers, `>= 0`, which form one line; or a list of lists of these, one per line. The words of
            numbers are the numbers themselves.
        vocabulary_size: See `corpus.load_folder`.
        say: Called with a line about what is cut off.

    Raises:
        UserError: It is of another type, or a part is empty.
    """
    names = {part: key for key, part in PARTS.items()}
    given = _given(data)
    texts = {part: _lines(part, value) for part, value in given.items()}
    if len({isinstance(value[0], str) for value in given.values()}) > 1:
        raise _wrong("strings and numbers. A language model takes no labels")
    for part in SPLITS[1:]:
        if part not in texts:
            texts["train"], texts[part], what = _cut(texts["train"])
            say(f"the last {what} of the training text are the {names[part]} text")
    streams = {part: _blocks(lines) for part, lines in texts.items()}
    return corpus_of(NAME, streams, vocabulary_size, {part: f"the {names[part]} text given" for part in SPLITS})


def of_vocabulary(data: Any, vocabulary: Vocabulary) -> Corpus:
    """Returns a text to evaluate a network on, in the network's vocabulary; it forms all three splits.

    Args:
        data: One text, or a dict with `test`, see `load_memory`.
        vocabulary: Vocabulary of the network.

    Raises:
        UserError: It is of another type, or empty.
    """
    lines = _lines("test", data.get("test") if isinstance(data, Mapping) else data)
    words = vocabulary.encode(word for block in _blocks(lines) for word in block)
    if len(words) == len(lines):
        raise _wrong("a text without words")
    return Corpus(NAME, vocabulary, words, words, words)


def _given(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        if data.get("train") is None or not set(data) <= set(PARTS):
            raise _wrong(f"a dict with the keys {some_of(data) or 'none'}")
        return {part: data[key] for key, part in PARTS.items() if data.get(key) is not None}
    if isinstance(data, tuple) and len(data) == 2:
        return {"train": data[0], "valid": data[1]}
    return {"train": data}


def _wrong(received: str) -> UserError:
    return UserError(f"data must be a text: expected {FORMS}. Received: {received}.")


def _lines(part: str, value: Any) -> list[list[str]]:
    """Returns lines of words."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        raise _wrong(f"{type(value).__name__} for {part}")
    rows = value.tolist() if isinstance(value, np.ndarray) else list(value)
    if rows and all(isinstance(row, str) for row in rows):
        return [line.split() for row in rows for line in row.removesuffix("\n").split("\n")]
    if rows and all(isinstance(row, numbers.Integral) for row in rows):
        return [_words(part, rows)]
    if rows and all(isinstance(row, Sequence | np.ndarray) and not isinstance(row, str | bytes) for row in rows):
        return [_words(part, row) for row in rows]
    kinds = sorted({type(row).__name__ for row in rows})
    raise _wrong(f"a list of {some_of(kinds, separator=' and ') or 'nothing'} for {part}")


def _words(part: str, tokens: Any) -> list[str]:
    if not all(isinstance(token, numbers.Integral) and int(token) >= 0 for token in tokens):
        raise _wrong(f"a list with tokens for {part} that are not numbers of at least 0")
    return [str(int(token)) for token in tokens]


def _cut(lines: list[list[str]]) -> tuple[list[list[str]], list[list[str]], str]:
    """Cuts the end off a text by lines, or by words if it is a single line; returns rest, end, and amount."""
    units: list = lines[0] if len(lines) == 1 else lines
    count = max(1, len(units) // _SHARE)
    rest, end = units[:-count], units[-count:]
    if units is lines:
        return rest, end, f"{count:,} lines"
    return [rest], [end], f"{count:,} words"


def _blocks(lines: list[list[str]]) -> Iterator[list[str]]:
    return ([*words, EOS] for words in lines)
