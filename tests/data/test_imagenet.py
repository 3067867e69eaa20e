"""ImageNet through TensorFlow Datasets.

The real archives need an account and are not here. TFDS' own builder prepares small ones of the same make instead, a
tar of tars of JPEGs; so the records have the real format, and the pictures are noise.
"""

import io
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.data import sources as images
from darts_tf.data.images.stream import stream
from darts_tf.data.records import imagenet, shards
from darts_tf.system.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")

WORDNET = ("n01440764", "n01443537", "n03888257")
SEED = tf.constant([3, 5], tf.int64)


def add(tar, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def photo(number):
    """A JPEG of noise; some are grey, as some of ImageNet's are."""
    pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 70 - number, 3)).astype(np.uint8)
    return tf.io.encode_jpeg(pixels[..., :1] if number % 5 == 4 else pixels, quality=100).numpy()


def write_archives(root, names=imagenet.ARCHIVES):
    manual = root / "downloads" / "manual"
    manual.mkdir(parents=True)
    if names[0] == imagenet.ARCHIVES[0]:
        with tarfile.open(manual / names[0], "w") as tar:
            for place, wordnet in enumerate(WORDNET):
                inner = io.BytesIO()
                with tarfile.open(fileobj=inner, mode="w") as classes:
                    for number in range(8 * place, 8 * place + 8):
                        add(classes, f"{wordnet}_{number}.JPEG", photo(number))
                add(tar, f"{wordnet}.tar", inner.getvalue())
    with tarfile.open(manual / imagenet.ARCHIVES[1], "w") as tar:
        for number in range(6):
            add(tar, f"ILSVRC2012_val_{number + 1:08d}.JPEG", photo(number))
    return root


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = write_archives(tmp_path_factory.mktemp("tfds"))
    images.load("imagenet2012", str(root), image_size=8)
    return root


@pytest.fixture(scope="module")
def dataset(prepared):
    return images.load("imagenet2012", str(prepared), image_size=24, center_fraction=0.875)


def records(root, split):
    """TFDS' own reading of the same records."""
    return list(tfds.builder("imagenet2012", data_dir=root).as_data_source(split))


def test_images_and_labels_are_those_of_tfds(prepared, dataset):
    assert dataset.image_shape == (24, 24, 3) and len(dataset.class_names) == 1000
    assert dataset.mean == (0.485, 0.456, 0.406) and dataset.std == (0.229, 0.224, 0.225)
    assert (len(dataset.train), len(dataset.valid), dataset.test) == (24, 6, None)
    expected = {"train": records(prepared, "train"), "validation": records(prepared, "validation")}
    for split, name in ((dataset.train, "train"), (dataset.valid, "validation")):
        np.testing.assert_array_equal(split.labels, [record["label"] for record in expected[name]])
    assert {dataset.class_names[label] for label in dataset.train.labels} == set(WORDNET)
    numbers = [7, 0, 23, 7]
    ours = dataset.train.read(tf.constant(numbers)).numpy()
    for number, image in zip(numbers, ours, strict=True):
        whole = expected["train"][number]["image"]
        side = round(min(whole.shape[:2]) * 0.875)
        top, left = ((length - side) // 2 for length in whole.shape[:2])
        square = whole[top : top + side, left : left + side]
        resized = tf.image.resize(square, (24, 24), antialias=True)
        assert np.abs(image - resized).mean() < 3  # TFDS decodes by another library, which shows most on noise


def test_stream_is_a_function_of_seed_and_step(dataset):
    settings = dict(mean=dataset.mean, std=dataset.std, resized_crop=True, flip=True, color_jitter=0.4)

    def take(seed, start, count):
        pipeline = stream(dataset.train, np.arange(24), 8, seed, start, **settings)
        return [(x.numpy(), y.numpy()) for x, y in pipeline.take(count)]

    whole, rest = take(1, 0, 7), take(1, 4, 3)
    assert whole[0][0].shape == (8, 24, 24, 3)
    for (x, y), (same_x, same_y) in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y, same_y)
    assert not np.array_equal(whole[0][0], take(2, 0, 1)[0][0])
    assert sorted(np.concatenate([y for _, y in whole[:3]])) == sorted(dataset.train.labels)


def test_crops_and_grey(prepared):
    grey = images.load("imagenet2012", str(prepared), image_size=16, channels=1)
    assert grey.image_shape == (16, 16, 1) and 0 < grey.mean[0] < 1
    assert grey.train.read_crops(tf.range(24), SEED).shape == (24, 16, 16, 1)


def test_labels_are_read_once(prepared, dataset, monkeypatch):
    kept = next(prepared.glob("imagenet2012/*/darts_tf-train-labels.npy"))
    np.testing.assert_array_equal(np.load(kept), dataset.train.labels)

    def labels(**settings):
        return images.load("imagenet2012", str(prepared), image_size=8, **settings).train.labels

    features = []
    original = shards.feature
    monkeypatch.setattr(shards, "feature", lambda *args: features.append(args[1]) or original(*args))
    np.testing.assert_array_equal(labels(max_train_examples=5), dataset.train.labels[:5])
    assert "label" not in features
    content = kept.read_bytes()
    for damaged in (b"", content[:-4], b"no array"):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(labels(), dataset.train.labels)
        assert kept.read_bytes() == content
    kept.unlink()
    np.testing.assert_array_equal(labels(max_train_examples=5), dataset.train.labels[:5])
    assert not kept.exists()  # of a part nothing is kept
    np.testing.assert_array_equal(labels(), dataset.train.labels)


def raises(message):
    return pytest.raises(UserError, match=f"(?-s:^{message}.*$)")  # on one line


def test_what_is_missing_is_named(tmp_path):
    with raises("There is no folder .*absent"):
        images.load("imagenet2012", str(tmp_path / "absent"), image_size=8)
    with raises("ImageNet's photographs differ in size.*Pass image_size"):
        images.load("imagenet2012", str(tmp_path))
    both = (
        "Received: no ILSVRC2012_img_train.tar and no ILSVRC2012_img_val.tar. Download them from https://image-net.org"
    )
    with raises(f"ImageNet is not prepared.*{tmp_path}/downloads/manual. {both}"):
        images.load("imagenet2012", str(tmp_path), image_size=8)
    write_archives(tmp_path, imagenet.ARCHIVES[1:])
    with raises("ImageNet is not prepared.*Received: no ILSVRC2012_img_train.tar. Download"):
        images.load("imagenet2012", str(tmp_path), image_size=8)
    (tmp_path / "downloads" / "manual" / imagenet.ARCHIVES[0]).write_bytes(b"no archive")
    with raises("ImageNet cannot be prepared: expected the archives.*Received: "):
        images.load("imagenet2012", str(tmp_path), image_size=8)


def test_the_usual_format_is_read_too(tmp_path, dataset):
    write_archives(tmp_path)
    tfds.builder("imagenet2012", data_dir=tmp_path, file_format="tfrecord", try_gcs=False).download_and_prepare()
    found = images.load("imagenet2012", str(tmp_path), image_size=24, center_fraction=0.875)
    np.testing.assert_array_equal(found.train.labels, dataset.train.labels)
    numbers = tf.constant([7, 0, 23, 7])
    np.testing.assert_array_equal(found.train.read(numbers), dataset.train.read(numbers))


def test_damaged_records(tmp_path):
    write_archives(tmp_path)
    images.load("imagenet2012", str(tmp_path), image_size=8)
    (kept,) = tmp_path.glob("imagenet2012/*/darts_tf-train-labels.npy")
    kept.unlink()
    (shard,) = tmp_path.glob("imagenet2012/*/*train.array_record*")
    shard.write_bytes(shard.read_bytes()[:1000])
    with raises("ImageNet cannot be read: expected records with a split train.*Received: "):
        images.load("imagenet2012", str(tmp_path), image_size=8)
