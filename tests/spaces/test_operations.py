"""Preprocessing, batch norm, operations of the user's own, cells and the supernet; see also `conformance`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel.objective import SupernetLoss, values
from darts_tf.genotypes import CONV_PRIMITIVES, ConvGenotype
from darts_tf.interop.conv import to_arrays
from darts_tf.spaces.conv import functional, operations
from darts_tf.spaces.conv.cells import SearchCell
from darts_tf.spaces.conv.mixed import MixedOp, mixed
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.conv.norm import BatchNorm, moving_average
from darts_tf.system.errors import UserError
from tests.helpers import oracles
from tests.helpers.arrays import CHANNELS, assert_close, fill, images, of_edge
from tests.helpers.steps import collect_statistics, stateless

SIZES = [(8, 8), (7, 7), (5, 8), (6, 3)]

# Outputs


@pytest.mark.parametrize("kind", ["relu_conv_bn", "factorized_reduce"])
def test_preprocessing_is_its_oracle(kind, dtype):
    layer = {"relu_conv_bn": operations.ReLUConvBN, "factorized_reduce": operations.FactorizedReduce}[kind]
    for size in SIZES:
        for affine in (False, True):
            x = images(3, *size, 6, dtype=dtype)
            operation = fill(layer(CHANNELS, affine=affine, inputs=6))
            for training in (False, True):
                expected = getattr(oracles, kind)(x, of_edge(operation, 0), operation.stride, training)
                assert_close(operation(x, training=training), expected, dtype, f"{size} {affine} {training}")


@pytest.mark.parametrize("repeats", [1, 3])
def test_batch_norm_moves_its_statistics(repeats, dtype):
    x = images(3, 4, 5, CHANNELS, dtype=dtype)
    norm = fill(BatchNorm(CHANNELS, affine=True, repeats=repeats))
    before = [np.array(v.numpy()) for v in (norm.moving_mean, norm.moving_variance)]
    norm(x, training=False)
    batch = [np.tile(s, repeats) for s in oracles.statistics(x)]
    for variable, old, new in zip((norm.moving_mean, norm.moving_variance), before, batch, strict=True):
        assert np.array_equal(variable, old)
        norm_moved = (1 - oracles.MOMENTUM) * old + oracles.MOMENTUM * new
        with collect_statistics() as statistics:
            norm(x, training=True)
        assert np.array_equal(variable, old)
        assert_close(statistics[id(variable)], new, dtype)
        assert_close(moving_average(tf.constant(old), statistics[id(variable)]), norm_moved, dtype)
    norm(x, training=True)
    for variable, old, new in zip((norm.moving_mean, norm.moving_variance), before, batch, strict=True):
        assert_close(variable, 0.9 * old + 0.1 * new, dtype)


def test_grouped_convolution_both_ways(monkeypatch):
    for size, strides, padding in (
        ((1, 1), 1, "VALID"),
        ((7, 1), [2, 1], [[0, 0], [3, 3], [0, 0], [0, 0]]),
        ((3, 3), 2, "VALID"),
    ):
        x = tf.constant(images(2, 8, 7, 6, dtype="float32"))
        kernel = tf.constant(images(*size, 2, 12, dtype="float32"))
        found = []
        for available in (True, False):
            if available and not functional.grouped_convolution_available():
                continue
            monkeypatch.setattr(functional, "grouped_convolution_available", lambda available=available: available)
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = functional.grouped_conv(x, kernel, 3, strides, padding)
                loss = tf.reduce_sum(y * y)
            found.append([y, *tape.gradient(loss, [x, kernel])])
            monkeypatch.undo()
        for mine, theirs in zip(found[0], found[-1], strict=True):
            assert_close(mine, theirs, "float32")
        pad = (0, 0) if padding == "VALID" else (3, 0)
        stride = strides if isinstance(strides, list) else (strides, strides)
        theirs = oracles.conv(x.numpy(), kernel.numpy().transpose(3, 2, 0, 1), stride, pad, groups=3)
        assert_close(found[-1][0], theirs, "float32")


# Mixed operations and cells


def test_the_fused_mixed_operation_is_equation_2(dtype):
    x, fused = images(2, 6, 6, CHANNELS, dtype=dtype), fill(MixedOp(2, CHANNELS, 1, CONV_PRIMITIVES))
    weights = images(2, len(CONV_PRIMITIVES), dtype=dtype, seed=5)
    for training in (False, True):
        with collect_statistics():
            each = [operation(x, training=training) for operation in fused.operations]
            expected = sum(y * np.repeat(w, CHANNELS) for y, w in zip(each, weights.T, strict=True))
            assert_close(fused(x, weights, training=training), expected, dtype)
            assert_close(mixed(fused.operations, weights, x, CHANNELS, training), expected, dtype)


def test_mixture_of_nothing_is_zero():
    fused = MixedOp(2, CHANNELS, 2, ["none"])
    y = fused(images(2, 5, 5, CHANNELS, dtype="float32"), np.ones((2, 1), "float32"))
    assert np.array_equal(y, np.zeros((2, 3, 3, 2 * CHANNELS)))


def test_rows_of_the_alphas():
    topology = ConvGenotype.topology(4)
    rows = [[row for row, _ in topology.leaving(state)] for state in range(6)]
    assert rows == [[0, 2, 5, 9], [1, 3, 6, 10], [4, 7, 11], [8, 12], [13], []]
    for num_nodes in range(1, 6):
        topology = ConvGenotype.topology(num_nodes)
        cell = SearchCell((4, 4), 4, False, False, topology, 1, ["none", "skip_connect"])
        rows = [row for state in range(num_nodes + 1) for row, _ in topology.leaving(state)]
        assert sorted(rows) == list(range(num_nodes * (num_nodes + 3) // 2)) and len(cell.mixed) == num_nodes + 1


# Operations of the user's own


@pytest.fixture
def own():
    """Adds operations, and takes them away again."""
    before = dict(operations.OPERATIONS)
    yield operations.add_operation
    operations.OPERATIONS.clear()
    operations.OPERATIONS.update(before)


class Gain(keras.layers.Layer):
    def __init__(self, channels, stride):
        super().__init__()
        self.stride = stride
        self.gain = self.add_weight(shape=(channels,), initializer="ones", name="gain")
        self.built = True

    def call(self, x, training=False):
        return x[:, :: self.stride, :: self.stride] * self.gain.value + (1.0 if training else 0.0)


def test_own_operations_in_a_supernet(own):
    own("subsample", lambda channels, stride: lambda x: tf.sin(x[:, ::stride, ::stride]))
    own("gain", Gain)
    net = ConvSupernet(3, (7, 9, 1), 2, 3, 2, 1, primitives=("none", "gain", "subsample", "max_pool_3x3"))
    x, labels = images(2, 7, 9, 1, dtype="float32"), tf.constant([0, 2])
    assert net(x).shape == (2, 3)
    gradients = SupernetLoss(net).gradients(("weights", "alphas"), False)
    objective = SupernetLoss(net)
    weights, alphas = objective.weights.pack(net.weight_variables), values(net.arch_variables)
    told, (of_weights, of_alphas) = gradients(weights, alphas, x, labels)
    assert np.isfinite(told.loss) and all(np.all(np.isfinite(g)) for g in (*of_weights, *of_alphas))
    gains = [v for v in net.weight_variables if v.name == "gain"]
    assert len(gains) == 3 * 5  # one for each edge of each cell
    assert all(np.linalg.norm(g[:, 1:]) > 0 for g in of_alphas)
    assert "gain" not in str(to_arrays(net).keys())


def test_own_operation_sees_the_mode(own):
    own("gain", Gain)
    x = images(2, 6, 6, CHANNELS, dtype="float32")
    bare = operations.OPERATIONS["gain"](CHANNELS, 2, edges=2, affine=True)
    assert_close(bare(x), np.tile(x[:, ::2, ::2], 2), "float32")
    assert_close(bare(x, training=True), np.tile(x[:, ::2, ::2] + 1, 2), "float32")
    scale = np.arange(2 * CHANNELS, dtype="float32")
    assert_close(bare(x, scale), np.tile(x[:, ::2, ::2], 2) * scale, "float32")


def test_own_operation_of_a_wrong_shape(own):
    own("whole", lambda channels, stride: lambda x: x)
    with pytest.raises(UserError, match=r"Expected: \(3, 4, 4\).* at stride 2. Received: \(6, 7, 4\)"):
        operations.OPERATIONS["whole"](CHANNELS, 2)
    with pytest.raises(UserError, match="Expected a new name. Received: 'whole'"):
        own("whole", lambda channels, stride: lambda x: x)


def test_own_operation_with_a_state(own):
    own("norm", lambda channels, stride: keras.layers.BatchNormalization())
    with pytest.raises(UserError, match="no state other than its weights.*moving_mean"):
        operations.OPERATIONS["norm"](CHANNELS, 1)


# The supernet


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def test_parameters_of_the_papers_supernet():
    net = ConvSupernet()
    assert count(net.weight_variables) == 1_930_618
    assert [v.shape for v in net.arch_variables] == [(14, 8), (14, 8)]


@pytest.mark.parametrize(
    "num_classes, image_shape, settings",
    [
        (2, (7, 9, 1), {"num_nodes": 3, "concat": 2}),
        (7, (13, 11, 4), {"num_nodes": 2, "num_cells": 4, "stem_multiplier": 1}),
        (3, (1, 1, 2), {"num_nodes": 1}),
        (3, (8, 8, 3), {"num_nodes": 3, "concat": 2, "num_cells": 6, "alpha_init": "zeros"}),
    ],
)
def test_any_size(num_classes, image_shape, settings):
    primitives = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
    net = ConvSupernet(num_classes, image_shape, 4, **{"num_cells": 3, **settings}, primitives=primitives)
    x = images(4, *image_shape, dtype="float32")
    stages = net.activations(x)
    num_nodes = settings["num_nodes"]
    concat = settings.get("concat", 0) or num_nodes
    assert stages["logits"].shape == (4, num_classes)
    size, channels = np.array(image_shape[:2]), 4
    for index, cell in enumerate(net.cells):
        if cell.reduction:
            size, channels = -(-size // 2), channels * 2
        assert stages[f"cell{index}"].shape == (4, *size, concat * channels)
    assert sum(cell.reduction for cell in net.cells) == 2
    assert all(a.shape == (num_nodes * (num_nodes + 3) // 2, 6) for a in net.arch_variables)
    if settings.get("alpha_init") == "zeros":
        assert not any(np.any(a) for a in net.arch_variables)
    logits, statistics = stateless(net, values(net.weight_variables), values(net.arch_variables), x)
    assert np.all(np.isfinite(logits))
    assert [s.shape for s in statistics] == [v.shape for v in net.state_variables]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_cells": 2}, "at least 3 cells.* Received: num_cells=2"),
        ({"primitives": ("none", "conv_9x9")}, "Unknown primitive.*sep_conv_3x3.* Received: 'conv_9x9'"),
        ({"num_classes": 1}, "at least 2 classes. Received: num_classes=1"),
        ({"concat": 5}, "concat <= num_nodes. Received: num_nodes=4, concat=5"),
        ({"num_nodes": 0}, "Received: num_nodes=0"),
    ],
)
def test_what_cannot_be_built(settings, message):
    with pytest.raises(UserError, match=message):
        ConvSupernet(**settings)


def test_odd_channels_of_a_factorized_reduction():
    with pytest.raises(UserError, match="even number of output channels. Received: 3.*init_channels"):
        operations.FactorizedReduce(3)


def small(seed=0, **settings):
    keras.utils.set_random_seed(seed)
    return ConvSupernet(3, (8, 8, 3), 4, 3, 2, **settings)


def test_stateless_writes_nothing():
    net = fill(small())
    x, labels = images(4, 8, 8, 3, dtype="float32"), tf.constant([0, 1, 2, 1])
    before = [np.array(v.numpy()) for v in net.variables]
    weights, alphas = values(net.weight_variables), values(net.arch_variables)
    logits, _ = stateless(net, [2 * w for w in weights], alphas, x)
    functions = SupernetLoss(net)
    packed = functions.weights.pack(net.weight_variables)
    functions.gradients(("weights", "alphas"), True)(packed, alphas, x, labels)
    functions.product("weights")(packed, alphas, x, labels, packed)
    for variable, value in zip(net.variables, before, strict=True):
        assert variable.numpy().tobytes() == value.tobytes(), variable.path
    for variable in net.weight_variables:
        variable.assign(2 * variable.value)
    with collect_statistics():
        assert_close(net(x, training=True), logits, "float32")


def test_order_of_the_variables():
    one, two = small(), small()
    for kind in ("weight_variables", "arch_variables", "state_variables"):
        mine, theirs = getattr(one, kind), getattr(two, kind)
        assert [(v.name, v.shape) for v in mine] == [(v.name, v.shape) for v in theirs]
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))  # equal seeds
        assert [id(v) for v in mine] == [id(v) for v in getattr(one, kind)]
    assert [v.name for v in one.arch_variables] == ["alphas_normal", "alphas_reduce"]
    groups = [one.weight_variables, one.arch_variables, one.state_variables]
    every = [id(v) for group in groups for v in group]
    assert len(every) == len(set(every)) and set(every) == {id(v) for v in one.variables}
