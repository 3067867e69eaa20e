"""Files in class folders: what is read and how, what is counted, what a run names when it can no longer be read."""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from darts_tf.data import sources as images
from darts_tf.data.files import encoded_images
from darts_tf.system.errors import UserError
from darts_tf.tasks.search import search
from darts_tf.tasks.train import train
from tests.helpers import searches, trainings


def raises(message):
    return pytest.raises(UserError, match=message)


def picture(seed=0, size=(8, 8), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def class_folders(root, sizes, suffix=".png"):
    """Writes class folders, `sizes` by name, of distinct images."""
    for name, size in sizes.items():
        (root / name).mkdir(parents=True)
        for i in range(size):
            picture(i).save(root / name / f"{i}{suffix}")
    return root


def counts(split, classes=3):
    return None if split is None else np.bincount(split.labels, minlength=classes).tolist()


def parts(data):
    return counts(data.train), counts(data.valid), counts(data.test)


BIRDS = {"bird": 2, "cat": 4, "dog": 6}
FEW = {"bird": 1, "cat": 2, "dog": 3}


# --- which files are images


def test_the_content_says_what_is_an_image(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    for number, (name, kind) in enumerate(
        {"x.jfif": "JPEG", "x.jpe": "JPEG", "no_ending": "PNG", "wrong.png": "JPEG", "x.webp": "WEBP", "x.tif": "TIFF",
         "x.gif": "GIF", "x.bmp": "BMP", "x.avif": "AVIF", "x.ppm": "PPM"}.items(), 10
    ):  # fmt: skip
        picture(number).save(tmp_path / "a" / name, kind)
    picture(30).convert("P").save(tmp_path / "b" / "palette.bmp")
    frames = [picture(31), picture(32)]
    frames[0].save(tmp_path / "b" / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    data = images.load("folder", str(tmp_path))
    assert counts(data.train, 2) == [11, 3]
    read = data.train.read(tf.range(14)).numpy()
    names = sorted(os.listdir(tmp_path / "a")) + sorted(os.listdir(tmp_path / "b"))
    for name, image in zip(names, read, strict=True):
        path = next(tmp_path.glob(f"*/{name}"))
        with Image.open(path) as opened:
            expected = np.asarray(opened.convert("RGB"), np.int32)
        assert np.abs(image - expected).max() <= (8 if name in ("wrong.png", "x.jfif", "x.jpe") else 0), name


def test_what_is_not_read_is_counted_in_one_line(tmp_path):
    class_folders(tmp_path / "train", BIRDS)
    deep = tmp_path / "train" / "cat" / "2019" / "may"
    deep.mkdir(parents=True)
    picture(7).save(deep / "deep.png")
    (deep / "loop").symlink_to(tmp_path / "train" / "cat")
    for name in ("._0.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / "train" / "cat" / name).write_bytes(b"\0\5\26\7")
    for name in ("notes.txt", "labels.csv"):
        (tmp_path / "train" / "dog" / name).write_text("no image")
    os.mkfifo(tmp_path / "train" / "dog" / "pipe.png")
    (tmp_path / "train" / "bird" / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "train" / "bird" / "folder.jpg").mkdir()
    picture(8).save(tmp_path / "train" / "stray.png")
    class_folders(tmp_path / "annotations", {"x": 1})
    class_folders(tmp_path / "val", FEW)
    (tmp_path / "__MACOSX").mkdir()
    data = images.load("folder", str(tmp_path))
    assert parts(data) == ([2, 5, 6], [1, 2, 3], None)
    (line,) = [note for note in data.notes if note.startswith("left out: ")]
    for text in ("2 not images", "1 pipes", "1 broken links", "1 outside of the class folders", "such as "):
        assert text in line
    assert any("annotations" in note and note.startswith("not used: ") for note in data.notes)


@pytest.mark.parametrize("content", [b"", b"not an image", b"%PDF-1.4", b"\xff\xd8\xff"])
def test_what_promises_an_image_and_is_none_is_an_error(tmp_path, content):
    class_folders(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "b" / "broken.jpg").write_bytes(content)
    with raises("An image cannot be read: .*broken.jpg"):
        images.load("folder", str(tmp_path))


def test_pixels_that_are_no_colours_are_refused(tmp_path):
    class_folders(tmp_path, {"a": 1, "b": 1})
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "a" / "depth.tif")
    with raises("An image cannot be read: .*depth.tif"):
        images.load("folder", str(tmp_path))
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    Image.fromarray(deep).save(tmp_path / "a" / "depth.tif")
    read = images.load("folder", str(tmp_path)).train.read(tf.constant([1])).numpy()
    np.testing.assert_array_equal(read[0, ..., 0], deep // 256)


# --- damage


def shortened(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def config_of(kind, root, **changes):
    changes = {"dataset": "folder", "data_dir": str(root), "image_size": 8, "batch_size": 4, "epochs": 1} | changes
    return {"search": searches.SMOKE, "train": trainings.SMOKE}[kind].replace(max_train_examples=0, **changes)


@pytest.mark.parametrize("kind", ["search", "train"])
def test_a_damaged_image_of_a_large_folder_is_named(tmp_path, monkeypatch, kind):
    root = class_folders(tmp_path / "photos", {"a": 12, "b": 12}, ".jpg")
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 100)
    shortened(root / "b" / "5.jpg")
    with raises("An image cannot be read: .*photos/b/5.jpg"):
        {"search": search, "train": train}[kind](config_of(kind, root), tmp_path / "run", out=io.StringIO())


def test_in_memory_and_encoded_images_are_the_same(tmp_path, monkeypatch):
    root = class_folders(tmp_path, {"a": 3, "b": 3}, ".jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(9, (6, 10)).save(root / "a" / "phone.jpg", exif=exif)
    picture(9, (6, 10)).save(root / "a" / "scan.tif", exif=exif)
    held = images.load("folder", str(root), image_size=6)
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 100)
    encoded = images.load("folder", str(root), image_size=6)
    every = tf.range(len(held.train))
    np.testing.assert_array_equal(held.train.read(every), encoded.train.read(every))
    np.testing.assert_array_equal(held.train.read_crops(every, (1, 2)), encoded.train.read_crops(every, (1, 2)))
