"""What holds for every primitive: oracle, edges, derivatives, kernels, XLA, narrow types, recomputation, networks."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.export.lowering import lower
from darts_tf.interop.conv import _operation_slots, load_arrays, to_arrays
from darts_tf.passes.context import within
from darts_tf.passes.recomputation import GRAPH
from darts_tf.spaces.conv.derived import CifarNetwork
from darts_tf.spaces.conv.folding import fold
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.conv.norm import call_cell
from darts_tf.spaces.conv.operations import OPERATIONS
from tests.helpers import oracles
from tests.helpers.arrays import CHANNELS, assert_close, difference, fill, images, macs_of_the_graph, of_edge
from tests.helpers.cases import CANDIDATES, COMPUTED, STRIDED, everything
from tests.helpers.kernels import assert_kernels
from tests.helpers.steps import collect_statistics

SIZES = [(8, 8), (7, 7), (5, 8), (6, 3)]


def of_every_operation(test):
    """Both strides of each."""
    return pytest.mark.parametrize(("name", "stride"), STRIDED)(test)


@of_every_operation
def test_operation_is_its_oracle(name, stride, dtype):
    for size in SIZES:
        for edges, affine in ((1, False), (1, True), (3, False), (2, True)):
            x = images(3, *size, CHANNELS, dtype=dtype)
            operation = fill(CANDIDATES[name](CHANNELS, stride, edges, affine))
            scale = images(edges * CHANNELS, dtype=dtype, seed=2)
            for training in (False, True):
                arrays = [of_edge(operation, edge) for edge in range(edges)]  # before training moves the statistics
                expected = np.concatenate(
                    [oracles.ORACLES[name.rpartition(".")[2]](x, a, stride, training) for a in arrays], -1
                )
                what = f"{size} edges={edges} affine={affine} training={training}"
                assert_close(operation(x, training=training), expected, dtype, what)
                fill(operation)
                assert_close(operation(x, scale, training=training), expected * scale, dtype, f"{what}, scaled")
                fill(operation)


@of_every_operation
def test_three_edges_are_three_operations(name, stride, float64):
    """Their outputs, and the gradients of their kernels."""
    x, cotangent = tf.constant(images(2, 6, 7, CHANNELS)), images(3, 2, -(-6 // stride), -(-7 // stride), CHANNELS)
    wide = fill(CANDIDATES[name](CHANNELS, stride, 3))
    singles = [fill(CANDIDATES[name](CHANNELS, stride, 1), seed) for seed in range(3)]
    for edge, single in enumerate(singles):
        slots = {s.name: s for s in _operation_slots(wide, ["0/", "1/", "2/"])}
        for slot in _operation_slots(single, [f"{edge}/"]):
            array = np.array(slots[slot.name].variable.numpy())
            slots[slot.name].write(array, slot.read(slot.variable))
            slots[slot.name].variable.assign(array)
    gradients = {}
    with tf.GradientTape(persistent=True) as tape, collect_statistics():
        ours = wide(x, training=True)
        theirs = tf.concat([single(x, training=True) for single in singles], -1)
        total = (
            tf.reduce_sum(ours * np.concatenate(cotangent, -1)),
            tf.reduce_sum(theirs * np.concatenate(cotangent, -1)),
        )
    assert_close(ours, theirs, "float64")
    assert_close(wide(x), tf.concat([single(x) for single in singles], -1), "float64")
    for edge, single in enumerate(singles):
        for slot in _operation_slots(single, [f"{edge}/"]):
            if slot.variable.trainable:
                gradients[slot.name] = slot.read(tape.gradient(total[1], slot.variable.value))
    for slot in _operation_slots(wide, ["0/", "1/", "2/"]):
        if slot.variable.trainable:
            assert_close(slot.read(tape.gradient(total[0], slot.variable.value)), gradients.pop(slot.name), "float64")
    assert not gradients


@of_every_operation
@pytest.mark.parametrize("size", [(6, 6), (5, 6)])
def test_second_derivative(name, stride, size, float64):
    """Hessian times vector in a graph, against the central difference of the gradient; every kernel on a GPU.

    In a graph, because TensorFlow's max pooling is wrong there and only there, see `functional.max_pool`.
    """
    operation = fill(CANDIDATES[name](CHANNELS, stride, edges=2))
    x = tf.Variable(images(2, *size, CHANNELS))
    variables = [x, *[v.value for v in operation.trainable_variables]]
    cotangent = images(2, -(-size[0] // stride), -(-size[1] // stride), 2 * CHANNELS, seed=3)
    vectors = [images(*v.shape, seed=4 + i) for i, v in enumerate(variables)]

    def gradient():
        with tf.GradientTape() as tape, collect_statistics():
            loss = tf.reduce_sum(operation(x.value(), training=True) ** 3 * cotangent)
        return tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    @functools.partial(tf.function, autograph=False)
    def product():
        with tf.GradientTape() as tape:
            along = tf.add_n([tf.reduce_sum(g * v) for g, v in zip(gradient(), vectors, strict=True)])
        return tape.gradient(along, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    concrete = product.get_concrete_function()
    assert_kernels(concrete, {tf.float64: tf.float32})
    exact, step, shifted = concrete(), 1e-6, []
    for sign in (1, -2):
        for variable, vector in zip(variables, vectors, strict=True):
            variable.assign_add(sign * step * vector)
        shifted.append(gradient())
    for mine, plus, minus in zip(exact, *shifted, strict=True):
        central = (plus - minus) / (2 * step)
        assert np.linalg.norm(mine - central) <= 1e-6 * max(1, np.linalg.norm(central))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_one_hot_mixture_is_that_operation(stride, training, dtype):
    for size in ((6, 8), (5, 6)):
        x = images(2, *size, CHANNELS, dtype=dtype)
        fused = fill(MixedOp(3, CHANNELS, stride, OPERATIONS))
        for index, operation in enumerate(fused.operations):
            weights = np.zeros((3, len(OPERATIONS)), dtype)
            weights[:, index] = 1
            with collect_statistics():
                mine, theirs = fused(x, weights, training=training), operation(x, training=training)
            assert_close(mine, theirs, dtype, [*OPERATIONS][index])


@pytest.mark.parametrize("stride", [1, 2])
def test_operations_compile(stride):
    """Some kernels that are fast without XLA do not exist in it."""
    x = tf.constant(images(2, 6, 6, CHANNELS, dtype="float32"))
    for name in (name for name, strided in STRIDED if strided == stride):
        operation = fill(CANDIDATES[name](CHANNELS, stride, edges=2))
        variables = [v.value for v in operation.trainable_variables]

        def gradients(x, operation=operation, variables=variables):
            with tf.GradientTape() as tape, collect_statistics():
                tape.watch(x)
                y = operation(x, training=True)
                loss = tf.reduce_sum(y**3)
            return [y, *tape.gradient(loss, [x, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)]

        compiled = tf.function(gradients, jit_compile=True, autograph=False)
        for mine, theirs in zip(compiled(x), gradients(x), strict=True):
            assert difference(mine, theirs) < 1e-4, name


@of_every_operation
def test_narrow_and_recomputed(name, stride):
    """The outputs and gradients of float32; those of kernels stay in float32."""
    operation = fill(CANDIDATES[name](CHANNELS, stride, edges=2))
    variables = [v.value for v in operation.trainable_variables]
    x, scale = tf.constant(images(4, 6, 6, CHANNELS, dtype="float32")), images(2 * CHANNELS, dtype="float32", seed=2)

    def outputs(x, recompute=None):
        with within(recompute=recompute, statistics={}), tf.GradientTape() as tape:
            tape.watch(x)
            y = call_cell(operation, x, scale=scale, training=True)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * images(*y.shape, dtype="float32", seed=3))
        return [y, *tape.gradient(loss, [x, *variables], unconnected_gradients=tf.UnconnectedGradients.ZERO)]

    expected = outputs(x)
    for mine, theirs in zip(outputs(x, GRAPH), expected, strict=True):
        assert_close(mine, theirs, "float32")
    for narrow, tolerance in ((tf.float16, 1e-2), (tf.bfloat16, 8e-2)):
        found = outputs(tf.cast(x, narrow))
        assert [g.dtype for g in found] == [narrow, narrow, *[tf.float32] * len(variables)]
        for mine, theirs in zip(found, expected, strict=True):
            assert difference(mine, theirs) < tolerance, narrow


# The network whose every edge is one operation


@functools.cache
def network_of(name):
    """Both cells read both inputs, at both strides; made-up weights and statistics."""
    return fill(CifarNetwork(everything([name]), 5, (16, 16, 3), 4, 3, False))


of_every_network = pytest.mark.parametrize("name", COMPUTED)


@of_every_network
@pytest.mark.parametrize("size", [(9, 8), (4, 4)])
def test_folding_and_lowering_change_nothing(name, size, float64):
    net, x = fill(CifarNetwork(everything([name]), 5, (*size, 3), 4, 3)), images(2, *size, 3)
    expected, folded = net(x), fold(net)
    assert folded.auxiliary_head is None and folded.parameters == net.parameters and folded.built
    assert difference(folded(x), expected) < 1e-12
    assert difference(lower(net)(x), expected) < 1e-6  # its constants are of float32
    assert np.array_equal(net(x), expected)


@of_every_network
def test_multiply_adds_are_those_of_the_graph(name):
    net = network_of(name)
    assert net.macs() == macs_of_the_graph(net)


@of_every_network
def test_weights_under_the_originals_names_come_back(name):
    """All different numbers, each of which has one place."""
    net, start, numbered = network_of(name), 0, {}
    arrays = to_arrays(net)
    for key, array in arrays.items():
        numbered[key] = np.arange(start, start + array.size, dtype="float32").reshape(array.shape)
        start += array.size
    other = CifarNetwork(net.genotype, 5, (16, 16, 3), 4, 3, False)
    load_arrays(other, numbered)
    own = [*other.weight_variables, *other.state_variables]
    assert np.array_equal(np.sort(np.concatenate([np.ravel(v) for v in own])), np.arange(start))
    again = to_arrays(other)
    assert all(np.array_equal(again[key], numbered[key]) for key in numbered)
