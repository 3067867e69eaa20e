"""Cutout that rises: of no image in the first epoch of a search, of all in the last one."""

import itertools

import numpy as np
import pytest

from darts_tf.data.images import stream
from darts_tf.data.images.dataset import Split
from darts_tf.tasks import domains
from tests.helpers.searches import SMOKE


def test_the_share_of_the_images_follows_the_epoch():
    white = Split.from_arrays(np.full((200, 8, 8, 1), 255, np.uint8), np.zeros(200, np.int32))
    settings = {"mean": [0.5], "std": [0.5], "cutout": 2}

    def shares(count, start=0, **rise):
        batches = itertools.islice(stream.stream(white, np.arange(200), 100, 4, start, **settings, **rise), count)
        return [np.mean((np.asarray(x) == 0).any((1, 2, 3))) for x, _ in batches]

    assert shares(4) == [1] * 4
    found = shares(12, cutout_rise=(5, 2))
    assert found[:2] == [0, 0] and found[8:] == [1] * 4  # also past the last one
    np.testing.assert_allclose(np.reshape(found[2:8], (3, 2)).mean(1), [0.25, 0.5, 0.75], atol=0.07)
    assert found[3:6] == shares(3, 3, cutout_rise=(5, 2))
    assert shares(2, cutout_rise=(1, 2)) == [0, 0]  # the only epoch is the first
    assert shares(8, cutout_rise=(5, 4))[4:] == pytest.approx([0.25] * 4, abs=0.15)  # epochs longer than the stream's


@pytest.mark.parametrize("train_portion", [0.5, 0.75])
def test_a_search_cuts_what_the_weights_and_the_alphas_are_trained_on(train_portion):
    """Both by the epochs of the search, whatever share of the images each has."""
    config = SMOKE.replace(epochs=3, crop_padding=0, flip=False, train_portion=train_portion, cutout_rises=True)

    def batches(**changes):
        domain = domains.of(config.replace(**changes)).load(lambda line: None)
        domain.open(0)
        count = domain.epoch_steps[0]
        read = [[next(each)[0].numpy() for _ in range(3 * count)] for each in domain.streams(0)]
        return [np.reshape(each, (3, -1, *each[0].shape[1:])) for each in read]  # epoch, image, ...

    for plain, cut in zip(batches(cutout=0), batches(cutout=4), strict=True):
        shares = (plain != cut).any((2, 3, 4)).mean(1)
        assert shares[0] == 0 and 0.2 < shares[1] < 0.8 and shares[2] == 1
