"""Data that Python code hands over: every form gives the images and the words that were given, or one line."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf.data import sources as images
from darts_tf.data.arrays.class_labels import Classes
from darts_tf.data.arrays.memory import load_memory
from darts_tf.data.text import memory as texts
from darts_tf.system.errors import UserError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (24, 6, 6, 3), np.uint8)
Y = np.arange(24) % 3


class Batches(keras.utils.PyDataset):
    num_batches = 4
    surplus = 0  # of labels, which the next batch lacks

    def __getitem__(self, number):
        start, odd = 6 * number, self.surplus * (number % 2)
        return X[start : start + 6], Y[start + odd : start + 6 + self.surplus - odd]


class Sequence(Batches):
    num_batches = keras.utils.PyDataset.num_batches

    def __len__(self):
        return 4


class Endless(Batches):
    num_batches = None


class Shifted(Batches):
    surplus = 1


class Failing(Batches):
    def __getitem__(self, number):
        raise FileNotFoundError("image 7")


def dataset():
    return tf.data.Dataset.from_tensor_slices((X, Y))


FORMS = {
    "arrays": lambda: (X, Y),
    "a list": lambda: [X, Y],
    "lists": lambda: (X.tolist(), Y.tolist()),
    "tensors": lambda: (tf.constant(X), tf.Variable(Y)),
    "keras tensors": lambda: (keras.ops.convert_to_tensor(X), Y),
    "one-hot": lambda: (X, keras.utils.to_categorical(Y)),
    "floats": lambda: (X / np.float32(255), Y.astype(np.float32)),
    "names": lambda: (X, np.array(["a", "b", "c"], object)[Y]),
    "a dict": lambda: {"train": (X, Y)},
    "single examples": dataset,
    "batches": lambda: dataset().batch(7),
    "one-hot batches": lambda: dataset().map(lambda x, y: (x, tf.one_hot(y, 3))).batch(7),
    "one-hot examples": lambda: dataset().map(lambda x, y: (x, tf.one_hot(y, 3))),
    "dicts": lambda: dataset().map(lambda x, y: {"image": x, "label": y, "id": y}),
    "a generator": lambda: tf.data.Dataset.from_generator(
        lambda: zip(X, Y, strict=True),
        output_signature=(tf.TensorSpec((6, 6, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
    ),
    "string examples": lambda: dataset().map(lambda x, y: (x, tf.gather(["a", "be", "c"], y))),
    "string batches": lambda: dataset().map(lambda x, y: (x, tf.gather(["a", "be", "c"], y))).batch(7),
    "a PyDataset": Batches,
    "a Sequence": Sequence,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(form):
    found = load_memory(FORMS[form]())
    np.testing.assert_array_equal(found.train[0], X)
    np.testing.assert_array_equal(found.train[1], Y)
    assert len(found.class_names) == 3 and found.valid is None and found.test is None


def test_grey_images_may_lack_their_channel():
    grey = X[..., 0]
    for given in ((grey, Y), tf.data.Dataset.from_tensor_slices((grey, Y)), dataset_of(grey).batch(5)):
        assert load_memory(given).train[0].tolist() == grey[..., None].tolist()


def dataset_of(x, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y))


def many(height, width=None):
    """Images of five channels."""
    return np.random.default_rng(0).integers(0, 256, (24, height, width or height, 5), np.uint8)


def test_one_hot_rows_of_single_images_are_not_taken_for_a_batch_of_labels():
    rows = keras.utils.to_categorical(Y)
    for x in (many(10), many(12, 8)):
        with_none = tf.data.Dataset.from_generator(
            lambda x=x: zip(x, rows, strict=True),
            output_signature=(tf.TensorSpec((None, *x.shape[2:]), tf.uint8), tf.TensorSpec((3,), tf.float32)),
        )
        for given in (dataset_of(x, rows), dataset_of(x, rows).batch(7), with_none):
            found = load_memory(given)
            np.testing.assert_array_equal(found.train[0], x)
            np.testing.assert_array_equal(found.train[1], Y)


@pytest.mark.parametrize("size", [6, 4])
def test_batches_of_a_fixed_size_may_be_grey(size):
    x = X[..., 0]
    found = load_memory(dataset_of(x).batch(size, drop_remainder=True))
    np.testing.assert_array_equal(found.train[0][..., 0], x)
    np.testing.assert_array_equal(found.train[1], Y)


def test_numbers_in_an_array_of_objects_are_numbers():
    _, labels = load_memory((X, np.array(Y.tolist(), object))).train
    np.testing.assert_array_equal(labels, Y)


def test_a_pair_is_training_and_validation_and_a_dict_may_have_a_test_part():
    found = load_memory(((X[:12], Y[:12]), dataset().skip(12)))
    assert len(found.train[1]) == len(found.valid[1]) == 12 and found.test is None
    note = (
        "valid: 12 images from a Dataset of single examples, held in memory; to resume the run, it must yield the same"
    )
    assert any(line.startswith(note) for line in found.notes)
    found = load_memory({"train": (X, Y), "test": (X[:5], Y[:5]), "class_names": ["cat", "dog", "owl"]})
    assert len(found.test[1]) == 5 and found.valid is None and found.class_names == ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("single examples", "examples for train: 5 of 24"),
        ("a generator", "examples for train: 5"),
        ("batches", "batches for train: 1 of 4"),
        ("a PyDataset", "batches for train: 1 of "),
    ],
)
def test_the_progress_of_what_takes_long_to_read_is_reported(form, says, monkeypatch):
    said = []
    load_memory(FORMS[form](), say=said.append)
    assert not said
    monkeypatch.setattr("darts_tf.data.given.PROGRESS_SECONDS", -1)
    load_memory(FORMS[form](), say=said.append)
    assert any(line.startswith(f"reading {says}") for line in said)


WRONG = {
    "nothing": ({}, "keys none"),
    "text": ("images", "Received: str"),
    "a number": (3, "Received: int"),
    "one array": (X, "Received: ndarray"),
    "three": ((X, Y, Y), "tuple of 3"),
    "other keys": ({"train": (X, Y), "tset": (X, Y)}, "train, tset"),
    "no training part": ({"test": (X, Y)}, "keys test"),
    "lengths": ((X, Y[:-1]), "expected 24"),
    "ragged": (([X[0], X[1, :3]], [0, 1]), "ragged"),
    "ragged tensor": ((tf.ragged.constant([[1], [2, 3]]), [0, 1]), "ragged"),
    "empty": ((X[:0], Y[:0]), "empty"),
    "out of range": ({"train": (X, Y), "class_names": ["a", "b"]}, "out of range"),
    "unknown in validation": (((X, Y), (X, Y + 1)), "does not have"),
    "no labels": (lambda: tf.data.Dataset.from_tensor_slices(X), "must have images and labels"),
    "no labels in a tuple": (lambda: tf.data.Dataset.from_tensor_slices((X,)), "must have images and labels"),
    "weights": (lambda: tf.data.Dataset.from_tensor_slices((X, Y, Y)), "of 3; sample weights are not used"),
    "None as labels": ((X, None), "y_train .* is no array: .*Received: NoneType"),
    "sparse labels": ((X, tf.sparse.eye(24)), "is no array: .*Received: SparseTensor.*to_dense"),
    "sparse batches": (lambda: dataset_of(X.reshape(24, -1)).map(lambda x, y: (tf.sparse.eye(6), y)), "is no array"),
    "one-hot rows or labels": (
        lambda: dataset_of(many(3), keras.utils.to_categorical(Y)),
        r"ambiguous: .*Received: .*\(3, 3, 5\).*Call batch",
    ),
    "labels of the next batch": (Shifted, r"as many labels as images. .*\(6, 6, 6, 3\).*\(7,\)"),
    "a PyDataset without an end": (Endless, "no end"),
    "a failing PyDataset": (Failing, "fails: .*FileNotFoundError: image 7"),
    "other dict": (lambda: tf.data.Dataset.from_tensor_slices({"x": X, "y": Y}), "keys x, y"),
    "no end": (lambda: dataset().repeat(), "no end"),
    "empty Dataset": (lambda: dataset().take(0), "empty"),
    "ragged Dataset": (
        lambda: tf.data.Dataset.from_generator(
            lambda: [(X[0], 0), (X[1, :3], 1)],
            output_signature=(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
        ),
        "ragged",
    ),
    "a failing Dataset": (
        lambda: dataset().map(lambda x, y: (tf.debugging.check_numerics(tf.cast(x, "float32") / 0.0, "bad"), y)),
        "fails: expected examples. Received: bad : Tensor had Inf",
    ),
    "a missing name": (
        (X, ["cat", "dog", float("nan")] * 8),
        "names and other values: .*Received: 8 others.*nan at index 2",
    ),
    "a missing name in an array": ((X, np.array(["cat", "dog", None] * 8, object)), "8 others.*None at index 2"),
    "names in a set": ({"train": (X, Y), "class_names": {"a", "b", "c"}}, "class_names must be a list.*Received: set"),
    "a mask": ((np.ma.masked_equal(X, X[0, 0, 0, 0]), Y), "masked values"),
    "standardised": ((X.astype("float32") / 64 - 2, Y), "value"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_is_refused_in_a_line(case):
    given, says = WRONG[case]
    with pytest.raises(UserError, match=says) as caught:
        load_memory(given() if callable(given) else given)
    assert "\n" not in str(caught.value)


NAMES = ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("numbers", "labels", "expected"),
    [
        ([0, 1, 2], [1, 1], [1, 1]),  # a single class
        ([0, 1, 2], [1, 2], [1, 2]),  # might count from 1
        ([1, 2, 3], [1, 2], [0, 1]),  # does
        ([1, 2, 3], ["owl", "dog"], [2, 1]),
        ([1, 2, 3], [[0, 0, 1], [0, 1, 0]], [2, 1]),
        ([3, 7, 9], [9, 3], [2, 0]),
        ([], [0, 2], [0, 2]),  # unknown
        ([], [3, 3], [2, 2]),
    ],
)
def test_labels_for_a_trained_network_are_numbered_as_in_its_training(numbers, labels, expected):
    known = Classes(np.array(numbers), NAMES)
    found = load_memory((X[:2], labels), known=known)
    assert found.train[1].tolist() == expected and found.class_names == NAMES


def test_labels_that_a_trained_network_lacks():
    for numbers, labels, says in (
        ([0, 1, 2], [1, 3], "the network does not have: expected 0 to 2. Received: 3"),
        ([], [1, 2], "may count from 0 or from 1"),
        ([0, 1, 2], ["dog", "ant"], "the network does not have"),
    ):
        with pytest.raises(UserError, match=says):
            load_memory((X[:2], labels), known=Classes(np.array(numbers), NAMES))


def test_what_is_too_large_for_memory_is_refused_before_it_is_held(monkeypatch):
    monkeypatch.setattr("darts_tf.data.arrays.memory.free_memory", lambda: 4 * X[0].nbytes)
    with pytest.raises(UserError, match="too large"):
        load_memory(dataset().repeat(1000).take(10**9))


def test_the_data_set_is_named_and_needs_its_data():
    found = images.load("memory", data=(X, Y))
    assert found.name == "memory" and found.image_shape == (6, 6, 3)
    for dataset_name, data in (("memory", None), ("digits", (X, Y))):
        with pytest.raises(UserError, match="passed from Python"):
            images.load(dataset_name, data=data)


LINES = [f"the cat sat on mat number {i % 3}" for i in range(40)]


def test_lines_end_and_what_is_not_given_is_cut_off():
    said = []
    found = texts.load_memory(LINES, say=said.append)
    assert found.vocabulary.decode(found.train[:8]) == ["the", "cat", "sat", "on", "mat", "number", "0", "<eos>"]
    assert [len(found.valid) // 8, len(found.test) // 8, len(found.train) // 8] == [4, 3, 33]
    assert said == [
        "the last 4 lines of the training text are the validation text",
        "the last 3 lines of the training text are the test text",
    ]
    given = texts.load_memory({"train": LINES, "validation": LINES[:2], "test": LINES[:1]})
    assert [len(given.train), len(given.valid), len(given.test)] == [320, 16, 8]


def test_token_numbers_are_words():
    for given in ([7, 5, 7] * 20, np.array([7, 5, 7] * 20)):
        found = texts.load_memory((given, [5, 9]))
        assert found.vocabulary.decode(found.valid) == ["5", "<unk>", "<eos>"]
        assert len(found.train) + len(found.test) == 62  # each a line
    rows = texts.load_memory({"train": [[1, 2], [2]], "validation": [[2]], "test": [[1]]})
    assert rows.vocabulary.decode(rows.train) == ["1", "2", "<eos>", "2", "<eos>"]


@pytest.mark.parametrize("wrong", ["text", [], [1.5], ["a", 1], [-1, 2], {"valid": ["a"]}, 5, [[1], ["a"]]], ids=repr)
def test_other_texts_are_refused(wrong):
    with pytest.raises(UserError, match="Received"):
        texts.load_memory(wrong)


def test_a_text_to_evaluate_has_the_words_of_the_network():
    known = texts.load_memory(LINES).vocabulary
    found = texts.of_vocabulary(["the dog sat"], known)
    assert known.decode(found.test) == ["the", "<unk>", "sat", "<eos>"]
