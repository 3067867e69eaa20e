"""Augmentation against naive NumPy, eagerly and inside `dataset.map`."""

import colorsys
import itertools

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.data.images import augment
from darts_tf.system.errors import UserError
from tests.helpers.paths import GOLDEN

SEED = (7, 11)
FUNCTIONS = {
    "pad_crop": lambda images, seed: augment.pad_crop(images, seed, 4),
    "flip": augment.flip,
    "cutout": lambda images, seed: augment.cutout(images, seed, 4),
    "color_jitter": lambda images, seed: augment.color_jitter(images, seed, 0.4),
}


def distinct_images(batch=200, height=9, width=7, channels=3, dtype=np.float32):
    """No two pixels of an image are alike and none is zero, so any geometric change can be read back."""
    values = np.arange(1, height * width * channels + 1).reshape(1, height, width, channels)
    return np.repeat(values, batch, axis=0).astype(dtype)


def naive_shift(image, dy, dx, padding):
    height, width, _ = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            source_y, source_x = y + dy - padding, x + dx - padding
            if 0 <= source_y < height and 0 <= source_x < width:
                out[y, x] = image[source_y, source_x]
    return out


def naive_mask(y, x, height, width, length):
    mask = np.ones((height, width), bool)
    for row in range(height):
        for column in range(width):
            if -(length // 2) <= row - y < length - length // 2 and -(length // 2) <= column - x < length - length // 2:
                mask[row, column] = False
    return mask


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.float16])
def test_pad_crop_is_one_shift_per_image_and_all_shifts_occur(dtype):
    images = distinct_images(batch=400, height=5, width=4, dtype=dtype)
    shifts = {(dy, dx): naive_shift(images[0], dy, dx, 2) for dy in range(5) for dx in range(5)}
    cropped = augment.pad_crop(tf.constant(images), tf.constant(SEED), 2)
    assert cropped.dtype == dtype and cropped.shape == images.shape
    seen = [[key for key, shifted in shifts.items() if np.array_equal(image, shifted)] for image in cropped.numpy()]
    assert all(len(keys) == 1 for keys in seen)
    assert {keys[0] for keys in seen} == set(shifts)


def test_pad_crop_without_padding_changes_nothing():
    images = distinct_images(batch=3)
    np.testing.assert_array_equal(augment.pad_crop(images, tf.constant(SEED), 0), images)


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = distinct_images(batch=1000)
    flipped = augment.flip(tf.constant(images), tf.constant(SEED)).numpy()
    mirrored = [np.array_equal(image, images[0][:, ::-1]) for image in flipped]
    kept = [np.array_equal(image, images[0]) for image in flipped]
    assert sum(mirrored) + sum(kept) == 1000
    assert abs(sum(mirrored) - 500) < 80  # five standard deviations


@pytest.mark.parametrize("length", [1, 3, 4, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_cutout_zeroes_one_square_per_image(length, channels):
    images = distinct_images(batch=600, channels=channels)
    masks = [[naive_mask(y, x, 9, 7, length) for x in range(7)] for y in range(9)]
    out = augment.cutout(tf.constant(images), tf.constant(SEED), length).numpy()
    seen = set()
    for image in out:
        centers = [(y, x) for y in range(9) for x in range(7) if np.array_equal(image[..., 0] != 0, masks[y][x])]
        assert centers
        seen |= set(centers)
        y, x = centers[0]
        np.testing.assert_array_equal(image, images[0] * masks[y][x][..., None])
    assert len(seen) == 63  # every pixel is a centre of some image


def test_cutout_centers_are_independent_in_both_directions():
    out = augment.cutout(tf.ones((500, 8, 8, 1)), tf.constant(SEED), 1).numpy()[..., 0]
    centers = np.argwhere(out == 0)[:, 1:]
    assert len(centers) == 500
    assert abs(np.corrcoef(centers.T)[0, 1]) < 0.2


def test_cutout_mask_matches_the_original():
    if not (GOLDEN / "misc.npz").exists():
        pytest.skip(f"no golden numbers in {GOLDEN}: set DARTS_TF_GOLDEN")
    with np.load(GOLDEN / "misc.npz") as golden:
        centers, masks, length = golden["cutout/yx"], golden["cutout/mask"], int(golden["cutout/length"])
    ours = augment.cutout_mask(tf.constant(centers), 32, 32, length)
    assert ours.shape == (20, 32, 32, 1) and ours.dtype == tf.bool
    np.testing.assert_array_equal(ours.numpy()[..., 0], masks)


@pytest.mark.parametrize("length", [1, 2, 5, 16, 40])
def test_cutout_mask_matches_naive(length):
    centers = np.array([(y, x) for y in range(9) for x in range(7)], np.int32)
    ours = augment.cutout_mask(tf.constant(centers), 9, 7, length).numpy()[..., 0]
    for (y, x), mask in zip(centers, ours, strict=True):
        np.testing.assert_array_equal(mask, naive_mask(y, x, 9, 7, length))


def test_normalize_matches_the_formula():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 3), np.uint8)
    mean, std = (0.49, 0.48, 0.44), (0.24, 0.25, 0.26)
    ours = augment.normalize(tf.constant(images), mean, std)
    assert ours.dtype == tf.float32
    np.testing.assert_allclose(ours, (images.astype(np.float64) / 255 - mean) / std, atol=1e-6)


def naive_luminance(image):
    return image @ [0.2989, 0.587, 0.114] if image.shape[-1] == 3 else image[..., 0]


def naive_hue(image, shift):
    out = np.empty_like(image)
    for at in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[at] / 255)
        out[at] = np.multiply(colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value), 255)
    return out


def naive_color(image, order, factors):
    """What torchvision does to one image, without its rounding."""
    image = image.astype(np.float64)
    for change in order:
        factor = factors[change]
        if change == 3:
            image = naive_hue(image, factor)
            continue
        luminance = naive_luminance(image)
        other = (np.zeros(()), luminance.mean(), luminance[..., None])[change]
        image = np.clip(factor * image + (1 - factor) * other, 0, 255)
    return image


def random_images(channels, dtype, batch=5):
    return np.random.default_rng(3).integers(0, 256, (batch, 6, 5, channels)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_colors_match_naive_in_every_order(channels, dtype):
    images = random_images(channels, dtype)
    factors = np.random.default_rng(4).uniform(0.3, 1.7, (5, 4)).astype(np.float32)
    factors[:, 3] = [-0.5, -0.2, 0, 0.3, 0.5]
    changes = range(2 if channels == 1 else 4)
    orders = [order for length in (1, len(changes)) for order in itertools.permutations(changes, length)]
    for order in orders:
        ours = augment.adjust_color(tf.constant(images), tf.constant(order), tf.constant(factors))
        assert ours.dtype == dtype
        expected = [naive_color(image, order, row) for image, row in zip(images, factors, strict=True)]
        # Near grey the hue is ill-conditioned, but the colour is not; a byte is rounded.
        np.testing.assert_allclose(ours, expected, atol=0.502 if dtype == np.uint8 else 0.01)


def test_colors_with_factors_of_one_change_nothing():
    images = random_images(3, np.uint8)
    same = augment.adjust_color(tf.constant(images), tf.range(4), tf.constant([[1.0, 1.0, 1.0, 0.0]] * 5))
    np.testing.assert_array_equal(same, images)
    assert augment.color_jitter(images, tf.constant(SEED), 0) is images


def drawn_factors(monkeypatch, seed, strength, channels=3, batch=2000):
    drawn = []
    monkeypatch.setattr(augment, "adjust_color", lambda images, *draws: drawn.extend(draws))
    augment.color_jitter(tf.zeros((batch, 1, 1, channels)), tf.constant(seed), strength)
    return [draw.numpy() for draw in drawn]


@pytest.mark.parametrize(
    ("strength", "low", "high"),
    [(0.4, [0.6, 0.6, 0.6, -0.2], [1.4, 1.4, 1.4, 0.2]), (1.5, [0, 0, 0, -0.5], [2.5, 2.5, 2.5, 0.5])],
)
def test_color_draws_are_uniform_and_independent(monkeypatch, strength, low, high):
    _, factors = drawn_factors(monkeypatch, SEED, strength)
    span = np.subtract(high, low)
    assert np.all(factors >= low) and np.all(factors <= high)
    # Five standard deviations of the mean, of the variance and of a correlation of 2,000 uniform draws.
    np.testing.assert_allclose(factors.mean(0), np.add(low, high) / 2, atol=5 * 0.29 / 2000**0.5 * span.max())
    np.testing.assert_allclose(factors.var(0) / span**2, 1 / 12, atol=5 * 0.075 / 2000**0.5)
    assert np.abs(np.corrcoef(factors.T) - np.eye(4)).max() < 5 / 2000**0.5


@pytest.mark.parametrize("channels", [1, 3])
def test_every_order_of_colors_is_drawn(monkeypatch, channels):
    seen = {tuple(drawn_factors(monkeypatch, (0, i), 0.4, channels, 1)[0]) for i in range(200)}
    assert seen == set(itertools.permutations(range(2 if channels == 1 else 4)))


def test_jitter_keeps_grey_grey_and_needs_colors():
    grey = np.repeat(random_images(1, np.uint8), 3, axis=-1)
    out = augment.color_jitter(tf.constant(grey), tf.constant(SEED), 0.4).numpy().astype(int)
    assert np.ptp(out, axis=-1).max() <= 1 and not np.array_equal(out, grey)
    with pytest.raises(UserError, match="1 or 3 channels. Received: 5"):
        augment.check_jitter(5, 0.4)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed_dtype", [tf.int32, tf.int64])
@pytest.mark.parametrize("static", [True, False])
def test_inside_dataset_map_equals_eager(name, seed_dtype, static):
    images = distinct_images(batch=12)
    spec = tf.TensorSpec(images.shape if static else (None, None, None, 3), tf.float32)
    data = tf.data.Dataset.from_generator(lambda: iter([images]), output_signature=spec)
    mapped = data.map(lambda batch: FUNCTIONS[name](batch, tf.constant(SEED, seed_dtype)))
    assert not static or mapped.element_spec.shape == images.shape
    eager = FUNCTIONS[name](tf.constant(images), tf.constant(SEED, seed_dtype))
    # The graph's optimiser may reorder the arithmetic of colours; what only moves pixels is the same bit for bit.
    np.testing.assert_allclose(next(iter(mapped)), eager, atol=1e-3 if name == "color_jitter" else 0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_seed_decides(name):
    images = tf.constant(distinct_images(batch=50))
    first, again, other = (FUNCTIONS[name](images, tf.constant(seed)).numpy() for seed in (SEED, SEED, (7, 12)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 33, 17, 3), (2, 8, 8, 1)])
def test_any_size(name, shape):
    assert FUNCTIONS[name](tf.ones(shape), tf.constant(SEED)).shape == shape


def test_cutout_of_a_share_of_the_images():
    images = tf.ones((2000, 8, 8, 1))
    cut = tf.reduce_any(augment.cutout(images, tf.constant([1, 2]), 4, 0.3) == 0, (1, 2, 3))
    np.testing.assert_allclose(np.mean(cut), 0.3, atol=0.03)
    assert not np.any(augment.cutout(images, tf.constant([1, 2]), 4, 0.0) == 0)
