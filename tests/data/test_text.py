"""Texts, vocabularies and windows."""

import gzip
import time
import types

import numpy as np
import pytest

from darts_tf.config import presets
from darts_tf.data.text import corpus as text
from darts_tf.data.text import english, windows
from darts_tf.data.text.corpus import EOS, UNKNOWN, Vocabulary, load_english, load_folder
from darts_tf.system.errors import UserError
from darts_tf.tasks import language_data
from tests.helpers.paths import DATA

TEXTS = {
    "train.txt": "b a a \n\n c a\tb\n",
    "valid.txt": "a d c",
    "test.txt": " c c\nb e\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in TEXTS.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def refused(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def words(corpus, split):
    return " ".join(corpus.vocabulary.decode(getattr(corpus, split)))


def test_a_folder_of_texts(folder):
    """Words are ranked by frequency, then by where they come first; a line without an end has one all the same."""
    corpus = load_folder(folder)
    assert corpus.vocabulary.words == (EOS, "a", "b", "c", UNKNOWN)
    assert words(corpus, "train") == "b a a <eos> <eos> c a b <eos>"
    assert words(corpus, "valid") == "a <unk> c <eos>"
    assert words(corpus, "test") == "c c <eos> b <unk> <eos>"
    assert corpus.train.dtype == corpus.test.dtype == np.int32


def test_limit_of_the_vocabulary(folder):
    corpus = load_folder(folder, 4)
    assert corpus.vocabulary.words == (EOS, "a", "b", UNKNOWN)
    assert words(corpus, "train") == "b a a <eos> <eos> <unk> a b <eos>"
    assert len(load_folder(folder, 100).vocabulary) == 5
    assert "vocabulary_size=2" in refused(load_folder, folder, 2)


@pytest.mark.parametrize("name", text.NAMES)
@pytest.mark.parametrize("zipped", [False, True])
def test_names_of_the_corpora(tmp_path, name, zipped):
    for split in text.SPLITS:
        content = TEXTS[f"{split}.txt"].encode()
        path = tmp_path / (name.format(split) + ".gz" * zipped)
        path.write_bytes(gzip.compress(content) if zipped else content)
    assert words(load_folder(tmp_path), "valid") == "a <unk> c <eos>"


def test_blocks_end_at_lines(folder, monkeypatch):
    whole = load_folder(folder)
    for size in (1, 2, 5):
        monkeypatch.setattr(text, "BLOCK", size)
        found = load_folder(folder)
        for split in text.SPLITS:
            np.testing.assert_array_equal(getattr(found, split), getattr(whole, split))


def test_a_byte_order_mark_is_no_word(folder):
    (folder / "train.txt").write_bytes(b"\xef\xbb\xbf" + TEXTS["train.txt"].encode())
    assert load_folder(folder).vocabulary.words == (EOS, "a", "b", "c", UNKNOWN)


def test_a_folder_in_the_users_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert words(load_folder(f"~/{folder.name}"), "valid") == "a <unk> c <eos>"


def test_bad_folders(folder, tmp_path, monkeypatch):
    assert "There is no folder" in refused(load_folder, tmp_path / "none")
    (folder / "valid.txt").write_text("\n \n")
    assert "valid.txt is empty" in refused(load_folder, folder)
    (folder / "valid.txt").write_text("")
    assert "valid.txt is empty" in refused(load_folder, folder)
    for size in (1, 2**20):
        monkeypatch.setattr(text, "BLOCK", size)
        (folder / "valid.txt").write_bytes(b"a b\nc \xe4 d\n")
        message = refused(load_folder, folder)
        assert "valid.txt is not UTF-8" in message and "0xe4 at offset 6" in message
    (folder / "valid.txt").unlink()
    assert "no valid split: expected valid.txt or ptb.valid.txt" in refused(load_folder, folder)
    for content in (b"no gzip", gzip.compress(b"a b c " * 100)[:-9]):
        (folder / "valid.txt.gz").write_bytes(content)
        assert "Cannot read" in refused(load_folder, folder)


def test_vocabulary():
    vocabulary = Vocabulary(("a", UNKNOWN, EOS, "é"))
    np.testing.assert_array_equal(vocabulary.encode(["é", "x", "a"]), [3, 1, 0])
    assert vocabulary.unknown(["y", "a", "x", "y"]) == ["y", "x"]
    assert Vocabulary.from_text(vocabulary.to_text()) == vocabulary
    vocabulary.check_same(Vocabulary(vocabulary.words), "it")
    message = refused(vocabulary.check_same, Vocabulary(("a", EOS, UNKNOWN)), "The text")
    assert "The text must have the vocabulary" in message and "4 words" in message and "word 1 is '<eos>'" in message
    assert "no <unk>" in refused(Vocabulary, (EOS, "a"))
    assert "'a' 2 times" in refused(Vocabulary, (EOS, UNKNOWN, "a", "a"))
    assert "'a b'" in refused(Vocabulary, (EOS, UNKNOWN, "a b"))
    assert "''" in refused(Vocabulary, (EOS, UNKNOWN, ""))


def test_english_that_comes_with_python():
    """Three splits of prose without a paragraph in common; the numbers differ a little between versions of Python."""
    corpus = load_english()
    sizes = [len(getattr(corpus, split)) for split in text.SPLITS]
    assert 40_000 < sizes[0] < 80_000 and all(0.05 < size / sum(sizes) < 0.2 for size in sizes[1:])
    assert 2_000 < len(corpus.vocabulary) < 6_000
    lines = {split: {tuple(line) for line in found} for split, found in english.splits().items()}
    for one in text.SPLITS:
        for other in text.SPLITS:
            assert one == other or not lines[one] & lines[other]
    assert {"the", "is", "of", "statement"} <= set(corpus.vocabulary.words)
    unknown = np.mean(corpus.valid == corpus.vocabulary.index[UNKNOWN])
    assert unknown < 0.1
    np.testing.assert_array_equal(load_english().train, corpus.train)


@pytest.mark.parametrize(
    ("name", "vocabulary", "counts"),
    [("penn", 10_000, (929_589, 73_760, 82_430)), ("wikitext-2", 33_278, (2_088_628, 217_646, 245_569))],
)
def test_published_corpora(name, vocabulary, counts):
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not at {DATA}; DARTS_TF_DATA names the folder")
    corpus = load_folder(DATA / name)
    assert len(corpus.vocabulary) == vocabulary
    assert tuple(len(getattr(corpus, split)) for split in text.SPLITS) == counts


def test_a_large_file(tmp_path):
    """A tenth of a hundred megabytes, in a tenth of two minutes at the very most."""
    rng = np.random.default_rng(0)
    line = " ".join(f"word{n}" for n in rng.integers(30_000, size=200_000))
    (tmp_path / "train.txt").write_text("\n".join([line] * 5))
    for name in ("valid.txt", "test.txt"):
        (tmp_path / name).write_text("word1 word2\n")
    start = time.perf_counter()
    corpus = load_folder(tmp_path)
    assert len(corpus.train) == 5 * 200_001
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("before", ["a b\n", "\ufeffa ", ""])
def test_a_word_without_end_is_refused(tmp_path, before):
    """A gzipped file of kilobytes that unpacks to 60 MB without a blank is not unpacked to its end."""
    for split in ("valid", "test"):
        (tmp_path / f"{split}.txt").write_text("a\n")
    with gzip.open(tmp_path / "train.txt.gz", "wb", 1) as file:
        file.write(before.encode() + b"a" * (60 * 2**20))
    message = refused(load_folder, tmp_path)
    assert "train.txt.gz is not a text" in message and f"at offset {len(before.encode())}." in message
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(f"{before}{'é' * 4097} b\n".encode()))
    assert f"at offset {len(before.encode())}." in refused(load_folder, tmp_path)
    (tmp_path / "train.txt.gz").write_bytes(gzip.compress(f"{before}{'é' * 4096}\tb".encode()))
    assert "é" * 4096 in load_folder(tmp_path).vocabulary.index


def test_a_line_of_any_length_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "BLOCK", 1000)
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("ein Wörtchen\t" * 50_000, encoding="utf-8")
    assert len(load_folder(tmp_path).train) == 100_001


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_reading_is_announced_and_its_progress_told(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(text, "BLOCK", 1000)
    monkeypatch.setattr(text, "PROGRESS_SECONDS", -1.0)
    rng, said = np.random.default_rng(0), []
    for split in ("train", "valid", "test"):
        words = "".join(f"{number} " for number in rng.integers(10**9, size=30_000)).encode()
        (tmp_path / f"{split}.txt{suffix}").write_bytes(gzip.compress(words) if suffix else words)
    load_folder(tmp_path, say=said.append)
    sizes = [path.stat().st_size / 1e6 for path in (tmp_path / f"{split}.txt{suffix}" for split in text.SPLITS)]
    assert said[0].startswith(f"reading {tmp_path}: train.txt{suffix} ({sizes[0]:.1f} MB), valid.txt{suffix} (")
    steps = [line for line in said if line.startswith(f"reading train.txt{suffix}: ")]
    assert len(steps) > 50 and steps[-1] == f"reading train.txt{suffix}: {sizes[0]:.1f} MB of {sizes[0]:.1f} MB"
    assert len(set(steps)) > 2
    said.clear()
    monkeypatch.undo()
    load_folder(tmp_path, say=said.append)
    assert len(said) == 1


# Unknown words


def shares_of(tmp_path, vocabulary_size=0, **splits):
    for split in text.SPLITS:
        (tmp_path / f"{split}.txt").write_text(splits.get(split, splits["train"]))
    return load_folder(tmp_path, vocabulary_size)


def test_the_share_of_unknown_words_leaves_out_the_ends_of_lines(tmp_path):
    found = shares_of(tmp_path, train="a\nb\n\n\nc d\n", valid="x\n\n\nA\n", test="a <unk> b\nz\n").unknown_words
    assert found == {"train": 0, "valid": 1, "test": 0.5}


def test_unknown_words_of_a_small_vocabulary_and_of_the_text_itself(tmp_path):
    corpus = shares_of(tmp_path, 3, train="a a a b <unk> c\n", valid="a a\n")
    assert corpus.unknown_words == {"train": 0.5, "valid": 0, "test": 0.5}


TO_TEXT, TO_LIMIT, TO_FILES = "in one language", "larger vocabulary_size than 50", "does not hold <unk> itself"
CASES = {
    "a normal text": ({"train": 0.05, "valid": 0.05, "test": 0.063}, 0, []),
    "another language": ({"train": 0.0, "valid": 0.8, "test": 0.05}, 0, ["80.0 % of the validation text;", TO_TEXT]),
    "that and a limit": ({"train": 0.01, "valid": 0.9, "test": 0.2}, 50, ["90.0 %", "20.0 %", TO_TEXT, TO_LIMIT]),
    "a small vocabulary": ({"train": 0.4, "valid": 0.45, "test": 0.5}, 50, ["40.0 %", "50.0 %", TO_LIMIT]),
    "all unknown": ({"train": 0.95, "valid": 1.0, "test": 1.0}, 0, ["95.0 % of the training text", TO_FILES]),
    "many unknown in a held-out part": ({"train": 0.05, "valid": 0.12, "test": 0.1}, 0, ["12.0 %", TO_TEXT]),
    "an evaluation": ({"train": 0.0, "test": 0.3}, 0, ["30.0 % of the test text", TO_TEXT]),
}


@pytest.mark.parametrize("case", CASES)
def test_unknown_words_are_one_line_and_a_warning_where_they_are_many(case):
    shares, limit, words = CASES[case]
    corpus = types.SimpleNamespace(unknown_words=shares, vocabulary=range(limit or 100))
    line, *warnings = language_data.unknown_lines(corpus, limit)
    assert line.startswith("unknown words (<unk>): ") and line.count("%") == len(shares)
    assert len(warnings) == bool(words)
    for warning in warnings:
        assert warning.startswith("warning: unknown words are ") and all(word in warning for word in words)
        assert sum(way in warning for way in (TO_TEXT, TO_LIMIT, TO_FILES)) == len(
            {TO_TEXT, TO_LIMIT, TO_FILES} & {*words}
        )


def test_embedded_texts_are_not_warned_of():
    said = []
    for preset in ("text_search", "text_train"):
        config = presets.get(preset).config
        said += language_data.unknown_lines(load_english(config.vocabulary_size), config.vocabulary_size)
    assert len(said) == 2 and all(line.startswith("unknown words (<unk>): ") for line in said)


def test_a_limit_that_cuts_nothing_is_not_blamed(tmp_path):
    corpus = shares_of(tmp_path, 9, train="a b c\n", valid="A B C\n")
    _, warning = language_data.unknown_lines(corpus, 9)
    assert TO_TEXT in warning and "vocabulary_size" not in warning


# Windows


def test_rows_are_pieces_of_the_text():
    rows = windows.rows(np.arange(23), 3, 6)
    np.testing.assert_array_equal(rows.T, np.arange(21).reshape(3, 7))
    message = refused(windows.rows, np.arange(20), 3, 6, "valid.txt")
    assert "valid.txt is too short" in message and "3 x 7 = 21" in message and "Received: 20" in message


@pytest.mark.parametrize(
    ("words", "count", "shape"),
    [(2, 10, (2, 1)), (7, 3, (7, 1)), (13, 3, (13, 1)), (14, 3, (7, 2)), (20, 3, (10, 2)), (23, 3, (7, 3))],
)
def test_rows_of_an_evaluation_are_fewer_where_a_text_is_short(words, count, shape):
    rows = windows.evaluation_rows(np.arange(words), count, 6)
    assert rows.shape == shape
    np.testing.assert_array_equal(rows.T.ravel(), np.arange(rows.size))
    message = refused(windows.evaluation_rows, np.arange(1), 3, 6, "test.txt")
    assert "test.txt is too short: expected at least 2 words" in message and "Received: 1" in message


@pytest.mark.parametrize("deviation", [0.0, 5.0])
@pytest.mark.parametrize("steps", [36, 37, 38, 1000, 5000])
def test_windows_follow_each_other(steps, deviation):
    plan = windows.plan(steps, 35, 7, 3, half=0.3, deviation=deviation)
    starts, lengths, drawn = plan.T
    assert starts[0] == 0
    np.testing.assert_array_equal(starts[1:], (starts + lengths)[:-1])
    np.testing.assert_array_equal(lengths[:-1], drawn[:-1])
    assert steps - 2 <= starts[-1] + lengths[-1] <= steps - 1 and 2 <= lengths[-1] <= drawn[-1]
    if deviation:
        assert drawn.min() >= 5 and drawn.max() <= 55
    else:
        assert set(drawn) <= {35, 17}
    np.testing.assert_array_equal(plan, windows.plan(steps, 35, 7, 3, half=0.3, deviation=deviation))


def test_lengths_have_the_original_distribution():
    drawn = windows.plan(2_000_000, 35, 1, 0)[:, windows.DRAWN]
    np.testing.assert_allclose(np.mean(drawn == 17), 0.05, atol=0.005)
    drawn = windows.plan(2_000_000, 35, 1, 0, half=0.0, deviation=5.0)[:, windows.DRAWN]
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [34.5, 5], atol=0.15)
    other = windows.plan(2_000_000, 35, 1, 1, half=0.0, deviation=5.0)[:, windows.DRAWN]
    assert (drawn[:50] != other[:50]).any()


@pytest.mark.parametrize("steps", [2, 35, 36, 37, 71, 100])
def test_evaluation_misses_nothing(steps):
    plan = windows.even_plan(steps, 35)
    covered = np.concatenate([np.arange(start, start + length) for start, length, _ in plan])
    np.testing.assert_array_equal(covered, np.arange(steps - 1))


def test_batches_are_windows_of_the_rows():
    rows = windows.rows(np.arange(60), 2, 4)
    plan = windows.plan(len(rows), 4, 0, 0, half=0.5)
    found = list(windows.batches(rows, plan))
    assert len(found) == len(plan)
    for (tokens, targets, line), (start, length, _) in zip(found, plan, strict=True):
        np.testing.assert_array_equal(tokens, rows[start : start + length])
        np.testing.assert_array_equal(targets, rows[start + 1 : start + length + 1])
        assert line[windows.START] == start
    later = list(windows.batches(rows, plan[2:]))
    np.testing.assert_array_equal(later[0][0], found[2][0])
    assert windows.batches(rows, plan).element_spec[0].shape.as_list() == [None, 2]


@pytest.mark.parametrize("bptt", [2, 3, 4])
def test_short_windows_leave_out_nothing(bptt):
    for epoch in range(20):
        plan = windows.plan(400, bptt, 0, epoch, half=0.5)
        ends = plan[:, windows.START] + plan[:, windows.LENGTH]
        np.testing.assert_array_equal(plan[1:, windows.START], ends[:-1])
        assert plan[0, windows.START] == 0 and ends[-1] >= 398
