"""The text of a run in its work directory: its vocabulary, whether it is unchanged, and how many words are unknown."""

import pathlib
from collections.abc import Callable
from typing import Any

from darts_tf.cluster.agreement import checksum
from darts_tf.data import given
from darts_tf.data.text import corpus as text
from darts_tf.data.text import memory
from darts_tf.engine.repeats import PREFIX
from darts_tf.runs.workdir import write_json
from darts_tf.system.errors import UserError
from darts_tf.system.files import write_atomically
from darts_tf.system.streams import silent
from darts_tf.tasks.image_facts import PARTS, read_json

VOCABULARY = "vocabulary.txt"
MANY_UNKNOWN = 0.1
"""Fraction of unknown words that causes a warning: Penn Treebank and WikiText-2 have 3 to 6 % as published."""


def load(
    dataset: str, data_dir: str, vocabulary_size: int = 0, say: Callable[[str], None] = silent, data: Any = None
) -> text.Corpus:
    """Loads a text by its name; for `say` see `text.load_folder`, for `data` of "memory" see `memory.load_memory`.

    Raises:
        UserError: It is missing or bad.
    """
    given.check(dataset, data)
    if data is not None:
        return memory.load_memory(data, vocabulary_size, say)
    if dataset == "english":
        return text.load_english(vocabulary_size)
    if not data_dir:
        raise UserError(
            "data_dir must name the folder of the text: one with train.txt, valid.txt and test.txt, or with the "
            "original files of Penn Treebank or WikiText-2. Received: data_dir=''; dataset=english is embedded."
        )
    return text.load_folder(data_dir, vocabulary_size, say)


def load_again(
    config: dict, vocabulary: text.Vocabulary, data_dir: str, say: Callable[[str], None], data: Any
) -> text.Corpus:
    """Loads a text for a trained network: that of the run's settings, one in a folder, or one passed from Python.

    Args:
        config: The settings of the run.
        vocabulary: Its vocabulary, which the text must have.
        data_dir: Folder of the text; empty for the run's own text.
        say: See `load`.
        data: See `memory.of_vocabulary`; None for one of the others.

    Raises:
        UserError: The text is missing, bad, or has another vocabulary.
    """
    if data is not None:
        return memory.of_vocabulary(data, vocabulary)
    dataset, data_dir = "folder" if data_dir else config["dataset"], data_dir or config["data_dir"]
    corpus = load(dataset, data_dir, config["vocabulary_size"], say)
    vocabulary.check_same(corpus.vocabulary, f"The text in {data_dir or corpus.name}")
    return corpus


def unknown_lines(corpus: text.Corpus, vocabulary_size: int, **shares: float) -> list[str]:
    """Returns a line with the fractions of unknown words, and a warning if one is above `MANY_UNKNOWN`.

    `<unk>` stands for all of them. If the training text contains it, it soon becomes the most likely word, and the
    perplexity of a text that is mostly `<unk>` is small, whatever else the network has learned; otherwise the
    perplexity is arbitrary.

    Args:
        corpus: The text. The fraction in its training text tells whether the vocabulary is too small or another part is
            of a different kind.
        vocabulary_size: The setting, which may have cut the vocabulary.
        **shares: Fractions by split, if only a piece of the text is read; otherwise those of the whole text.
    """
    shares = {"train": corpus.unknown_words["train"]} | shares if shares else corpus.unknown_words
    names = [f"{_percent(share)} of the {PARTS[split]} text" for split, share in shares.items()]
    lines = [f"unknown words ({text.UNKNOWN}): {', '.join(names)}"]
    many = [name for name, share in zip(names, shares.values(), strict=True) if share > MANY_UNKNOWN]
    if not many:
        return lines
    ways = []
    if vocabulary_size == len(corpus.vocabulary):
        ways.append(f"use a larger vocabulary_size than {vocabulary_size}")
    elif shares["train"] > MANY_UNKNOWN:
        ways.append(f"use a training text that does not hold {text.UNKNOWN} itself")
    if not ways or max(shares.values()) > shares["train"] + MANY_UNKNOWN:
        ways.append("check that all parts are in one language, spelling and case")
    lines.append(
        f"{PREFIX}unknown words are {', '.join(many)}; published texts have 3 to 6 %. {text.UNKNOWN} stands for all of "
        f"them, so perplexity and bits per character say little about the network: {', and '.join(ways)}"
    )
    return lines


def _percent(share):
    if 0 < share < 5e-4:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if share else "0 %"


def check_facts(directory: pathlib.Path, corpus: text.Corpus) -> None:
    """Checks that a text matches that of the run in a directory, if there is one.

    Raises:
        UserError: It has another vocabulary, length or order of words, so that the run could not be resumed.
    """
    if not (directory / VOCABULARY).exists() or not (directory / "data.json").exists():
        return
    load_vocabulary(directory).check_same(corpus.vocabulary, f"The text of a run in {directory}")
    known, now = load_facts(directory), _facts(corpus)
    for split in text.SPLITS:
        if known.get(split) != now[split]:
            raise UserError(
                f"The {split} text is not that of the run in {directory}: expected {known.get(split)} words. "
                f"Received: {now[split]}. Pass the same text, or choose another work directory."
            )
    if known.get("checksum", now["checksum"]) != now["checksum"]:
        raise UserError(
            f"The text is not that of the run in {directory}, although it has the same length: expected the checksum "
            f"{known['checksum']}. Received: {now['checksum']}. Pass the same text, or choose another work directory."
        )


def save_facts(directory: pathlib.Path, corpus: text.Corpus) -> None:
    """Writes `vocabulary.txt` and `data.json`."""
    write_atomically(directory / VOCABULARY, corpus.vocabulary.to_text())
    write_json(directory / "data.json", _facts(corpus))


def load_facts(directory: pathlib.Path) -> dict:
    """Reads the `data.json` that `save_facts` wrote.

    Raises:
        UserError: There is none, or it is damaged.
    """
    found = read_json(directory / "data.json")
    if not isinstance(found.get("dataset", ""), str):
        raise UserError(
            f"{directory / 'data.json'} is damaged: expected a file written by darts-train. Restore the file."
        )
    return found


def _facts(corpus):
    facts = {"dataset": corpus.name, "vocabulary_size": len(corpus.vocabulary)}
    splits = {split: getattr(corpus, split) for split in text.SPLITS}
    facts |= {split: len(words) for split, words in splits.items()}
    facts["unknown_words"] = {split: round(share, 6) for split, share in corpus.unknown_words.items()}
    return facts | {"checksum": checksum(*splits.values())}


def load_vocabulary(directory: pathlib.Path) -> text.Vocabulary:
    """Reads the vocabulary of a work directory, or of an exported model's assets.

    Raises:
        UserError: There is none, or it is damaged.
    """
    path = directory / VOCABULARY
    try:
        return text.Vocabulary.from_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}. Expected a file written by "
            "darts-train or darts-export."
        ) from error
    except UserError as error:
        raise UserError(f"{path} is damaged: {error} Restore the file.") from error
