"""Class folders as people have them: which folder is what, what is read, what is left out, what is damaged."""

import io
import itertools
import os
import pathlib
import socket

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from darts_tf.data import sources as images
from darts_tf.data.files import encoded_images, headers
from darts_tf.data.images.stream import evaluation_batches, stream
from darts_tf.data.reading import reading
from darts_tf.system.errors import UserError


def save(path, color=(0, 0, 0), size=(9, 7), kind=None, **options):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, kind, **options)
    return path


def tree(root, **counts):
    """Makes images: `tree(root, train_cat=3)` three of them in `train/cat`; a number of 0 makes the folder."""
    for place, count in counts.items():
        where = pathlib.Path(root, *place.split("_"))
        where.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            save(where / f"{number}.png", (number, 10 * len(place), 0))
    return root


def load(root, **settings):
    return images.load("folder", str(root), **({"image_size": 8} | settings))


def sizes(data):
    return tuple(None if split is None else len(split) for split in data.splits)


def refused(root, **settings):
    with pytest.raises(UserError) as caught:
        load(root, **settings)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    return str(caught.value)


# --- which folder is what


@pytest.mark.parametrize(
    "train, valid, test",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "valid", None),
        ("train", None, "Test"),
        ("training", "dev", "test"),
        ("train", None, None),
    ],
)
def test_three_roles(tmp_path, train, valid, test):
    for number, name in enumerate(filter(None, (train, valid, test)), 1):
        tree(tmp_path, **{f"{name}_bird": number, f"{name}_cat": 2 * number, f"{name}_dog": 3 * number})
    data = load(tmp_path)
    expected = [6, 12 if valid else None, (18 if valid else 12) if test else None]
    assert sizes(data) == tuple(expected) and data.class_names == ("bird", "cat", "dog")
    for split, count in zip(data.splits, expected, strict=True):
        assert split is None or np.bincount(split.labels).tolist() == [count // 6, count // 3, count // 2]
    line = f"{tmp_path}/{train}: 6 training images of 3 classes (bird 1, cat 2, dog 3)"
    line += f"; {tmp_path}/{valid}: 12 validation images" if valid else ""
    line += f"; {tmp_path}/{test}: {expected[2]} test images" if test else ""
    assert data.notes == (line,)


def test_classes_at_the_top(tmp_path):
    data = load(tree(tmp_path, cat=2, dog=3))
    assert sizes(data) == (5, None, None)
    assert data.notes == (f"{tmp_path}: 5 training images of 2 classes (cat 2, dog 3)",)
    tree(tmp_path, test_cat=1, test_dog=1, VAL_dog=2)
    data = load(tmp_path)
    assert sizes(data) == (5, 2, 2) and data.class_names == ("cat", "dog")
    assert data.notes[1:] == ("warning: none of the validation images is of class 'cat'",)


def test_a_class_may_be_called_train(tmp_path):
    data = load(tree(tmp_path, car=1, plane=2, train=3))
    assert data.class_names == ("car", "plane", "train") and sizes(data) == (6, None, None)
    tree(tmp_path, test_train=1, test_car=1)
    assert sizes(load(tmp_path)) == (6, None, 2)


def test_what_can_be_understood_in_two_ways_is_refused(tmp_path):
    both = tree(tmp_path / "both", train_a=1, train_b=1, val_a=1, validation_b=1)
    assert "two folders for one purpose" in refused(both) and "Received: val and validation" in refused(both)
    case = tree(tmp_path / "case", train_a=1, train_b=1, Train_a=1)
    assert "Received: Train and train" in refused(case)
    years = tree(tmp_path / "years", car_old=1, car_new=1, plane_old=1, train_old=1, train_new=1)
    assert "can be a class, or the training data" in refused(years) and "car, plane" in refused(years)
    bare = tree(tmp_path / "bare", cat=1, dog=1, test=2)
    assert f"{bare}/test can be a class, or images without labels" in refused(bare)
    others = tree(tmp_path / "others", cat=1, dog=1, val_x=1, val_y=1)
    assert "none of the classes cat, dog" in refused(others)
    flat = tree(tmp_path / "flat", train=3, test=2)
    assert "holds no class folders for training" in refused(flat) and "test, train with images" in refused(flat)
    alone = tree(tmp_path / "alone", val_a=1, val_b=1, test_a=1)
    assert "holds no class folders for training" in refused(alone) and "test, val with class folders" in refused(alone)
    inside = tree(tmp_path / "inside", cat_train=1, cat_test=1, dog_train=1, dog_test=1)
    assert "cat holds test, train" in refused(inside) and "Move the images to train/cat" in refused(inside)
    outer = tree(tmp_path / "outer", photos_train_a=1, photos_train_b=1, photos_val_a=1)
    assert "Received: photos. If that is the data set, pass data_dir" in refused(outer)


def test_classes_that_are_missing_or_unknown_are_named(tmp_path):
    tree(tmp_path, **{f"train_c{number:03}": 1 for number in range(40)}, val_c003=1, test_c001=2, test_c003=0)
    data = load(tmp_path)
    assert sizes(data) == (40, 1, 2)
    assert data.notes[0].startswith(f"{tmp_path}/train: 40 training images of 40 classes (1 each)")
    assert data.notes[1:] == (
        "warning: none of the validation images is of classes 'c000', 'c001', 'c002' and 36 more",
        "warning: none of the test images is of classes 'c000', 'c002', 'c003' and 36 more",
    )
    tree(tmp_path, **{f"val_d{number}": 1 for number in range(9)}, val_empty=0)
    line = refused(tmp_path)
    assert "val holds classes that" in line and "Received: d0, d1, d2 and 6 more" in line


def test_folders_that_are_not_used_are_named(tmp_path):
    tree(tmp_path, train_a=2, train_b=1, val=0, test=3, extra_a=1, annotations=0)
    save(tmp_path / "__MACOSX" / "train" / "0.png")
    (tmp_path / "annotations" / "a.xml").write_text("<xml>")
    assert "can be a class, or the training data" in refused(tmp_path)  # of train, and of the images in extra
    tree(tmp_path, val_a=1)
    data = load(tmp_path)
    assert sizes(data) == (3, 1, None)
    used = [f"{tmp_path}/{each}" for each in ("annotations (no images)", "extra (images)")]
    used += [f"{tmp_path}/test (images, but no class folders)", f"{tmp_path}/__MACOSX (of the system)"]
    (line,) = [note for note in data.notes if note.startswith("not used: ")]
    assert all(each in line for each in used) and len(line) == len("not used: " + ", ".join(used))


def test_empty_held_out_folders(tmp_path):
    tree(tmp_path, train_a=1, train_b=1, val=0, test_a=0)
    data = load(tmp_path)
    assert sizes(data) == (2, None, None) and f"{tmp_path}/val (no images)" in data.notes[1]
    assert f"{tmp_path}/test (no images)" in data.notes[1]


def test_a_sample_is_counted(tmp_path):
    data = load(tree(tmp_path, a=4, b=8), max_train_examples=6)
    assert data.notes[0] == f"{tmp_path}: 12 training images of 2 classes, of which 6 are kept (a 4, b 8)"
    assert np.bincount(data.train.labels).tolist() == [2, 4]


# --- what is read


def test_content_decides(tmp_path):
    """Names lie; and each image is the one that Pillow sees."""
    colors = itertools.count(20, 20)
    files = [("a.jfif", "JPEG"), ("b.png", "JPEG"), ("c.JPG.bak", "JPEG"), ("d", "JPEG"), ("e.webp", "WEBP")]
    files += [("f.jpg", "WEBP"), ("g.tif", "TIFF"), ("h.ppm", "PPM"), ("i.avif", "AVIF"), ("j.dat", "BMP")]
    for name, kind in files:
        save(tmp_path / "cat" / name, (next(colors), 0, 100), kind=kind)
    save(tmp_path / "dog" / "0.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "dog" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    for limit in (encoded_images.MEMORY_LIMIT, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encoded_images, "MEMORY_LIMIT", limit)
            data = load(tmp_path)
        assert len(data.train) == 11 and data.train.labels.tolist() == [0] * 10 + [1]
        red = data.train.read(tf.range(10)).numpy()[:, 3, 3].astype(int)
        np.testing.assert_allclose(red, [(20 * number, 0, 100) for number in range(1, 11)], atol=6)
        crops = data.train.read_crops(tf.range(10), tf.constant([1, 2])).numpy()[:, 3, 3]
        np.testing.assert_allclose(crops.astype(int), red, atol=6)
        assert data.notes[1] == f"left out: 2 not images that can be read; such as {tmp_path}/cat/notes.txt"


def test_an_ending_that_promises_an_image_is_kept_or_refused(tmp_path):
    tree(tmp_path, cat=1, dog=1)
    for name, content, reason in (
        ("a.jpg", b"no image", "it is not an image, its format is unknown"),
        ("b.WEBP", b"", "the file is empty"),
        ("c.jpeg", b"\0\0\0\x18ftypheic\0\0\0\0", "it is HEIF; convert it to JPEG"),
    ):
        (tmp_path / "cat" / name).write_bytes(content)
        assert f"{tmp_path}/cat/{name} ({reason}" in refused(tmp_path)
        (tmp_path / "cat" / name).unlink()
    (tmp_path / "cat" / "d.jpg").mkdir()
    assert len(load(tmp_path).train) == 2


def test_deeper_folders_links_and_what_the_system_leaves(tmp_path):
    root = tree(tmp_path / "photos", cat=1, cat_2019_may=2, dog=1)
    for name in ("cat/._0.png", "cat/2019/.DS_Store", "dog/Thumbs.db", "dog/desktop.ini", "dog/.hidden/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7 of the system")
    tree(root / "dog", **{"@eaDir": 1})
    (root / "dog" / "loop").symlink_to(root)
    (root / "dog" / "self").symlink_to(root / "dog")
    tree(tmp_path, elsewhere=2)
    (root / "dog" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "again").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nothing")
    (root / "dog" / "link.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (root / "cow").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "dog" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(root / "dog" / "s.png")) if len(str(root)) < 90 else os.mkfifo(root / "dog" / "s.png")
        data = load(root)
    assert data.class_names == ("cat", "cow", "dog") and np.bincount(data.train.labels).tolist() == [3, 2, 4]
    line = data.notes[-1]
    for part in (
        "6 hidden or system files",
        "3 links to folders that have been read already",
        "1 broken links",
        "2 pipes, sockets or devices",
    ):
        assert part in line
    assert "\n" not in line and "._0.png" not in line


def test_files_beside_the_class_folders_are_counted(tmp_path):
    tree(tmp_path, train_cat=1, train_dog=1, test_cat=1, test_dog=1)
    save(tmp_path / "train" / "stray.png")
    (tmp_path / "LICENSE").write_text("")
    (left_out,) = load(tmp_path).notes[1:]
    assert left_out.startswith(f"left out: 2 outside of the class folders; such as {tmp_path}/")


@pytest.mark.parametrize("limit", [0, encoded_images.MEMORY_LIMIT])
def test_names_of_any_kind(tmp_path, limit, monkeypatch):
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", limit)
    root = os.fsencode(tree(tmp_path, cat=1, dog=1))
    names = [b"gr\xfc\xdfe.png", b"two\nlines.png", "\N{CAT FACE} \u202e.png".encode(), b"n" * 251 + b".png", b" .png"]
    for name in names:
        with open(os.path.join(root, b"cat", name), "wb") as file:
            file.write((tmp_path / "dog" / "0.png").read_bytes())
    data = load(tmp_path)
    assert sizes(data) == (7, None, None) and data.train.read(tf.range(7)).shape == (7, 8, 8, 3)
    for name, shown in ((names[0], r"gr\udcfc\udcdfe.png"), (names[1], r"two\nlines.png")):
        place = os.path.join(root, b"cat", name)
        content = pathlib.Path(os.fsdecode(place)).read_bytes()
        for bad in (b"", content[:-30]):
            pathlib.Path(os.fsdecode(place)).write_bytes(bad)
            assert shown in refused(tmp_path)
        pathlib.Path(os.fsdecode(place)).write_bytes(content)
    os.mkdir(os.path.join(root, b"d\xf6g"))
    with open(os.path.join(root, b"d\xf6g", b"0.png"), "wb") as file:
        file.write(content)
    assert r"must be UTF-8 and one line. Received: " in refused(tmp_path) and r"d\udcf6g" in refused(tmp_path)


# --- EXIF


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
def test_photographs_are_turned_alike_everywhere(tmp_path, kind, monkeypatch):
    """What is turned by its tag equals what lies the right way in the file: held, decoded when read, in windows."""
    pixels = np.zeros((48, 80, 3), np.uint8)
    pixels[:24, :40], pixels[24:, :40], pixels[:24, 40:] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    upright = Image.fromarray(pixels)
    lying = [None, 0, 4, 2, 3, 6, 5, 7, 1][1:]  # how Pillow undoes each orientation; None: as it is
    undo = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    undo |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    assert len(lying) == 8
    options = {"lossless": True} if kind == "webp" else {"quality": 95, "subsampling": 0} if kind == "jpg" else {}
    for name, tagged in (("tagged", True), ("upright", False)):
        for number in range(1, 9):
            exif, image = Image.Exif(), upright
            if tagged and number > 1:
                exif[0x0112] = number
                image = upright.transpose(Image.Transpose[undo[number]])
            for each in ("a", "b"):
                place = tmp_path / name / each / f"{number}.{kind}"
                place.parent.mkdir(parents=True, exist_ok=True)
                image.save(place, exif=exif if tagged else Image.Exif(), **options)
    seen = []
    for name, limit in itertools.product(("tagged", "upright"), (0, encoded_images.MEMORY_LIMIT)):
        monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", limit)
        data = load(tmp_path / name, image_size=16)
        seen.append((data.train.read(tf.range(16)), data.train.read_crops(tf.range(16), tf.constant([5, 6]))))
    for whole, crops in seen[1:]:
        assert np.abs(whole.numpy().astype(int) - seen[0][0].numpy()).max() <= (0 if kind != "jpg" else 12)
        assert np.abs(crops.numpy().astype(int) - seen[0][1].numpy()).mean() <= (0 if kind != "jpg" else 1.5)


# --- damage


@pytest.fixture
def lazy(tmp_path, monkeypatch):
    """A folder that is decoded whenever it is read."""
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    rng = np.random.default_rng(0)
    for name, number in itertools.product(("train/cat", "train/dog", "val/dog"), range(3)):
        place = tmp_path / name / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(place)
    return tmp_path


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_a_truncated_image_is_named_at_the_start(lazy, kind):
    place = lazy / "train" / "dog" / f"x.{kind}"
    Image.open(lazy / "train" / "dog" / "1.jpg").save(place)
    load(lazy)
    place.write_bytes(place.read_bytes()[:-40])
    assert f"{place} (" in refused(lazy)


def damages(place):
    whole = place.read_bytes()

    def spoil():
        place.write_bytes(whole[:300] + bytes(len(whole) - 302) + whole[-2:])

    return [place.unlink, lambda: place.write_bytes(b""), lambda: place.write_bytes(whole[: len(whole) // 2]), spoil]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("part, crops", [("train", False), ("train", True), ("valid", False)])
def test_an_image_damaged_after_the_start_is_named(lazy, which, part, crops):
    data = load(lazy)
    split = getattr(data, part)
    assert split.unreadable() is None
    place = lazy / ("train" if part == "train" else "val") / "dog" / "1.jpg"
    damages(place)[which]()
    assert str(place) in split.unreadable()
    settings = {"mean": data.mean, "std": data.std} | ({"resized_crop": True} if crops else {})
    batches = stream(split, np.arange(len(split)), 3, 0, **settings)
    with pytest.raises(UserError, match=f"An image cannot be read: .*{place}.*Replace or remove it") as caught:
        with reading(*data.splits):
            for _ in batches.take(4):
                pass
    assert "\n" not in str(caught.value)
    step = tf.function(lambda iterator: next(iterator)[0], autograph=False)  # as the loop reads
    with pytest.raises(UserError, match=f"{place}"), reading(*data.splits):
        iterator = iter(batches)
        for _ in range(4):
            step(iterator)


def test_a_converted_image_damaged_after_the_start_is_named(lazy):
    place = lazy / "train" / "dog" / "x.tif"
    Image.open(lazy / "train" / "dog" / "1.jpg").save(place)
    data = load(lazy)
    place.write_bytes(place.read_bytes()[:-40])
    with pytest.raises(UserError, match=f"{place} \\("), reading(*data.splits):
        list(evaluation_batches(data.train, np.arange(7), 7, mean=data.mean, std=data.std))


def test_other_errors_are_raised_as_they_are(lazy):
    data = load(lazy)
    for error in (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, ValueError):
        with pytest.raises(error), reading(*data.splits, None):
            raise error("of the network") if error is ValueError else error(None, None, "of the network")


def test_checksum_is_of_names_sizes_and_labels(lazy, tmp_path_factory):
    def checksum(root=lazy):
        return load(root).train.checksum

    first = checksum()
    assert first and checksum() == first
    moved = tmp_path_factory.mktemp("moved") / "photos"
    lazy.rename(moved)
    assert checksum(moved) == first
    place = moved / "train" / "dog" / "1.jpg"
    place.write_bytes(place.read_bytes() + b"\0")
    assert checksum(moved) != first
    place.write_bytes(place.read_bytes()[:-1])
    assert checksum(moved) == first
    place.rename(place.with_name("4.jpg"))
    assert checksum(moved) != first


def test_sizes_of_unknown_formats_stay_limited(tmp_path):
    tree(tmp_path, cat=1, dog=1)
    file = io.BytesIO()
    Image.new("1", (16000, 9000)).save(file, "TIFF", compression="group4")
    (tmp_path / "dog" / "1.tif").write_bytes(file.getvalue())
    assert "too large: expected at most 67 million pixels. Received: 9000x16000" in refused(tmp_path)
    assert headers.MAX_PIXELS == 2**26


def test_a_relative_folder_is_read_from_wherever_it_was_named(lazy, monkeypatch):
    monkeypatch.chdir(lazy.parent)
    data = load(f"{lazy.name}/")
    assert data.notes[0].startswith(
        f"{lazy.name}/train: 6 training images of 2 classes (cat 3, dog 3); {lazy.name}/val: 3"
    )
    monkeypatch.chdir("/")
    assert data.train.read(tf.range(6)).shape == (6, 8, 8, 3) and data.train.unreadable() is None
