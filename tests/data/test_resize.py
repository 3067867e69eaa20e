"""Random resized crops and centre crops, against torchvision's algorithm written down again."""

import math

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.data import sources as images
from darts_tf.data.images import resize
from darts_tf.data.images.dataset import Split

SEED = tf.constant([3, 5], tf.int64)


def naive_window(height, width, uniform):
    """`RandomResizedCrop.get_params`, with its random numbers given."""
    for area_draw, aspect_draw, top_draw, left_draw in uniform:
        area = height * width * (0.08 + 0.92 * area_draw)
        aspect = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * aspect_draw)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(top_draw * (height - h + 1)), int(left_draw * (width - w + 1)), h, w
    if width / height < 3 / 4:
        w, h = width, round(width / (3 / 4))
    elif width / height > 4 / 3:
        w, h = round(height * (4 / 3)), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(("height", "width"), [(224, 224), (375, 500), (500, 60), (7, 90), (1, 1), (2, 3), (4000, 3)])
def test_window_is_torchvisions(height, width):
    rng = np.random.default_rng(0)
    for _ in range(100):
        uniform = rng.uniform(size=(10, 4))
        window = resize.crop_window(height, width, tf.constant(uniform)).numpy()
        np.testing.assert_array_equal(window, naive_window(height, width, uniform))
        top, left, rows, columns = window
        assert 0 <= top and 0 <= left and top + rows <= height and left + columns <= width and min(rows, columns) >= 1


def test_fallback_is_taken():
    large = np.full((10, 4), 0.99)  # nearly the whole area, at an aspect of 4/3: never inside a high image
    np.testing.assert_array_equal(resize.crop_window(400, 90, tf.constant(large)), [140, 0, 120, 90])
    np.testing.assert_array_equal(resize.crop_window(90, 400, tf.constant(1 - large)), naive_window(90, 400, 1 - large))


def gradient(count=40, height=24, width=30):
    """Red tells the column, green the row, blue the number of the image."""
    rows, columns = np.mgrid[:height, :width]
    one = np.stack([columns * 8, rows * 8, 0 * rows], axis=-1)
    pixels = np.repeat(one[None], count, axis=0)
    pixels[..., 2] = np.arange(count)[:, None, None]
    return pixels.astype(np.uint8)


def test_crops_of_an_array_are_windows_of_the_right_images():
    pixels = gradient()
    split = Split.from_arrays(np.zeros((40, 10, 12, 3), np.uint8), np.zeros(40), pixels)
    indices = tf.constant([7, 3, 3, 39])
    crops = split.read_crops(indices, SEED)
    assert crops.dtype == tf.uint8 and crops.shape == (4, 10, 12, 3)
    draws = tf.random.stateless_uniform((4, 10, 4), SEED, dtype=tf.float64).numpy()
    for crop, index, uniform in zip(crops.numpy(), indices.numpy(), draws, strict=True):
        assert np.all(crop[..., 2] == index)
        top, left, height, width = naive_window(24, 30, uniform)
        # Bilinear sampling of a linear gradient gives back the place of every inner pixel.
        rows, columns = top + (np.arange(10) + 0.5) * height / 10 - 0.5, left + (np.arange(12) + 0.5) * width / 12 - 0.5
        np.testing.assert_allclose(crop[2:-2, 5, 1] / 8, rows[2:-2], atol=0.2)
        np.testing.assert_allclose(crop[5, 2:-2, 0] / 8, columns[2:-2], atol=0.2)
    assert not np.array_equal(crops[1], crops[2])  # a draw for each image


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_crops_inside_map_equal_eager_and_follow_the_seed(dtype):
    split = Split.from_arrays(gradient(), np.zeros(40))
    indices = tf.constant([1, 2, 5], dtype)
    eager = split.read_crops(indices, SEED)
    mapped = tf.data.Dataset.from_tensors(indices).map(lambda i: split.read_crops(i, SEED))
    assert mapped.element_spec.shape == (3, 24, 30, 3)
    np.testing.assert_array_equal(next(iter(mapped)), eager)
    np.testing.assert_array_equal(split.read_crops(indices, SEED), eager)
    assert not np.array_equal(split.read_crops(indices, SEED + 1), eager)


def test_loaded_arrays_are_cropped_at_their_own_size(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=gradient(), y=np.arange(40) % 2)
    data = images.load("npz", str(path), image_size=64, center_fraction=0.5)
    plain = data.train.read(tf.constant([4])).numpy()
    # The centre square of 12 pixels: rows 6 to 17, columns 9 to 20.
    assert plain[..., 1].min() == 6 * 8 and plain[..., 1].max() == 17 * 8
    assert plain[..., 0].min() == 9 * 8 and plain[..., 0].max() == 20 * 8
    crops = data.train.read_crops(tf.range(40), SEED).numpy()
    assert crops.shape == (40, 64, 64, 3)
    assert crops[..., 0].min() < 4 * 8 and crops[..., 0].max() > 25 * 8  # windows reach beyond the centre
    grey = images.load("npz", str(path), image_size=16, channels=1)
    assert grey.train.read_crops(tf.range(2), SEED).shape == (2, 16, 16, 1)


def test_center_fraction_of_a_tiny_image():
    one = tf.constant([[[[9], [9]]]], tf.uint8)
    np.testing.assert_array_equal(resize.fit(one, 2, 1, 0.1), np.full((1, 2, 2, 1), 9))
