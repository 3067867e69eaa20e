"""Texts: a vocabulary, and three splits as word numbers."""

import collections
import dataclasses
import functools
import gzip
import itertools
import pathlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from darts_tf.data.given import PROGRESS_SECONDS
from darts_tf.data.text import english
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path
from darts_tf.system.streams import silent
from darts_tf.system.types import Path

EOS, UNKNOWN = "<eos>", "<unk>"
SPLITS = ("train", "valid", "test")
NAMES = ("{}.txt", "ptb.{}.txt", "wiki.{}.tokens")  # ours, and the original names of both corpora; also with .gz
BLOCK = 4 * 2**20  # bytes read at a time: a text's words take many times the memory of its numbers
MAX_WORD = 4096  # characters; a gzipped file of a few megabytes can unpack to gigabytes of longer words


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Words and their numbers.

    Attributes:
        words: The words in the order of their numbers; `<eos>` and `<unk>` are among them.

    Raises:
        UserError: A word occurs twice or contains a space, or `<eos>` or `<unk>` is missing.
    """

    words: tuple[str, ...]

    def __post_init__(self):
        """Checks the words."""
        for word in (EOS, UNKNOWN):
            if word not in self.index:
                raise UserError(f"A vocabulary must hold {EOS} and {UNKNOWN}. Received: {len(self)} words, no {word}.")
        if len(self.index) < len(self):
            (word, count), *_ = collections.Counter(self.words).most_common(1)
            raise UserError(f"The words of a vocabulary must differ. Received: {word!r} {count} times.")
        for word in self.words:
            if word.split() != [word]:
                raise UserError(f"A word must not be empty or contain spaces. Received: {word!r}.")

    def __len__(self) -> int:
        """Returns the number of words."""
        return len(self.words)

    @functools.cached_property
    def index(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, words: Iterable[str]) -> np.ndarray:
        """Returns the words' numbers, int32; unknown words get that of `<unk>`."""
        return np.fromiter(map(self.index.get, words, itertools.repeat(self.index[UNKNOWN])), np.int32)

    def unknown(self, words: Iterable[str]) -> list[str]:
        """Returns the distinct words that are not in the vocabulary, in their order."""
        return [word for word in dict.fromkeys(words) if word not in self.index]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Returns the words with these numbers."""
        return [self.words[number] for number in numbers]

    def to_text(self) -> str:
        """Returns the words, one per line, in the order of their numbers."""
        return "".join(f"{word}\n" for word in self.words)

    @classmethod
    def from_text(cls, text: str) -> "Vocabulary":
        """Reads the result of `to_text`."""
        return cls(tuple(text.removesuffix("\n").split("\n")))

    def check_same(self, other: "Vocabulary", what: str) -> None:
        """Checks that another vocabulary gives every word the same number.

        Raises:
            UserError: It does not; the message begins with `what` and names the first difference.
        """
        if self.words == other.words:
            return
        pairs = enumerate(zip(self.words, other.words, strict=False))
        place = next(
            (f"word {i} is {b!r}, not {a!r}" for i, (a, b) in pairs if a != b), "one continues where the other ends"
        )
        raise UserError(
            f"{what} must have the vocabulary that the network was trained with, {len(self)} words. "
            f"Received: {len(other)} words; {place}. Use the same text and vocabulary limit."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three splits.

    Attributes:
        name: Its name in messages.
        vocabulary: Vocabulary of the training text; words that occur only in other splits are `<unk>`.
        train: Word numbers, `(n,)` int32; each line ends with `<eos>`.
        valid: As `train`.
        test: As `train`.
    """

    name: str
    vocabulary: Vocabulary
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray

    @property
    def unknown_words(self) -> dict[str, float]:
        """The fraction of `<unk>` among the words of each split, see `unknown_share`."""
        return {split: unknown_share(getattr(self, split), self.vocabulary) for split in SPLITS}


def unknown_share(numbers: np.ndarray, vocabulary: Vocabulary) -> float:
    """Returns the fraction of `<unk>` among words, 0 to 1, whether it replaces a word or occurs in the text itself.

    Args:
        numbers: Word numbers of any shape; `<eos>` ends lines and is not counted as a word.
        vocabulary: Their vocabulary.
    """
    words = int(np.count_nonzero(numbers != vocabulary.index[EOS]))
    return int(np.count_nonzero(numbers == vocabulary.index[UNKNOWN])) / max(1, words)


def load_folder(data_dir: Path, vocabulary_size: int = 0, say: Callable[[str], None] = silent) -> Corpus:
    """Reads `train.txt`, `valid.txt` and `test.txt`, words separated by spaces, one sentence or paragraph per line.

    The files may be gzipped, and may have their original names from Penn Treebank or WikiText.

    Args:
        data_dir: The folder.
        vocabulary_size: Keeps this many of the training text's most frequent words, including `<eos>` and `<unk>`; the
            others become `<unk>`. 0 keeps all. `<unk>` is added to a text that has none.
        say: Called with lines about what is read, and about progress if it takes long.

    Raises:
        UserError: A split is missing, empty, or not UTF-8, or has a word of more than `MAX_WORD` characters; the
            message names the file.
    """
    root = user_path(data_dir, "data_dir")  # a shell does not expand --data_dir=~/data
    if not root.is_dir():
        raise UserError(f"There is no folder {data_dir}: expected one with {_expected('train')}. Check data_dir.")
    paths = {}
    for split in SPLITS:
        names = [name.format(split) for name in NAMES]
        candidates = [root / (name + suffix) for name in names for suffix in ("", ".gz")]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise UserError(f"{data_dir} has no {split} split: expected {_expected(split)}. Check data_dir.")
        paths[split] = found
    say(f"reading {root}: {', '.join(f'{path.name} ({_size(path.stat().st_size)})' for path in paths.values())} ...")
    streams = {split: _words(path, say) for split, path in paths.items()}
    return corpus_of(root.name or str(root), streams, vocabulary_size, {s: str(path) for s, path in paths.items()})


def load_english(vocabulary_size: int = 0) -> Corpus:
    """Returns the text that comes with Python, see `english.splits`; for the vocabulary see `load_folder`.

    Raises:
        UserError: This Python does not include it.
    """
    try:
        texts = english.splits()
    except ImportError:
        raise UserError(
            "This Python lacks pydoc_data, the text of the embedded corpus. Install Python's full standard library, "
            "or pass a folder of texts as data_dir."
        ) from None
    streams = {split: ([*words, EOS] for words in lines) for split, lines in texts.items()}
    return corpus_of("english", streams, vocabulary_size, {split: f"the embedded {split} text" for split in SPLITS})


def _expected(split):
    return " or ".join(name.format(split) for name in NAMES) + " (or .gz)"


def corpus_of(name: str, streams: Mapping[str, Iterable], vocabulary_size: int, sources: Mapping[str, str]) -> Corpus:
    """Returns a text as word numbers; words are numbered by frequency, then by first occurrence.

    Args:
        name: Name of the text.
        streams: The words by split, in blocks of any size.
        vocabulary_size: See `load_folder`.
        sources: The source of each split, for messages.

    Raises:
        UserError: A split is empty, or the vocabulary size is too small.
    """
    if vocabulary_size and vocabulary_size < 3:
        raise UserError(
            f"vocabulary_size must be at least 3, for a word in addition to {EOS} and {UNKNOWN}, or 0 for all words. "
            f"Received: vocabulary_size={vocabulary_size}."
        )
    numbers: collections.defaultdict[str, int] = collections.defaultdict()
    numbers.default_factory = numbers.__len__
    for word in (EOS, UNKNOWN):
        numbers[word]
    blocks = (np.fromiter(map(numbers.__getitem__, words), np.int32) for words in streams["train"])
    train = _whole(blocks, numbers[EOS], sources["train"])
    counts = np.bincount(train, minlength=len(numbers))
    order = np.argsort(-counts, kind="stable")
    if vocabulary_size:
        special = np.isin(order, [0, 1])
        order = order[special | (np.cumsum(~special) <= vocabulary_size - 2)]
    words = list(numbers)
    vocabulary = Vocabulary(tuple(words[number] for number in order))
    table = np.full(len(words), vocabulary.index[UNKNOWN], np.int32)
    table[order] = np.arange(len(order), dtype=np.int32)
    eos = vocabulary.index[EOS]
    held_out = [_whole(map(vocabulary.encode, streams[split]), eos, sources[split]) for split in SPLITS[1:]]
    return Corpus(name, vocabulary, table[train], *held_out)


def _whole(blocks: Iterable[np.ndarray], eos: int, source: str) -> np.ndarray:
    """Joins the blocks of a split; raises UserError if it has no word."""
    found = np.concatenate([np.zeros(0, np.int32), *blocks])
    if (found == eos).all():
        raise UserError(f"{source} is empty: expected words separated by spaces. Received: {len(found)} empty lines.")
    return found


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _words(path: pathlib.Path, say: Callable[[str], None]) -> Iterator[list[str]]:
    """Yields a file's words block by block, with `<eos>` for the end of each line."""
    start, rest, ended, said = 0, b"", True, time.monotonic()
    try:
        with open(path, "rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
            while block := file.read(BLOCK):
                if time.monotonic() - said > PROGRESS_SECONDS:  # in bytes of the file itself, even if gzipped
                    said = time.monotonic()
                    say(f"reading {path.name}: {_size(raw.tell())} of {_size(path.stat().st_size)}")
                block, rest = _whole_words(rest + block)
                if len(rest) > 4 * MAX_WORD:  # a character has at most four bytes
                    raise _too_long(path, start + len(block))
                if block:
                    yield _split(path, block, start)
                    start, ended = start + len(block), block.endswith(b"\n")
            if rest:
                yield _split(path, rest, start)
                ended = False
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8: expected a text file. Received: byte 0x{error.object[error.start]:02x} at offset "
            f"{start + error.start}."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"Cannot read {path}: {reason}. Expected a text file, or a gzipped one with .gz.") from None
    if not ended:
        yield [EOS]


def _whole_words(block: bytes) -> tuple[bytes, bytes]:
    """Returns a block up to its last blank, and what follows: the beginning of a word."""
    end = 1 + max(block.rfind(blank) for blank in (b"\n", b" ", b"\t", b"\r"))
    return block[:end], block[end:]


def _split(path: pathlib.Path, block: bytes, start: int) -> list[str]:
    """Returns the words of a block that begins at an offset of its file."""
    text = block.decode()
    words = text.removeprefix("\ufeff" if not start else "").replace("\n", f" {EOS} ").split()
    if max(map(len, words), default=0) > MAX_WORD:
        raise _too_long(path, start + block.find(max(words, key=len).encode()))
    return words


def _too_long(path: pathlib.Path, offset: int) -> UserError:
    return UserError(
        f"{path} is not a text: expected words of at most {MAX_WORD} characters. Received: a longer one at "
        f"offset {offset}."
    )
