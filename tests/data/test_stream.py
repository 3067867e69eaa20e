"""Streams of images: the order of epochs, augmentation, evaluation."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.data.images import augment, stream
from darts_tf.data.images.dataset import Split
from darts_tf.system.errors import UserError

MOMENTS = {"mean": (0.5,), "std": (0.25,)}


def raises(message):
    return pytest.raises(UserError, match=rf"\A(?-s:.*{message}.*)\Z")  # on one line


def numbered_split(count, size=6):
    """Image i has a corner pixel i, so a batch tells which images it holds."""
    pixels = np.random.default_rng(0).integers(1, 256, (count, size, size, 1)).astype(np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    return Split.from_arrays(pixels, np.arange(count) % 3), pixels


def take(data, count):
    return [(x.numpy(), y.numpy()) for x, y in data.take(count)]


def plain(split, indices, batch_size, seed, start_step=0, **settings):
    """A stream whose images are bytes again."""
    return stream.stream(split, indices, batch_size, seed, start_step, mean=(0.0,), std=(1 / 255,), **settings)


def corners(batches):
    return [np.rint(x[:, 0, 0, 0]).astype(int) for x, _ in batches]


@pytest.mark.parametrize(
    "crop", [{"crop_padding": 2}, {"resized_crop": True, "color_jitter": 0.4}], ids=["pad", "window"]
)
@pytest.mark.parametrize("start", [1, 5, 12])
def test_stream_resumes_bit_for_bit(start, crop):
    split, _ = numbered_split(23)
    settings = dict(flip=True, cutout=3, **crop, **MOMENTS)
    whole = take(stream.stream(split, np.arange(23), 4, 9, **settings), 16)
    rest = take(stream.stream(split, np.arange(23), 4, 9, start, **settings), 16 - start)
    for (x, y), (again_x, again_y) in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)


def test_each_epoch_visits_distinct_examples_in_another_order():
    split, pixels = numbered_split(50)
    indices = np.arange(50)[::2]
    batches = take(plain(split, indices, 4, seed=3), 6 * 40)
    epochs = np.concatenate(corners(batches)).reshape(40, 24)
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    assert set(epochs.ravel()) == set(indices)
    assert len({tuple(epoch) for epoch in epochs}) == 40
    assert len({(set(indices) - set(epoch)).pop() for epoch in epochs}) > 5  # the dropped one changes
    for x, y in batches[:8]:
        rows = np.rint(x[:, 0, 0, 0]).astype(int)
        np.testing.assert_allclose(x, pixels[rows], atol=1e-4)
        np.testing.assert_array_equal(y, rows % 3)


def test_stream_in_order():
    split, _ = numbered_split(10)
    batches = corners(take(plain(split, np.arange(10)[::-1], 4, seed=0, shuffle=False), 3))
    np.testing.assert_array_equal(batches, [[9, 8, 7, 6], [5, 4, 3, 2], [9, 8, 7, 6]])


def test_streams_differ_by_seed():
    split, _ = numbered_split(40)
    first, second = (np.concatenate(corners(take(plain(split, np.arange(40), 8, seed), 5))) for seed in (1, 2))
    assert not np.array_equal(first, second)
    same_order = [
        take(plain(split, np.arange(40), 40, seed, shuffle=False, flip=True, crop_padding=2), 2) for seed in (1, 2)
    ]
    assert not np.array_equal(same_order[0][0][0], same_order[1][0][0])  # augmentation follows the seed
    assert not np.array_equal(same_order[0][0][0], same_order[0][1][0])  # and the step


def test_kinds_of_augmentation_are_drawn_independently():
    white = Split.from_arrays(np.full((2000, 5, 5, 1), 255, np.uint8), np.zeros(2000))
    x, _ = take(plain(white, np.arange(2000), 2000, 4, crop_padding=1, shuffle=False), 1)[0]
    up = x[:, 0].sum((1, 2)) == 0  # shifted down, so that the first row is padding
    x, _ = take(plain(white, np.arange(2000), 2000, 4, cutout=1, shuffle=False), 1)[0]
    row = np.argwhere(x == 0)[:, 1]
    assert abs(np.corrcoef(up, row)[0, 1]) < 0.12


def test_augmentation_order():
    """The crop's padding is black before normalisation; the cutout is zero after it."""
    white = Split.from_arrays(np.full((64, 4, 4, 1), 255, np.uint8), np.zeros(64))
    settings = dict(mean=(0.5,), std=(0.25,), shuffle=False)
    (x, _) = take(stream.stream(white, np.arange(64), 64, 0, crop_padding=2, **settings), 1)[0]
    assert set(np.unique(x)) == {-2.0, 2.0}
    (x, _) = take(stream.stream(white, np.arange(64), 64, 0, cutout=2, **settings), 1)[0]
    assert set(np.unique(x)) == {0.0, 2.0}


def test_window_flip_colors_and_cutout_in_the_order_of_imagenet():
    split, pixels = numbered_split(40)
    pixels = np.repeat(pixels, 3, axis=-1)
    split = Split.from_arrays(pixels, split.labels)
    settings = dict(mean=(0.5,) * 3, std=(0.25,) * 3, shuffle=False)
    indices, step = np.arange(40)[::-1].copy(), 3
    both = dict(resized_crop=True, flip=True, color_jitter=0.4, cutout=2)
    ((ours, _),) = take(stream.stream(split, indices, 10, 8, step, **both, **settings), 1)

    def seed(kind):
        return tf.random.fold_in(tf.constant([8, kind], tf.int64), tf.constant(step, tf.int64))

    expected = split.read_crops(tf.constant(indices[30:40]), seed(stream.WINDOW))
    expected = augment.color_jitter(augment.flip(expected, seed(stream.FLIP)), seed(stream.COLOR), 0.4)
    expected = augment.normalize(expected, settings["mean"], settings["std"])
    expected = augment.cutout(expected, seed(stream.CUTOUT), 2)
    np.testing.assert_allclose(ours, expected, atol=4.1 / 255)  # one byte, where rounding falls the other way
    assert (ours == 0).all(-1).any((1, 2)).all()


def test_stream_shapes_are_static_and_images_are_not_in_the_graph():
    split = Split.from_arrays(np.zeros((300, 64, 64, 3), np.uint8), np.zeros(300))
    data = stream.stream(split, np.arange(300), 5, 0, mean=[0.5] * 3, std=[1] * 3, crop_padding=4, flip=True, cutout=16)
    assert data.element_spec == (tf.TensorSpec((5, 64, 64, 3), tf.float32), tf.TensorSpec((5,), tf.int32))
    assert data.cardinality() == tf.data.INFINITE_CARDINALITY
    (mapped,) = data._input_dataset._input_dataset._functions()  # below the options and the prefetch
    assert mapped.function.graph.as_graph_def().ByteSize() < 100_000  # the images are 3.7 MB


def test_single_example_and_one_batch():
    split, _ = numbered_split(1)
    assert corners(take(plain(split, [0], 1, seed=0), 2)) == [[0], [0]]


def test_stream_errors():
    split, _ = numbered_split(10)
    with raises("at most 6 examples per batch. Received: batch_size=7"):
        stream.stream(split, np.arange(6), 7, 0, **MOMENTS)
    with raises("batch_size must be >= 1. Received: 0"):
        stream.stream(split, np.arange(6), 0, 0, **MOMENTS)
    for wrong in ([], [[1]], [0.5]):
        with raises("non-empty list of integer indices"):
            stream.stream(split, wrong, 1, 0, **MOMENTS)
    for wrong in ([0, 10], [-1, 3]):
        with raises("outside of the data: expected 0 to 9"):
            stream.evaluation_batches(split, wrong, 1, **MOMENTS)


def test_evaluation_is_one_pass_in_order():
    split, pixels = numbered_split(10)
    indices = np.array([7, 1, 2, 9, 0])
    batches = list(stream.evaluation_batches(split, indices, 2, **MOMENTS).as_numpy_iterator())
    assert [len(y) for _, y in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), indices % 3)
    np.testing.assert_allclose(np.concatenate([x for x, _ in batches]), (pixels[indices] / 255 - 0.5) / 0.25, atol=1e-5)
