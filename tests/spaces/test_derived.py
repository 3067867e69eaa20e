"""Derived networks: any size, bad settings, drop path, files; for folding and counting see `conformance`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes as genotype
from darts_tf.spaces.conv import operations
from darts_tf.spaces.conv.derived import CifarNetwork, ImageNetNetwork
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.system.errors import UserError

NAMES = [name for name in sorted(OPERATIONS) if name not in ("none", "noise")]
EVERYTHING = genotype.ConvGenotype(
    normal=[(name, i % 2) for i, name in enumerate(NAMES)] + [("skip_connect", 2)],
    normal_concat=(2, 4, 6),
    reduce=[(name, (i + 1) % 2) for i, name in enumerate(NAMES)] + [("max_pool_3x3", 3)],
    reduce_concat=range(2, 7),
)


def filled(net, seed=0):
    """Gives batch norms statistics and scales that a test can see."""
    rng = np.random.default_rng(seed)
    for v in net.variables:
        if len(v.shape) == 1:
            v.assign(rng.uniform(0.5, 1.5, v.shape))
    return net


def images(shape, count=3, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(count, *shape)), keras.config.floatx())


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(1)
    return filled(CifarNetwork(EVERYTHING, 7, (16, 12, 3), 8, 3))


@pytest.mark.parametrize("shape", [(4, 4, 1), (7, 9, 3), (28, 28, 1), (33, 20, 2), (64, 64, 3)])
def test_any_small_image(shape):
    net = CifarNetwork("DARTS_V2", 5, shape, 4, 3)
    stages = net.activations(images(shape), training=True, drop=net.drop_factors(3, 0.3, (0, 1)))
    assert stages["logits"].shape == stages["auxiliary_logits"].shape == (3, 5)
    assert net(images(shape)).shape == (3, 5)
    assert net.macs() > 0
    for network in (net, ConvSupernet(5, shape, 4, 3)):
        for wrong in (images(shape)[0], images(shape)[..., :0]):  # one image without its batch; other channels
            with pytest.raises(ValueError, match="incompatible with the layer"):
                network(wrong)


@pytest.mark.parametrize("size", [64, 97, 224])
def test_any_photograph(size):
    shape = (size, size + size % 7, 3)
    net = ImageNetNetwork(
        "PC_DARTS_image" if "PC_DARTS_image" in genotype.names("conv") else "DARTS_V1", 5, shape, 8, 3
    )
    stages = net.activations(images(shape, 1), training=True)
    assert stages["logits"].shape == stages["auxiliary_logits"].shape == (1, 5)
    assert stages["cell0"].shape[1:3] == (-(-shape[0] // 8), -(-shape[1] // 8))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_classes": 1}, "at least 2 classes"),
        ({"num_cells": 2}, "at least 3 cells"),
        ({"init_channels": 5}, "even"),
        ({"image_shape": (3, 32, 3)}, "too small for the reductions of CifarNetwork"),
        ({"genotype": "ENAS"}, "recurrent"),
        ({"genotype": "Genotype(normal=[('bad', 0), ('bad', 1)], normal_concat=[2], reduce=[('bad', 0), ('bad', 1)], "
          "reduce_concat=[2])"}, "unknown operation 'bad'"),
    ],
)  # fmt: skip
def test_bad_networks(changes, text):
    with pytest.raises(UserError, match=text) as caught:
        CifarNetwork(**{"genotype": "DARTS_V2", "init_channels": 4, "num_cells": 3, **changes})
    assert "\n" not in str(caught.value)


def test_photographs_must_not_be_tiny():
    with pytest.raises(UserError, match="at least 64 pixels"):
        ImageNetNetwork("DARTS_V2", image_shape=(63, 64, 3))


def test_drop_path_drops_per_image_and_never_identities(net):
    factors = net.drop_factors(1000, 0.25, (3, 4)).numpy()
    assert factors.shape == (sum(len(cell.dropped) for cell in net.cells), 1000)
    assert set(np.unique(factors)) == {0, np.float32(1 / 0.75)}
    assert np.abs((factors == 0).mean(axis=1) - 0.25).max() < 0.06
    assert np.abs(np.corrcoef(factors)[~np.eye(len(factors), dtype=bool)]).max() < 0.15
    assert np.array_equal(factors, net.drop_factors(1000, 0.25, (3, 4)))
    assert not np.array_equal(factors, net.drop_factors(1000, 0.25, (3, 5)))
    assert np.array_equal(net.drop_factors(4, 0.0, (0, 0)), np.ones((len(factors), 4)))
    kept = [op for cell in net.cells for i, op in enumerate(cell.operations) if i not in cell.dropped]
    assert kept and all(type(op) is operations.Identity for op in kept)


def test_drop_factors_multiply_each_operation(float64):
    """A cell of one node is the weighted sum of its two operations."""
    one = genotype.ConvGenotype([("sep_conv_3x3", 0), ("max_pool_3x3", 1)], [2], [("skip_connect", 0)] * 2, [2])
    net = filled(CifarNetwork(one, 3, (8, 8, 2), 4, 3))
    cell, x = net.cells[0], images((8, 8, 12), 2)
    parts = [cell(x, x, drop=tf.constant([[a, a], [b, b]], x.dtype)) for a, b in ((1, 0), (0, 1))]
    mixed = cell(x, x, drop=tf.constant([[2.0, 0.0], [3.0, 0.5]], x.dtype))
    np.testing.assert_allclose(mixed[0], 2 * parts[0][0] + 3 * parts[1][0], atol=1e-12)
    np.testing.assert_allclose(mixed[1], 0.5 * parts[1][1], atol=1e-12)


def test_keras_file(net, tmp_path):
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    assert again.genotype == net.genotype and again.get_config() == net.get_config()
    x = images((16, 12, 3))
    assert np.array_equal(net(x), again(x))
    assert [v.shape for v in net.weight_variables] == [v.shape for v in again.weight_variables]
