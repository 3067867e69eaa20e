"""The image side of ImageNet on real photographs in class folders."""

import pathlib
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.data import sources as images
from darts_tf.data.files import encoded, encoded_images
from darts_tf.data.images import resize
from darts_tf.data.images.stream import stream
from tests.helpers.paths import PHOTOGRAPHS

BYTES = dict(mean=(0.0,) * 3, std=(1 / 255,) * 3)  # a stream of bytes again
IMAGENET = dict(resized_crop=True, flip=True, color_jitter=0.4, **BYTES)
SEED = tf.constant([3, 5], tf.int64)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Every tenth of 1,400 ImageNet photographs, of all ten classes."""
    if not PHOTOGRAPHS.exists():
        pytest.skip(f"no photographs at {PHOTOGRAPHS}; DARTS_TF_DATA names the folder of data")
    root = tmp_path_factory.mktemp("photographs")
    with tarfile.open(PHOTOGRAPHS) as tar:
        for member in [member for member in tar if member.isfile()][::10]:
            target = root / pathlib.Path(*pathlib.PurePosixPath(member.name).parts[-3:])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(member).read())
    return root


@pytest.fixture(scope="module")
def dataset(photographs):
    return images.load("folder", str(photographs), image_size=96, center_fraction=0.875)


def batches(data, seed, start, count, **settings):
    pipeline = stream(data.train, np.arange(len(data.train)), 20, seed, start, **settings)
    return [(x.numpy(), y.numpy()) for x, y in pipeline.take(count)]


def test_center_crop_is_resize_and_center_crop(photographs, dataset):
    from PIL import Image

    assert dataset.image_shape == (96, 96, 3) and len(dataset.class_names) == 10
    assert (len(dataset.train), len(dataset.valid), dataset.test) == (100, 40, None)
    paths = sorted(photographs.glob("train/*/*"))[::9]
    ours = dataset.train.read(tf.range(0, 100, 9)).numpy()
    for path, image in zip(paths, ours, strict=True):
        photo = Image.open(path).convert("RGB")
        assert photo.size == (224, 224)
        # Resize(109.7) and CenterCrop(96), done by cutting first: 196 of 224 pixels.
        expected = np.asarray(photo.resize((96, 96), Image.Resampling.BILINEAR, (14, 14, 210, 210)), np.float64)
        assert np.abs(expected - image).mean() < 3  # another JPEG decoder and another resampling kernel


def test_crops_are_windows_of_the_file(photographs, dataset):
    from PIL import Image

    paths = sorted(photographs.glob("train/*/*"))[:8]
    crops = dataset.train.read_crops(tf.range(8), SEED)
    assert crops.dtype == tf.uint8 and crops.shape == (8, 96, 96, 3)
    draws = tf.random.stateless_uniform((8, 10, 4), SEED, dtype=tf.float64)
    for path, crop, uniform in zip(paths, crops.numpy(), draws, strict=True):
        top, left, height, width = resize.crop_window(224, 224, uniform).numpy().tolist()
        box = (left, top, left + width, top + height)
        # Cut first: PIL's `box` would let the filter look beyond the window.
        photo = Image.open(path).convert("RGB").crop(box).resize((96, 96), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(photo, np.float64) - crop).mean() < 4


def test_decoding_a_window_equals_decoding_the_whole(photographs):
    for path in sorted(photographs.glob("val/*/*"))[::5]:
        data = tf.io.read_file(str(path))
        for window in ((0, 0, 224, 224), (13, 57, 101, 90), (200, 3, 24, 7)):
            part = encoded.decode_crop(data, lambda height, width, window=window: tf.constant(window)).numpy()
            whole = resize.slice_window(encoded.decode(data), tf.constant(window)).numpy()
            # On the rim the decoder interpolates the colour, which JPEG halves, without its neighbour outside.
            np.testing.assert_array_equal(part[:, 1:-1], whole[:, 1:-1])
            assert np.abs(part.astype(int) - whole).max() < 16


def test_epochs_differ_and_seeds_repeat(dataset):
    first = batches(dataset, 0, 0, 10, **IMAGENET)
    assert first[0][0].shape == (20, 96, 96, 3) and first[0][0].dtype == np.float32
    again = batches(dataset, 0, 5, 5, **IMAGENET)  # the second epoch, resumed
    for (x, y), (same_x, same_y) in zip(first[5:], again, strict=True):
        np.testing.assert_array_equal(x, same_x)
        np.testing.assert_array_equal(y, same_y)
    assert not np.array_equal(first[0][0], batches(dataset, 1, 0, 1, **IMAGENET)[0][0])
    # Without shuffling the epochs hold the same photographs, and none of them is cut or coloured alike.
    epochs = batches(dataset, 0, 0, 6, shuffle=False, **IMAGENET)
    np.testing.assert_array_equal(epochs[0][1], epochs[5][1])
    assert (np.abs(epochs[0][0] - epochs[5][0]).mean((1, 2, 3)) > 1).all()


def test_crops_do_not_depend_on_what_is_held(photographs, dataset, monkeypatch):
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    lazy = images.load("folder", str(photographs), image_size=96, center_fraction=0.875)
    np.testing.assert_array_equal(lazy.valid.read(tf.range(5)), dataset.valid.read(tf.range(5)))
    for held, read in zip(batches(dataset, 2, 0, 2, **IMAGENET), batches(lazy, 2, 0, 2, **IMAGENET), strict=True):
        np.testing.assert_array_equal(held[0], read[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_files_and_other_formats(photographs, tmp_path, channels):
    from PIL import Image

    photo = Image.open(next(photographs.glob("train/*/*"))).resize((80, 64))
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        photo.convert("L").save(tmp_path / name / "0.jpg")
        photo.convert("L").save(tmp_path / name / "1.png")
        photo.save(tmp_path / name / "2.gif")
        photo.convert("CMYK").save(tmp_path / name / "3.jpeg")
    data = images.load("folder", str(tmp_path), image_size=32, channels=channels)
    crops = data.train.read_crops(tf.range(8), SEED).numpy()
    assert crops.shape == (8, 32, 32, channels) and (crops.std((1, 2)) > 1).all()
    assert np.ptp(crops[[0, 1, 4, 5]], axis=-1).max() == 0  # grey stays grey
    settings = dict(IMAGENET, mean=data.mean, std=data.std)
    x, _ = next(iter(stream(data.train, np.arange(8), 8, 0, **settings)))
    assert x.shape == (8, 32, 32, channels) and np.isfinite(x).all()
