"""Image data sets in `.npz` archives: which array is what, layouts, ranges of values, labels; what is not certain."""

import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from darts_tf.data import sources as images
from darts_tf.data.arrays import archive as arrays
from darts_tf.data.arrays import pixels
from darts_tf.system import npz
from darts_tf.system.errors import UserError

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (12, 8, 8, 3)).astype(np.uint8)
X[0, 0, 0] = 0, 128, 255
Y = np.arange(12) % 3
NAMES = np.array(["a", "b", "c"])


@pytest.fixture
def load(tmp_path):
    def load(value_range="auto", **named):
        path = tmp_path / "photos.npz"
        np.savez(path, **named)
        return arrays.load_npz(str(path), value_range)

    return load


@pytest.fixture
def refused(load):
    def refused(*words, **named):
        with pytest.raises(UserError) as caught:
            load(**named)
        message = str(caught.value)
        assert "\n" not in message and "photos.npz" in message
        for word in words:
            assert word in message
        return message

    return refused


# --- names


@pytest.mark.parametrize(
    "names",
    [
        "x y x_val y_val x_test y_test",
        "x_train y_train x_valid y_valid x_test y_test",
        "X_train Y_train X_validation Y_validation X_test Y_test",
        "train_images train_labels val_images val_labels test_images test_labels",
        "images labels images_val labels_val images_test labels_test",
        "image label valid_image valid_label test_image test_label",
        "data target data_val target_val data_test target_test",
        "trainX trainY valX valY testX testY",
        "train/x train/y val/x val/y test/x test/y",
        "run7/x run7/y run7/x_val run7/y_val run7/x_test run7/y_test",
    ],
)
def test_every_usual_name_finds_its_part(load, names):
    parts = [X, Y, X[:6], Y[:6], X[:9], Y[:9]]
    names = names.split()
    found = load(**dict(zip(names, parts, strict=True)))
    for number, part in enumerate((found.train, found.valid, found.test)):
        np.testing.assert_array_equal(part[0], parts[2 * number])
        np.testing.assert_array_equal(part[1], parts[2 * number + 1])
    x, _, x_val, _, x_test, _ = names
    expected = (
        f"photos.npz: {x} for training (12 images), {x_val} for validation (6 images), {x_test} for testing (9 images)"
    )
    assert found.notes == (expected,)
    alone = load(**dict(zip(names[:4], parts[:4], strict=True)))
    assert alone.test is None and len(alone.valid[1]) == 6


def test_what_is_not_read_is_counted_and_its_objects_do_not_matter(load):
    found = load(x=X, y=Y, meta=np.array([{}], object), x_train_mean=np.zeros(3))
    assert "left out: array 'meta', array 'x_train_mean'" in found.notes
    many = load(x=X, y=Y, **{f"extra_{i}": np.zeros(1) for i in range(9)})
    assert "left out: 9 entries, such as array 'extra_0'" in many.notes


@pytest.mark.parametrize(
    "named, words",
    [
        ({"x": X, "x_train": X, "y": Y}, ["'x' and 'x_train'"]),
        ({"x": X, "X": X, "y": Y}, ["'x' and 'X'"]),
        ({"x": X, "y": Y, "x_val": X, "x_valid": X, "y_val": Y}, ["'x_val' and 'x_valid'"]),
        ({"data": X.reshape(12, -1), "images": X, "target": Y}, ["'data' and 'images'"]),  # scikit-learn's digits
        ({"x": X}, ["no array 'y'"]),
        ({"train_labels": Y}, ["no array 'x_train'"]),
        ({"x": X, "y": Y, "x_val": X}, ["only one of 'x_val' and 'y_val'"]),
        ({"x_test": X, "y_test": Y}, ["no training images", "Received: x_test, y_test"]),
        ({"a": X, "b": Y}, ["Received: a, b", "numpy.savez(path, x_train=x"]),
        ({"x": X, "y": Y, "x_test": X[:0], "y_test": Y[:0]}, ["'y_test'", "is empty"]),
    ],
)
def test_names_that_are_not_certain(refused, named, words):
    refused(*words, **named)


def test_arrays_without_names(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X, Y)
    found = arrays.load_npz(str(path))
    np.testing.assert_array_equal(found.train[1], Y)
    for given in ((Y, X), (X,), (X, Y, X, Y), (X, X)):
        np.savez(path, *given)
        with pytest.raises(UserError, match="Name them"):
            arrays.load_npz(str(path))


# --- the file


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", ["an empty file"]),
        (b"\x93NUMPY\x01\x00", ["a single array", "numpy.load", "numpy.savez"]),
        (b"MATLAB 5.0 MAT-file, Platform", ["MATLAB", "scipy.io.loadmat"]),
        (b"\x89HDF\r\n\x1a\n", ["HDF5", "h5py"]),
        (b"\x80\x04\x95", ["pickle"]),
        (b"label,pixel0\n", ["numpy.savez"]),
    ],
)
def test_another_kind_of_file_says_how_to_convert_it(tmp_path, content, words):
    path = tmp_path / "photos.npz"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        arrays.load_npz(str(path))
    assert all(word in str(caught.value) for word in [*words, "photos.npz"]) and "\n" not in str(caught.value)


def test_a_zip_of_other_files_and_a_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.npz", "w") as file:
        file.writestr("cat/1.png", b"")
    with pytest.raises(UserError, match="a zip archive of other files.*Received: cat/1.png"):
        arrays.load_npz(str(tmp_path / "photos.npz"))
    with pytest.raises(UserError, match="is a folder.*dataset=folder"):
        arrays.load_npz(str(tmp_path))


def test_an_archive_that_macos_packed(tmp_path):
    np.savez(tmp_path / "photos.npz", x=X, y=Y)
    with zipfile.ZipFile(tmp_path / "photos.npz", "a") as file:
        file.writestr("__MACOSX/._x.npy", b"\0")
        file.writestr("readme.txt", b"hello")
    found = arrays.load_npz(str(tmp_path / "photos.npz"))
    assert found.notes[1:] == ("left out: readme.txt",)


# --- layouts


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.moveaxis(x, -1, 1),
        lambda x: np.moveaxis(x[..., :1], -1, 1),
        lambda x: np.moveaxis(np.concatenate([x, x[..., :1]], -1), -1, 1),
        lambda x: np.moveaxis(x[:, :6], -1, 1),
        lambda x: np.moveaxis(x, 0, -1),
        lambda x: np.moveaxis(x[..., 0], 0, -1),
        lambda x: x.transpose(3, 1, 2, 0),
        lambda x: x.reshape(12, -1),
        lambda x: x[..., 0].reshape(12, -1),
        lambda x: x.reshape(12, 64, 3),
        lambda x: np.moveaxis(x, -1, 1).reshape(12, 3, 64),
    ],
)
def test_another_layout_is_refused_and_the_conversion_that_is_named_is_right(load, refused, change):
    message = refused("'x'", f"Received: shape {change(X).shape}", x=change(X), y=Y)
    conversion = message.split("onvert it: ")[1].split(", or where")[0].rstrip(".")
    expected = X if change(X).size == X.size else None
    found = load(x=eval(conversion, {"numpy": np, "x": change(X)}), y=Y).train[0]
    if expected is not None:
        np.testing.assert_array_equal(found, expected)
    else:
        assert found.shape[0] == 12 and found.shape[2] == 8 and found.shape[3] in (1, 3, 4)


@pytest.mark.parametrize("shape", [(3, 3, 3), (8, 8, 8), (13, 8, 8), (4, 5, 3), (1, 1, 3), (1, 9, 1), (13, 16, 20)])
def test_a_layout_that_is_not_certain(refused, shape):
    refused("'x'", f"{(12, *shape)}", x=np.zeros((12, *shape), np.uint8), y=Y)


@pytest.mark.parametrize("shape", [(8, 8, 13), (16, 20, 2), (20, 16, 5), (5, 7, 3), (8, 8), (6, 9), (3, 3, 5)])
def test_a_layout_that_is_certain(load, shape):
    x = RANDOM.integers(0, 256, (12, *shape)).astype(np.uint8)
    np.testing.assert_array_equal(load(x=x, y=Y).train[0], x.reshape(12, *(*shape, 1)[:3]))


def test_one_image_and_other_ranks(refused):
    refused("'y'", "wrong length", "(8, 8, 3)", x=X[0], y=Y[:1])
    refused("'x'", "wrong rank", x=X[:, None], y=Y)
    refused("'x_test'", "does not fit", "(8, 8, 3)", "(8, 8, 1)", x=X, y=Y, x_test=X[..., 0], y_test=Y)


# --- ranges of values


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("beyond", [1.0000001, 1.001, -0.0009])
def test_rounding_beyond_the_range_changes_no_byte(load, dtype, beyond):
    x = (X / 255).astype(dtype)
    x[0, 0, 0, 0 if beyond < 0 else 2] = beyond
    np.testing.assert_array_equal(load(x=x, y=Y).train[0], X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, ">i4"])
def test_bytes_of_another_type(load, dtype):
    np.testing.assert_array_equal(load(x=X.astype(dtype), y=Y).train[0], X)


@pytest.mark.parametrize(
    "x, words",
    [
        (X / 127.5 - 1, ["float64 from -1 to 1", "value_range=LOW,HIGH, such as -1,1"]),
        (X / 255 - 0.5, ["from -0.5 to 0.5", "such as -0.5,0.5"]),
        ((X / 255 - 0.5) / 0.2, ["from -2.5 to 2.5", "value_range", "standardised"]),
        (X / 255 * 1.1, ["from 0 to 1.1", "numpy.clip"]),
        (X / 255 / 255, ["from 0 to 0.0039215686", "value_range"]),
        (np.rint(X / 16), ["float64 from 0 to 16", "such as 0,16, or 0,255 for dark"]),
        (X // 16, ["int64 from 0 to 15", "such as 0,15"]),
        (X // 128, ["int64 from 0 to 1", "such as 0,1"]),
        (X.astype(int) * 257, ["int64 from 0 to 65535", "such as 0,65535"]),
        (X.astype(np.uint16) * 16, ["uint16 from 0 to 4080", "such as 0,4095"]),
        ((X.astype(int) - 128).astype(np.int8), ["int8 from -128 to 127", "such as -128,127"]),
        (X * 0.0, ["from 0 to 0, a constant", "value_range"]),
        (X > 9, ["bool", "value_range=0,1"]),
        (np.where(X == X.max(), np.inf, X / 255), ["are nan or infinite"]),
        (X * 1j, ["complex128"]),
        (X.astype("M8[s]"), ["datetime64"]),
    ],
)
def test_a_range_that_is_not_certain(refused, x, words):
    refused("'x'", *words, x=x.astype(np.int64) if x.dtype == np.uint8 else x, y=Y)


def test_a_range_that_is_given(load, refused):
    for low, high in ((-1, 1), (0, 16), (0, 65535), (-128, 127), (0, 1)):
        x = X / 255 * (high - low) + low
        found = load(f"{low},{high}", x=x, y=Y, x_test=x[:5] * 0 + high, y_test=Y[:5])
        np.testing.assert_array_equal(found.train[0], X)
        assert found.test[0].min() == 255
    np.testing.assert_array_equal(load("0,1", x=X > 127, y=Y).train[0], 255 * (X > 127))
    np.testing.assert_array_equal(load("0,1", x=X % 2, y=Y).train[0], 255 * (X % 2))
    refused("value_range=0,16", "from 0 to 17", x=np.minimum(X, 17).astype(int), y=Y, value_range="0,16")
    refused("'x_val'", "-1,1", x=X / 255, y=Y, x_val=X / 99, y_val=Y, value_range="-1,1")
    for wrong in ("1,0", "0", "a,b", "0,nan", "-inf,1", ""):
        with pytest.raises(UserError, match="LOW,HIGH"):
            load(wrong, x=X, y=Y)


def test_bytes_are_bytes_whatever_they_hold(load):
    dark = load(x=X % 2, y=Y)
    np.testing.assert_array_equal(dark.train[0], X % 2)
    assert any("from 0 to 1 out of 255" in note for note in dark.notes)


@pytest.mark.parametrize(
    "train, test",
    [
        (X, X / 255),
        (X / 255, X),
        (X * 1.0, X / 255),
        (X / 255, X * 1.0),
        (X / 255, X / 255 / 255),
        (X / 255, X / 127.5 - 1),
        (X.astype(int), X // 128),
        (X / 255, X.astype(int) // 128),
        (X, X > 9),
    ],
)
@pytest.mark.parametrize("part", ["val", "test"])
def test_one_scale_for_all_parts(refused, train, test, part):
    test = test.astype(int) if test is not X and test.dtype == np.uint8 else test
    refused(f"'x_{part}'", "scale", "'x'", x=train, y=Y, **{f"x_{part}": test, f"y_{part}": Y})


def test_large_arrays_are_converted_in_blocks():
    """Float32 images of 96 MB take their bytes, 24 MB, and little more."""
    x = RANDOM.random((1500, 64, 64, 4), np.float32)
    tracemalloc.start()
    try:
        found = pixels.measure("x", x)
        pixels.to_bytes(x, *pixels.choose_range("x", found))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6


# --- labels


@pytest.mark.parametrize(
    "labels, classes, numbers, note",
    [
        (Y * 1.0, "0 1 2", Y, None),
        (Y.astype(np.float16)[:, None], "0 1 2", Y, None),
        (Y[None].astype(np.uint8), "0 1 2", Y, None),
        (Y + 1, "1 2 3", Y, "labels 1, 2, 3 became classes 0, 1, 2"),
        (np.array([1, 2, 5])[Y], "1 2 5", Y, "labels 1, 2, 5 became classes 0, 1, 2"),
        (np.array([7.0, 2.0, 5.0])[Y], "2 5 7", np.array([2, 0, 1])[Y], "labels 2, 5, 7 became classes 0, 1, 2"),
        (np.array([-1, 1])[Y % 2], "-1 1", Y % 2, "labels -1, 1 became classes 0, 1"),
        (Y == 1, "False True", Y == 1, "labels False, True became classes 0, 1"),
        (np.array(["dog", "cat", "ant"])[Y], "ant cat dog", 2 - Y, "labels ant, cat, dog became classes 0, 1, 2"),
        (np.array([b"dog", b"c\xc3\xa1t", b"ant"])[Y][:, None], "ant cát dog", 2 - Y, "labels ant, cát, dog"),
        (np.array(["9", "10", "2"])[Y], "2 9 10", np.array([1, 2, 0])[Y], "labels 2, 9, 10 became classes 0, 1, 2"),
        (np.eye(3)[Y], "0 1 2", Y, "one-hot rows became classes 0, 1, 2"),
        (np.eye(4, dtype=int)[Y], "0 1 2 3", Y, "one-hot rows became classes 0, 1, 2, 3"),
        (np.eye(3, dtype=bool)[Y], "0 1 2", Y, "one-hot rows"),
        (Y + 2**40, None, Y, "became classes 0, 1, 2"),
    ],
)
def test_labels_that_are_read_rightly(load, labels, classes, numbers, note):
    test = labels if labels.shape[0] == 1 else labels[::-1]
    found = load(x=X, y=labels, x_test=X, y_test=test)
    np.testing.assert_array_equal(found.train[1], numbers)
    np.testing.assert_array_equal(found.test[1], numbers if test is labels else numbers[::-1])
    assert found.train[1].dtype == np.int32 and (classes is None or found.class_names == tuple(classes.split()))
    assert any(note in line for line in found.notes) if note else len(found.notes) == 1


@pytest.mark.parametrize(
    "labels, words",
    [
        (Y + 0.5, ["not whole numbers", "0.5", "regression"]),
        (np.where(Y, Y, np.nan), ["not whole numbers", "4 others", "nan"]),
        (np.eye(3)[Y] * 0.8 + 0.1, ["one-hot", "row 0: 0.9, 0.1, 0.1"]),
        (np.maximum(np.eye(3)[Y], np.eye(3)[0]), ["one-hot", "8 other rows", "row 1: 1, 1, 0"]),
        (np.zeros((12, 3)), ["one-hot"]),
        (np.array([["a", "b"]] * 12), ["wrong rank", "(12, 2)"]),
        (np.array(["a", "", "b"])[Y], ["empty labels", "4"]),
        (np.array([b"\xff", b"a"])[Y % 2], ["UTF-8"]),
        (Y.astype(object), ["objects", "tolist"]),
        (Y.astype("M8[D]"), ["dtype", "datetime64"]),
        (Y * 1j, ["dtype", "complex"]),
        (Y - 1, ["the label -1", "without a label"]),
        (Y * 0, ["only one class"]),
        (np.arange(12) * 7, ["its own label", "12 different"]),
        (Y[1:], ["wrong length", "expected 12", "Received: 11"]),
        (np.arange(15) % 3, ["wrong length", "Received: 15"]),
        (np.array(3), ["wrong rank"]),
    ],
)
def test_labels_that_are_refused(refused, labels, words):
    refused("'y'", *words, x=X, y=labels)


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_label_that_the_training_images_do_not_have(refused, part):
    for labels, words in (
        (Y + 1, "Received: 3"),
        (NAMES[Y], "Received: a, b, c"),
        (np.eye(4)[Y], "one-hot rows of 4"),
    ):
        y = np.eye(3)[Y] if labels.ndim == 2 else Y
        refused(f"'y_{part}'", "'y'", words, x=X, y=y, **{f"x_{part}": X, f"y_{part}": labels})
    refused("bird", x=X, y=NAMES[Y], **{f"x_{part}": X, f"y_{part}": np.where(Y == 1, "bird", NAMES[Y])})


@pytest.mark.parametrize(
    "labels, names, numbers",
    [
        (Y, NAMES, Y),
        (Y, [*NAMES, "d"], Y),
        (Y + 1, NAMES, Y),
        (np.array([1, 3])[Y % 2], NAMES, np.array([0, 2])[Y % 2]),
        (NAMES[Y], NAMES[::-1], 2 - Y),
        (np.eye(3)[Y], NAMES, Y),
        (np.array([1, 2, 5])[Y], ["1", "2", "5"], Y),
        (Y, [b"a", b"b", b"c"], Y),
    ],
)
def test_names_of_the_classes(load, labels, names, numbers):
    found = load(x=X, y=labels, target_names=np.array(names))
    assert found.class_names == tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)
    np.testing.assert_array_equal(found.train[1], numbers)


@pytest.mark.parametrize(
    "labels, names, words",
    [
        (Y, NAMES[:2], "Received: 0, 1, 2"),
        (Y + 2, NAMES, "Received: 2, 3, 4"),
        (Y % 2 + 1, NAMES, "may count from 0 or from 1"),
        (np.array([1, 2, 5])[Y], NAMES, "Received: 1, 2, 5"),
        (NAMES[Y], NAMES[:2], "c, not among the names"),
        (np.eye(3)[Y], [*NAMES, "d"], "one-hot rows of 3"),
        (Y, ["2", "1", "0"], "name other classes"),
        (Y, ["a", "a", "b"], "distinct"),
        (Y, ["a", " ", "b"], "distinct"),
    ],
)
def test_names_that_do_not_say_which_class_is_meant(refused, labels, names, words):
    refused(words, x=X, y=labels, class_names=np.array(names))


def test_the_digits_of_scikit_learn(load, refused):
    from sklearn import datasets

    digits = datasets.load_digits()
    named = {name: digits[name] for name in ("images", "target", "target_names", "DESCR")}
    refused("float64 from 0 to 16", "value_range=LOW,HIGH, such as 0,16", **named)
    found = load("0,16", **named)
    assert found.class_names == tuple("0123456789") and "left out: array 'DESCR'" in found.notes
    np.testing.assert_array_equal(found.train[1], digits.target)
    np.testing.assert_array_equal(found.train[0][..., 0], np.rint(digits.images * 255 / 16))


# --- channels


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 13])
def test_any_number_of_channels_is_loaded_resized_and_asked_for_again(tmp_path, channels):
    path = tmp_path / "photos.npz"
    x = RANDOM.integers(0, 256, (12, 16, 20, channels)).astype(np.uint8)
    np.savez(path, x=x, y=Y)
    for asked in (0, channels):
        data = images.load("npz", str(path), image_size=8, channels=asked)
        assert data.image_shape == (8, 8, channels) and len(data.mean) == len(data.std) == channels
    others = {1: (2, 4), 3: (2, 4)}.get(channels, (1, 3))
    for asked in others:
        with pytest.raises(UserError, match=f"{channels} channels cannot be converted to {asked}"):
            images.load("npz", str(path), channels=asked)


def test_images_to_predict(tmp_path):
    for name, x, expected in (("one", X[0], X[:1]), ("all", X / 255, X), ("grey", X[0, ..., 0], X[:1, ..., :1])):
        np.save(tmp_path / name, x)
        np.testing.assert_array_equal(arrays.load_images(str(tmp_path / f"{name}.npy"), "auto"), expected)
    with pytest.raises(UserError, match="all.npy must be scaled as in training.*value_range=LOW,HIGH"):
        arrays.load_images(str(tmp_path / "all.npy"))
    np.savez(tmp_path / "new", pictures=X)
    np.testing.assert_array_equal(arrays.load_images(str(tmp_path / "new.npz")), X)
    np.savez(tmp_path / "new", x=X, y=Y)
    np.testing.assert_array_equal(arrays.load_images(str(tmp_path / "new.npz")), X)
    np.savez(tmp_path / "new", x=X, x_test=X)
    with pytest.raises(UserError, match="one array of images. Received: x, x_test"):
        arrays.load_images(str(tmp_path / "new.npz"))
    np.save(tmp_path / "odd", X / 99)
    with pytest.raises(UserError, match="odd.npy has values in an ambiguous range.*value_range"):
        arrays.load_images(str(tmp_path / "odd.npy"), "auto")
    np.save(tmp_path / "odd", np.array([{}]), allow_pickle=True)
    os.truncate(tmp_path / "all.npy", 300)
    for name in ("odd", "all"):
        with pytest.raises(UserError, match=f"{name}.npy cannot be read"):
            arrays.load_images(str(tmp_path / f"{name}.npy"))
    assert npz.is_array(tmp_path / "one.npy") and not npz.is_array(tmp_path / "new.npz")
