"""Data sets, on generated, embedded and real images."""

import io
import itertools
import resource
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from darts_tf.data import sources as images
from darts_tf.data.files import encoded_images, headers
from darts_tf.data.images import stream
from darts_tf.system.errors import UserError
from tests.helpers.paths import DATA, PHOTOGRAPHS


def raises(message):
    return pytest.raises(UserError, match=message)


@pytest.fixture(autouse=True)
def one_line_errors(monkeypatch):
    """Every message of this package must fit on a line."""
    init = UserError.__init__

    def checked(self, *args):
        assert "\n" not in args[0], args[0]
        init(self, *args)

    monkeypatch.setattr(UserError, "__init__", checked, raising=False)


# --- load: what all data sets share


def test_unknown_data_set():
    with raises("expected one of cifar10, digits, folder, imagenet2012, memory, npz, tfds:NAME. Received: mnist"):
        images.load("mnist")


def test_channels():
    with raises("channels must be 1, 3, or 0.*Received: 2"):
        images.load("digits", channels=2)


# --- digits


def test_digits_are_all_there_once():
    from sklearn import datasets

    data = images.load("digits")
    assert data.image_shape == (8, 8, 1) and data.class_names == tuple("0123456789")
    assert (len(data.train), len(data.test)) == (1500, 297)
    ours = np.concatenate([split.read(tf.range(len(split))).numpy() for split in (data.train, data.test)])
    assert ours.dtype == np.uint8 and ours.min() == 0 and ours.max() == 255
    labels = np.concatenate([data.train.labels, data.test.labels])
    original = datasets.load_digits()
    back = np.rint(ours[..., 0] / 255 * 16)
    key = sorted((*image.ravel(), label) for image, label in zip(back, labels, strict=True))
    assert key == sorted((*image.ravel(), label) for image, label in zip(original.images, original.target, strict=True))
    assert np.bincount(data.test.labels).min() >= 29
    pixels = data.train.read(tf.range(1500)).numpy() / 255
    np.testing.assert_allclose([data.mean[0], data.std[0]], [pixels.mean(), pixels.std()], rtol=1e-9)


def test_first_examples_size_and_channels():
    asked = dict(image_size=13, max_train_examples=20, channels=3, split="index")
    full, data = images.load("digits"), images.load("digits", **asked)
    assert data.image_shape == (13, 13, 3) and len(data.mean) == len(data.std) == 3
    np.testing.assert_array_equal(data.train.labels, full.train.labels[:20])
    pixels = data.train.read(tf.range(20)).numpy()
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


# --- npz


def good_arrays(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.integers(0, 256, (12, 5, 7, 3)).astype(np.uint8),
        "y": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (4, 5, 7, 3)).astype(np.uint8),
        "y_test": np.arange(4) % 3,
    }
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def load_arrays(tmp_path, save=np.savez, **changes):
    path = tmp_path / "data.npz"
    save(path, **good_arrays(**changes))
    return images.load("npz", str(path))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    data, arrays = load_arrays(tmp_path, save), good_arrays()
    assert data.image_shape == (5, 7, 3) and data.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.read(tf.constant([3, 1])), arrays["x"][[3, 1]])
    np.testing.assert_array_equal(data.test.read(tf.range(4)), arrays["x_test"])
    np.testing.assert_array_equal(data.test.labels, arrays["y_test"])
    np.testing.assert_allclose(data.mean, (arrays["x"] / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(data.std, (arrays["x"] / 255).std((0, 1, 2)))


def test_npz_without_test_of_rank_3_with_names(tmp_path):
    data = load_arrays(
        tmp_path, x=np.zeros((12, 4, 4), np.uint8), x_test=None, y_test=None, class_names=np.array(list("abcd"))
    )
    assert data.test is None and data.image_shape == (4, 4, 1) and data.class_names == tuple("abcd")
    assert data.mean == (0.0,) and data.std == (1.0,)  # a constant channel must not divide by zero


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_npz_number_formats(tmp_path, dtype):
    expected = good_arrays()
    dark = expected["x_test"] * 0 + 1  # on the scale of x, not of its own maximum
    data = load_arrays(tmp_path, x=expected["x"].astype(dtype), x_test=dark.astype(dtype))
    np.testing.assert_array_equal(data.train.read(tf.range(12)), expected["x"])
    np.testing.assert_array_equal(data.test.read(tf.range(4)), dark)
    if np.issubdtype(dtype, np.floating):
        unit = {name: (expected[name] / 255).astype(dtype) for name in ("x", "x_test")}
        np.testing.assert_array_equal(load_arrays(tmp_path, **unit).train.read(tf.range(12)), expected["x"])


def test_npz_with_the_names_of_keras(tmp_path):
    arrays = good_arrays()
    data = load_arrays(tmp_path, x=None, y=None, x_train=arrays["x"], y_train=arrays["y"])
    np.testing.assert_array_equal(data.train.read(tf.range(12)), arrays["x"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "no array 'x'.*Received: y, x_test, y_test"),
        ({"y": None}, "no array 'y'"),
        ({"y_test": None}, "only one of 'x_test' and 'y_test'"),
        ({"x_test": None}, "only one of 'y_test' and 'x_test'"),
        ({"x": np.zeros((12, 5), np.uint8)}, r"'x' .* wrong rank: expected \(N, H, W\).*Received: shape \(12, 5\)"),
        ({"x": np.zeros((0, 5, 7, 3), np.uint8)}, "'x' .* is empty"),
        ({"x": np.zeros((12, 5, 7, 3), bool)}, "'x' .* wrong dtype.*Received: bool"),
        ({"x": np.full((12, 5, 7, 3), "a")}, "'x' .* wrong dtype.*Received: <U1"),
        ({"x": np.full((12, 5, 7, 3), 256)}, "'x' .* out of range: .*Received: int64 from 256 to 256"),
        ({"x": np.full((12, 5, 7, 3), -0.5)}, "'x' .* out of range: .*Received: float64 from -0.5"),
        ({"x": np.full((12, 5, 7, 3), np.nan)}, "'x' .* out of range: .*Received: 1,260 of 1,260 are nan"),
        ({"x": np.array([object()] * 12)}, "'x' .* holds Python objects"),
        ({"x_test": np.zeros((4, 5, 5, 3), np.uint8)}, r"'x_test' .* does not fit 'x'.*\(5, 7, 3\).*\(5, 5, 3\)"),
        ({"y": np.zeros((12, 2, 2), int)}, "'y' .* wrong rank"),
        ({"y": np.zeros(12, complex)}, "'y' .* wrong dtype.*Received: complex128"),
        ({"y": np.arange(11) % 3}, "'y' .* wrong length: expected 12.*Received: 11"),
        ({"y": np.arange(12) % 3 - 1}, "'y' .* the label -1.*Received: -1, 0, 1"),
        ({"y": np.full(12, 2**40)}, "'y' .* only one class"),
        ({"y": np.zeros(12, int)}, "'y' .* only one class"),
        ({"y_test": np.arange(4)}, "'y_test' .* expected 0 to 2.*Received: 3"),
        ({"class_names": np.array(["a", "b"])}, "'y' .* out of range.*expected 0 to 1.*Received: 0, 1, 2"),
        ({"class_names": np.arange(3)}, "'class_names' .* distinct, non-blank strings"),
        ({"class_names": np.array(["a", "b", "b"])}, "'class_names' .* distinct, non-blank strings"),
    ],
)
def test_npz_errors(tmp_path, changes, message):
    with raises(message):
        load_arrays(tmp_path, **changes)


def test_npz_missing(tmp_path):
    with raises("needs data_dir"):
        images.load("npz")
    with raises("There is no file .*absent.npz"):
        images.load("npz", str(tmp_path / "absent.npz"))
    with raises("There is no file"):
        images.load("npz", str(tmp_path))


def test_npz_corrupt(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, **good_arrays())
    content = path.read_bytes()
    for damaged in (b"", b"not an archive", content[:-40], content[:300] + bytes(200) + content[500:]):
        path.write_bytes(damaged)
        with raises("data.npz (cannot be read|is damaged)"):
            images.load("npz", str(path))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_npz_absurd_header(tmp_path, compression):
    """A tiny file that claims 4 GB is refused before anything is allocated."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 64, 64, 1)})
    path = tmp_path / "data.npz"
    np.savez(path, y=np.arange(12) % 3)
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(100))
    with raises("'x' .* header claims 4294967296 bytes"):
        images.load("npz", str(path))


def test_npz_damaged_header(tmp_path):
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': ......")
    with raises("'x' .* is damaged"):
        images.load("npz", str(path))


def test_channels_that_cannot_be_made(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros((4, 3, 3, 5), np.uint8), y=[0, 1, 0, 1])
    assert images.load("npz", str(path)).image_shape == (3, 3, 5)
    with raises("5 channels cannot be converted to 3"):
        images.load("npz", str(path), channels=3)


# --- folder


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = tf.io.encode_png if path.suffix == ".png" else tf.io.encode_jpeg
    path.write_bytes(encode(pixels).numpy())


def make_folder(root, classes=("ant", "bee"), count=3, shape=(6, 8, 3)):
    rng = np.random.default_rng(0)
    for name, number in itertools.product(classes, range(count)):
        write_image(root / name / f"{number}.png", rng.integers(0, 256, shape).astype(np.uint8))


@pytest.fixture
def photographs(tmp_path):
    """Real ImageNet photographs: five training and three held-out ones of each of three classes."""
    if not PHOTOGRAPHS.exists():
        pytest.skip(f"no photographs at {PHOTOGRAPHS}; DARTS_TF_DATA names the folder of data")
    taken = {}
    with tarfile.open(PHOTOGRAPHS) as tar:
        for member in tar:
            if member.isfile() and member.name.count("/") == 3:
                _, part, name, file = member.name.split("/")
                classes = taken.setdefault(part, {})
                if (name in classes or len(classes) < 3) and len(classes.setdefault(name, [])) < (5, 3)[part == "val"]:
                    target = tmp_path / "photographs" / part / name / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(tar.extractfile(member).read())
                    classes[name].append(target)
    assert set(taken["train"]) == set(taken["val"])
    return tmp_path / "photographs"


def test_photographs(photographs):
    from PIL import Image

    data = images.load("folder", str(photographs), image_size=40)
    assert data.image_shape == (40, 40, 3) and len(data.class_names) == 3
    assert (len(data.train), len(data.valid), data.test) == (15, 9, None)
    paths = sorted(photographs.glob("train/*/*"))
    names = [path.parent.name for path in paths]
    assert [data.class_names[label] for label in data.train.labels] == names
    ours = data.train.read(tf.range(15)).numpy()
    for path, image in zip(paths, ours, strict=True):
        photo = Image.open(path).convert("RGB")
        scale = 40 / min(photo.size)
        photo = photo.resize([round(side * scale) for side in photo.size], Image.Resampling.BILINEAR)
        left, top = ((side - 40) // 2 for side in photo.size)
        expected = np.asarray(photo.crop((left, top, left + 40, top + 40)), np.float64)
        assert np.abs(expected - image).mean() < 3  # another JPEG decoder and another resampling kernel
    assert 0.2 < min(data.mean) and max(data.mean) < 0.8


def test_decoding_when_read_equals_decoding_when_loaded(photographs, monkeypatch):
    held = images.load("folder", str(photographs), image_size=24)
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    lazy = images.load("folder", str(photographs), image_size=24)
    assert (lazy.mean, lazy.std) == (held.mean, held.std)
    indices = tf.constant([5, 0, 11], tf.int64)
    np.testing.assert_array_equal(lazy.train.read(indices), held.train.read(indices))
    batches = [
        next(iter(stream.stream(data.train, np.arange(15), 4, 3, mean=held.mean, std=held.std, crop_padding=2)))
        for data in (held, lazy)
    ]
    assert batches[1][0].shape == (4, 24, 24, 3)
    np.testing.assert_array_equal(batches[0][0], batches[1][0])


def test_folder_of_classes_keeps_a_size_that_all_share(tmp_path):
    make_folder(tmp_path)
    write_image(tmp_path / "bee" / "grey.jpg", np.full((6, 8, 1), 77, np.uint8))
    (tmp_path / "bee" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    data = images.load("folder", str(tmp_path))
    assert data.image_shape == (6, 8, 3) and data.test is None and data.class_names == ("ant", "bee")
    np.testing.assert_array_equal(data.train.labels, [0, 0, 0, 1, 1, 1, 1])
    assert np.abs(data.train.read(tf.constant([6])).numpy().astype(int) - 77).max() <= 1
    assert images.load("folder", str(tmp_path), channels=1).image_shape == (6, 8, 1)


def test_folder_formats(tmp_path):
    from PIL import Image

    make_folder(tmp_path)
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:3] = 255
    for name in ("a.gif", "b.BMP", "c.jpeg"):
        Image.fromarray(pixels).save(tmp_path / "ant" / name)
    Image.fromarray(pixels[..., 0]).convert("LA").save(tmp_path / "ant" / "d.png")
    read = images.load("folder", str(tmp_path)).train.read(tf.range(3, 7)).numpy()
    assert np.abs(read.astype(int) - pixels).max() < 8  # JPEG is lossy


@pytest.mark.parametrize("name", ["val", "valid", "test"])
def test_held_out_folder_may_lack_a_class(tmp_path, name):
    make_folder(tmp_path / "train", ("ant", "bee", "cat"))
    make_folder(tmp_path / name, ("bee", "cat"), count=2)
    data = images.load("folder", str(tmp_path))
    held_out = data.test if name == "test" else data.valid
    np.testing.assert_array_equal(held_out.labels, [1, 1, 2, 2])
    assert any("of class 'ant'" in note for note in data.notes)


def test_folder_sample_is_stratified_and_seeded(tmp_path):
    make_folder(tmp_path, count=10, shape=(2, 2, 3))

    def sample(seed):
        data = images.load("folder", str(tmp_path), max_train_examples=6, seed=seed)
        np.testing.assert_array_equal(np.bincount(data.train.labels), [3, 3])
        return data.train.read(tf.range(6)).numpy()

    np.testing.assert_array_equal(sample(1), sample(1))
    assert not np.array_equal(sample(1), sample(2))


def test_folder_errors(tmp_path, monkeypatch):
    with raises("needs data_dir"):
        images.load("folder")
    with raises("There is no folder .*absent"):
        images.load("folder", str(tmp_path / "absent"))
    with raises("holds no class folders"):
        images.load("folder", str(tmp_path))
    make_folder(tmp_path, ("ant",))
    with raises("only one class.*Received: ant"):
        images.load("folder", str(tmp_path))
    (tmp_path / "bee").mkdir()
    with raises("bee holds no images: expected JPEG, PNG, WebP"):
        images.load("folder", str(tmp_path))
    write_image(tmp_path / "bee" / "wide.png", np.zeros((6, 9, 3), np.uint8))
    with raises("differ in size: expected 6x8.*Received: 6x9 in .*wide.png. Pass image_size"):
        images.load("folder", str(tmp_path))
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    with raises("too many to compare.*Pass image_size"):
        images.load("folder", str(tmp_path))


@pytest.mark.parametrize("position", ["ant/0.png", "bee/1.png"])
@pytest.mark.parametrize("image_size", [0, 4])
def test_unreadable_image_is_named(tmp_path, position, image_size, monkeypatch):
    make_folder(tmp_path)
    whole = (tmp_path / position).read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2]):
        (tmp_path / position).write_bytes(content)
        with raises(f"An image cannot be read.*{position}"):
            images.load("folder", str(tmp_path), image_size=image_size)
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    (tmp_path / position).write_bytes(b"<html>")
    with raises(f"An image cannot be read.*{position}"):
        images.load("folder", str(tmp_path), image_size=4)


def png_of_zeros(height, width):
    """A PNG of one bit a pixel, as small as its decoder is told it is large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("position", ["ant/0.png", "bee/1.png"])
@pytest.mark.parametrize("image_size", [0, 4])
def test_an_image_of_a_few_kilobytes_and_gigabytes_of_pixels(tmp_path, position, image_size, monkeypatch):
    make_folder(tmp_path)
    (tmp_path / position).write_bytes(png_of_zeros(12000, 11000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for limit in (encoded_images.MEMORY_LIMIT, 0):
        monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", limit)
        if limit or image_size:
            with raises(f"too large: expected at most 67 million pixels. Received: 12000x11000 in .*{position}"):
                images.load("folder", str(tmp_path), image_size=image_size)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # in kilobytes


def test_a_gif_of_many_large_frames(tmp_path):
    """Its first frame is all that is used, and all of them are decoded: 64 MB each, of 50 kB in the file."""
    make_folder(tmp_path)
    file = io.BytesIO()
    Image.new("P", (8000, 8000)).save(file, "GIF")
    content = file.getvalue()
    start = content.index(b",\0\0\0\0")
    assert headers.in_all_frames(file) == 64_000_000
    (tmp_path / "bee/1.gif").write_bytes(content[:start] + content[start:-1] * 5 + content[-1:])
    with raises("too large: .* 4 times that in all frames. Received: 8000x8000 with 320 million .*bee/1.gif"):
        images.load("folder", str(tmp_path), image_size=4)


def test_why_an_image_cannot_be_read(tmp_path):
    make_folder(tmp_path)
    whole = (tmp_path / "bee/1.png").read_bytes()
    (tmp_path / "bee/1.png").write_bytes(whole[:-30])
    with raises(r"bee/1.png \((Invalid|Corrupt) PNG"):
        images.load("folder", str(tmp_path), image_size=4)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif"])
@pytest.mark.parametrize("options", [{}, {"progressive": True, "exif": b"Exif\0\0" + bytes(50_000)}])
def test_sizes_are_read_from_headers(suffix, options):
    file = io.BytesIO()
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    Image.new("RGB", (83, 61)).save(file, kind, **(options if suffix == "jpg" else {}))
    assert headers.read(io.BytesIO(file.getvalue())) == (61, 83, True, True)
    for end in (0, 1, 3, 9):
        with pytest.raises(ValueError):
            headers.read(io.BytesIO(file.getvalue()[:end]))


def test_unknown_held_out_class(tmp_path):
    make_folder(tmp_path / "train")
    make_folder(tmp_path / "val", ("ant", "wasp"))
    with raises("val holds a class that .*train does not.*Received: wasp"):
        images.load("folder", str(tmp_path))


@pytest.mark.parametrize(("shape", "rows", "columns"), [((6, 10, 3), (0, 6), (2, 8)), ((9, 4, 3), (2, 6), (0, 4))])
def test_resizing_takes_the_centre_square(tmp_path, shape, rows, columns):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for name in ("ant", "bee"):
        write_image(tmp_path / name / "0.png", pixels)
    side = min(shape[:2])
    square = pixels[slice(*rows), slice(*columns)]
    same = images.load("folder", str(tmp_path), image_size=side).train.read(tf.constant([0]))[0]
    np.testing.assert_array_equal(same, square)
    double = images.load("folder", str(tmp_path), image_size=2 * side).train.read(tf.constant([0]))[0].numpy()
    # Half-pixel centres: output 1 lies a quarter of a pixel below input 0.
    weights = np.array([0.75, 0.25])
    expected = np.einsum("ijc,i,j->c", square[:2, :2].astype(float), weights, weights)
    np.testing.assert_allclose(double[1, 1], expected, atol=0.51)


# --- CIFAR-10


def test_cifar10_in_the_original_order():
    root = DATA / "tfds"
    if not (root / "cifar10").exists():
        pytest.skip(f"no CIFAR-10 in {DATA}: set DARTS_TF_DATA")
    data = images.load("cifar10", str(root), max_train_examples=200)
    assert data.image_shape == (32, 32, 3) and len(data.train) == 200 and len(data.test) == 10_000
    assert data.class_names[6] == "frog" and data.mean == (0.49139968, 0.48215827, 0.44653124)
    # The first ones of data_batch_1.bin and of test_batch.bin; the first image is the frog that starts 59, 43, 50.
    np.testing.assert_array_equal(data.train.labels[:10], [6, 9, 9, 4, 1, 1, 2, 7, 8, 3])
    np.testing.assert_array_equal(data.test.labels[:10], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1])
    np.testing.assert_array_equal(data.train.read(tf.constant([0]))[0, 0, :3, 0], [59, 43, 50])
    np.testing.assert_array_equal(np.bincount(data.test.labels), [1000] * 10)


def test_cifar10_errors(tmp_path, monkeypatch):
    with raises("There is no folder .*absent"):
        images.load("cifar10", str(tmp_path / "absent"))
    tfds = pytest.importorskip("tensorflow_datasets")

    def offline(self, **_):
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    monkeypatch.setattr("darts_tf.data.records.builders._offline", lambda: False)
    with raises("neither read nor downloaded.*Received: ConnectionError: no route to host. Pass data_dir"):
        images.load("cifar10", str(tmp_path))
