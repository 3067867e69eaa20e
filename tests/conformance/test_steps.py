"""What holds for every space and method: steps recompute, in narrow types, with kernels for a GPU; and selection."""

import functools
import types

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes
from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.objective import values
from darts_tf.engine.liveness import Liveness
from darts_tf.genotypes.canonical import canonical
from darts_tf.tasks.search import SearchTask
from tests.helpers import kernels
from tests.helpers.cases import METHODS, OWN, SPACES, STEPS, TRAININGS, one_hot, search_of, training_of
from tests.helpers.kernels import assert_kernels
from tests.helpers.steps import array, every

of_every_step = pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)


def traced(step, arguments):
    """Returns a step as a function of the graph; a GPU has all of its operations, but to split integers."""
    concrete = tf.function(lambda: step(*arguments), autograph=False).get_concrete_function()
    if step.functions.accumulation:
        return concrete
    assert_kernels(concrete, {tf.float64: tf.float32, tf.float16: tf.float32})
    return concrete


# Recomputation


def assert_recomputed_is_the_same(make):
    """Weights, alphas, moving statistics, buffers and what is reported."""
    found = []
    for recompute in (False, True):
        step, arguments = make(recompute=recompute)
        report = traced(step, arguments)() if recompute else step(*arguments)
        found.append([*every(step), *[report[name].numpy() for name in sorted(report)]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)


@of_every_step
def test_a_step_is_the_same_where_it_recomputes(float64, make):
    assert_recomputed_is_the_same(make)


def test_a_step_in_parts_is_the_same_where_it_recomputes(float64):
    make = functools.partial(search_of, "conv", "darts", "finite_difference", arch_bn_updates=True, accumulate=2)
    assert_recomputed_is_the_same(make)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("training", [False, True], ids=["search", "training"])
def test_less_is_kept_where_a_step_recomputes(space, training):
    """By the bytes that are alive at once in the graph of a pass."""
    make = functools.partial(training_of, space) if training else functools.partial(search_of, space, "darts", "first")
    if space not in OWN:
        make = functools.partial(make, num_cells=8)  # of three, two may be no cells that recompute
    peaks = []
    for recompute in (False, True):
        step, (piece, number, *others) = make(recompute=recompute)
        step.functions.trace = lambda function: function
        net, functions = step.functions.supernet, step.functions
        packed = functions.weights.pack(net.weight_variables), values(functions.arch.values())
        batch = step.domain.batch(piece, tf.zeros(2, tf.int64), *(others[1:2] if training else []))
        gradients = tf.function(functions._gradients((WEIGHTS,), True), autograph=False)
        peaks.append(Liveness(5).peak(gradients.get_concrete_function(*packed, *batch, None)))
    assert peaks[1] < 0.85 * peaks[0]


# Narrow types

# Norm's relative error, and one less the cosine: bfloat16 has 8 bits, float16 11. Processors with narrow arithmetic of
# their own round at other places: with AMX norms were seen to be off by 0.12 and 0.037, cosines by 0.014 and 0.004.
NEAR = {"bfloat16": (0.2, 0.1), "float16": (0.06, 0.02)}
FACTOR = 3  # for small networks that were not chosen for it, and for derivatives that a method makes small


def assert_near(found, expected, precision, factor):
    norm, angle = (factor * each for each in NEAR[precision])
    found, expected = (np.concatenate([np.asarray(g, np.float64).ravel() for g in each]) for each in (found, expected))
    lengths = np.linalg.norm(found), np.linalg.norm(expected)
    assert lengths[0] == pytest.approx(lengths[1], rel=norm), precision
    assert 1 - found @ expected / lengths[0] / lengths[1] < angle, precision


CHOSEN = {"conv-darts-first", "conv-darts-exact", "conv-training", "recurrent-training"}
# Second derivatives of networks of four channels are rounding for the most part.
ROUNDING = {"nasbench201-darts-finite_difference", "nasbench201-darts-exact"}


def moved(make, precision):
    """How a step moves the weights, and in a search the gradient of the alphas, which are the first moments of Adam."""
    step, arguments = make(precision=precision, grad_clip=0.0)
    functions = step.functions
    if functions.precision.loss_scale:
        functions.precision.loss_scale.scale.assign(2.0**8)  # that of the start overflows
    weights = functions.supernet.weight_variables
    before = [array(v) for v in weights]
    report = traced(step, arguments)() if precision != "float32" else step(*arguments)
    assert all(np.isfinite(number).all() for number in report.values())
    assert {tf.as_dtype(v.dtype) for group in step.variables.values() for v in group} <= {tf.float32, tf.int64}
    found = [[array(v) - old for v, old in zip(weights, before, strict=True)]]
    moves = hasattr(step, "alpha_optimizer") and step.method.moves_alphas
    return found + ([[array(v) for v in step.alpha_optimizer.means]] if moves else [])


def of_types():
    """Methods change nothing that has a type of its own: they are tested in one space; P-DARTS has only the other."""
    own = {name for name in STEPS if "-darts-" in name or name in TRAININGS or name.startswith("nasbench201-")}
    own.add("conv-p_darts-first")
    return sorted(own - ROUNDING)


@pytest.mark.parametrize("name", of_types())
def test_gradients_in_narrow_types_are_near_those_of_float32(name):
    make, factor = STEPS[name], 1 if name in CHOSEN else FACTOR
    expected = moved(make, "float32")
    for precision in NEAR if name.startswith("conv-") or "-darts-" in name or name in TRAININGS else ["float16"]:
        for one, other in zip(moved(make, precision), expected, strict=True):
            assert_near(one, other, precision, factor)


# Selection


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_alphas_that_choose_a_genotype_give_it(space, method):
    step, _ = search_of(space, method, "first")
    kind, config, rng = step.domain.space.genotype, step.config, np.random.default_rng(2)
    alphas = {cell: rng.normal(size=v.shape) for cell, v in step.supernet.alphas.items()}
    chosen = genotypes.derive(kind, alphas, config.primitives, config.num_nodes)
    for cell, mixing in one_hot(chosen, config.primitives).items():
        step.supernet.alphas[cell].assign(8 * mixing)
    topology = kind.topology(config.num_nodes)
    search = types.SimpleNamespace(step=step, method=step.method, config=config, domain=step.domain, topology=topology)
    assert canonical(SearchTask.derive(search)) == canonical(chosen)


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
