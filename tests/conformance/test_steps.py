"""What holds for the steps of every space and method: recomputation, narrow types, kernels for a GPU."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.objective import BatchObjective, values
from darts_tf.engine.liveness import Liveness
from tests.conformance.cases import METHODS, SPACES, search_of, training_of
from tests.helpers import kernels
from tests.helpers.kernels import assert_kernels
from tests.helpers.steps import KINDS, every

pytestmark = pytest.mark.usefixtures("as_the_binaries_do")

# Each order of each space, and each method in each space.
SEARCHES = [(space, "darts", order) for space in SPACES for order in KINDS]
SEARCHES += [(space, method, "first") for method in METHODS if method != "darts" for space in SPACES]
SEARCHED = {"-".join(case): functools.partial(search_of, *case) for case in SEARCHES}
TRAINED = {f"{space}-training": functools.partial(training_of, space) for space in SPACES}
STEPS = SEARCHED | TRAINED
of_every_search = pytest.mark.parametrize("make", SEARCHED.values(), ids=SEARCHED)
of_every_step = pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)


def graph_of(step, arguments):
    return tf.function(lambda: step(*arguments), autograph=False)


# Recomputation


def assert_recomputed_is_the_same(make):
    """Weights, alphas, moving statistics, buffers and what is reported; and the kernels of both graphs."""
    found = []
    for recompute in (False, True):
        step, arguments = make(recompute=recompute)
        concrete = graph_of(step, arguments).get_concrete_function()
        assert_kernels(concrete, {tf.float64: tf.float32})
        report = concrete()
        found.append([*every(step), *[report[name].numpy() for name in sorted(report)]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)


@of_every_step
def test_a_step_is_the_same_where_it_recomputes(float64, make):
    assert_recomputed_is_the_same(make)


def test_a_step_in_parts_is_the_same_where_it_recomputes(float64):
    make = functools.partial(search_of, "conv", order="finite_difference", arch_bn_updates=True, accumulate=2)
    assert_recomputed_is_the_same(make)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", [search_of, training_of])
def test_less_is_kept_where_a_step_recomputes(space, kind):
    """By the bytes that are alive at once in the graph of a pass."""
    peaks = []
    for recompute in (False, True):
        step, (piece, number, *others) = kind(space, recompute=recompute)
        step.functions.trace = lambda function: function
        net, functions = step.functions.supernet, step.functions
        packed = functions.weights.pack(net.weight_variables), values(functions.arch.values())
        drop_path = others[1:2] if kind is training_of else []
        batch = step.domain.batch(piece, tf.zeros(2, tf.int64), *drop_path)
        gradients = tf.function(functions._gradients((WEIGHTS,), True), autograph=False)
        peaks.append(Liveness(5).peak(gradients.get_concrete_function(*packed, (), *batch)))
    assert peaks[1] < 0.85 * peaks[0]


# Narrow types

# Norm's relative error, and one less the cosine: bfloat16 has 8 bits, float16 11. Processors with narrow arithmetic of
# their own round at other places: with AMX norms were seen to be off by 0.12 and 0.037, cosines by 0.014 and 0.004.
NEAR = {"bfloat16": (0.2, 0.1), "float16": (0.06, 0.02)}
LARGER = {"conv": {"init_channels": 4, "batch_size": 16}, "recurrent": {"num_units": 16, "batch_size": 8}}
SCALES = {"conv": None, "recurrent": 0.4}  # of weights whose step does not overflow


def assert_near(found, expected, precision):
    norm, angle = NEAR[precision]
    found, expected = (np.concatenate([np.asarray(g, np.float64).ravel() for g in each]) for each in (found, expected))
    lengths = np.linalg.norm(found), np.linalg.norm(expected)
    assert lengths[0] == pytest.approx(lengths[1], rel=norm), precision
    assert 1 - found @ expected / lengths[0] / lengths[1] < angle, precision


def gradients(space, method, order, precision):
    """The alphas' gradient and the weights', and the graph that computed them."""
    settings = {**LARGER[space], "grad_clip": 0.0, "precision": precision}
    step, (*both, number, _) = search_of(space, method, order, SCALES[space], **settings)
    domain, functions = step.domain, step.functions
    if functions.precision.loss_scale:
        functions.precision.loss_scale.scale.assign(2.0**8)  # that of the start overflows

    @functools.partial(tf.function, autograph=False)
    def computed():
        parts = zip(both, domain.seeds(number), (False, True), strict=True)
        train, valid = (domain.batch(piece, seed, held_out=held_out) for piece, seed, held_out in parts)
        packed, alphas = functions.weights.pack(step.supernet.weight_variables), values(functions.arch.values())
        weights = BatchObjective(functions, train).gradients(packed, alphas, (WEIGHTS,))[1]
        return step.architect.gradient(train, valid, tf.constant(0.025))[1], weights

    concrete = computed.get_concrete_function()
    found = concrete()
    assert all(g.dtype == tf.float32 for each in found for g in each)
    return found, concrete


@pytest.mark.parametrize("case", SEARCHES, ids=SEARCHED)
def test_gradients_in_narrow_types_are_near_those_of_float32(case):
    """Every order in float16; bfloat16, which differs by its rounding only, in the first."""
    expected, _ = gradients(*case, "float32")
    for precision in ("float16", "bfloat16") if case[2] == "first" else ("float16",):
        found, concrete = gradients(*case, precision)
        assert_kernels(concrete)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other, precision)


def moved_by_training(space, precision):
    """What a step of training adds to the weights, with all that is dropped."""
    step, arguments = training_of(space, SCALES[space], **LARGER[space], grad_clip=0.0, precision=precision)
    network = step.network
    before = [v.numpy() for v in network.weight_variables]
    report = step(*arguments)
    assert np.isfinite(report["loss"])
    assert {v.dtype for v in network.variables} == {"float32"} and {v.dtype for v in step.domain.carried} <= {
        tf.float32
    }
    return [v.numpy() - b for v, b in zip(network.weight_variables, before, strict=True)]


@pytest.mark.parametrize("space", SPACES)
def test_a_training_step_in_narrow_types_is_near_that_of_float32(space):
    expected = moved_by_training(space, "float32")
    for precision in NEAR:
        assert_near(moved_by_training(space, precision), expected, precision)


# Kernels


@pytest.mark.skipif(not kernels.available(), reason="the installed TensorFlow knows no kernels of GPUs")
def test_operations_without_a_kernel_are_found():
    """The steps are looked at where their graphs are built, above."""

    @tf.function
    def inner(x):
        return tf.strings.to_number(tf.strings.as_string(x)) + tf.cast(
            tf.matmul(tf.cast(x, tf.int32), tf.cast(x, tf.int32)), tf.float32
        )

    concrete = tf.function(lambda x: inner(tf.matmul(x, x))).get_concrete_function(tf.ones((2, 2)))
    assert [op for op, _ in kernels.missing_on_a_gpu(concrete)] == ["AsString", "MatMul", "StringToNumber"]
