"""The architect and the search step: what they write, how often they are traced, eager == traced == compiled."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import bilevel
from darts_tf.bilevel.architect import Architect, VirtualStep
from darts_tf.bilevel.gradients import ALPHAS, WEIGHTS
from darts_tf.bilevel.objective import SupernetLoss, values
from darts_tf.bilevel.optimizers import Adam
from darts_tf.config import SearchConfig
from tests.helpers.steps import ADAM, KINDS, array, rate, same, small_step, snapshot, stateless

every_kind = pytest.mark.parametrize("kind", list(KINDS))


@every_kind
@pytest.mark.parametrize("bn_updates", [False, True], ids=["", "bn_updates"])
def test_a_gradient_writes_nothing(kind, bn_updates, float64):
    step, batches = small_step(kind, arch_bn_updates=bn_updates)
    step(*batches, 0, rate(0.1))  # so that momentum buffers and moments are not zero
    before = snapshot(step)
    step.architect.gradient(*batches, rate(0.1))
    assert all(same(before, snapshot(step)))


@every_kind
def test_an_architecture_step_writes_alphas_and_their_moments_only(kind, float64):
    step, batches = small_step(kind)
    before = {name: [array(v) for v in variables] for name, variables in step.variables.items()}
    step.architect.step(*batches, rate(0.1))
    after = {name: [array(v) for v in variables] for name, variables in step.variables.items()}
    for name in ("weights", "state", "weight_optimizer"):
        assert all(same(before[name], after[name])), name
    for name in ("alphas", "alpha_optimizer"):
        assert not any(same(before[name], after[name])), name


def test_a_weight_step_leaves_the_alphas_alone(float64):
    step, batches = small_step("first")
    before = {name: [array(v) for v in variables] for name, variables in step.variables.items()}
    step(*batches, 0, rate(0.1), move_alphas=False)
    after = {name: [array(v) for v in variables] for name, variables in step.variables.items()}
    for name, untouched in (("alphas", True), ("alpha_optimizer", True), ("weights", False), ("state", False)):
        assert set(same(before[name], after[name])) == {untouched}, name


@every_kind
def test_everything_is_traced_once(kind, float64):
    """Also where the rate changes; every derivative is one function, called from wherever it is needed."""
    traces = collections.Counter()

    def counting(function):
        number = len(traces)
        traces[number] = 0

        def counted(*arguments):
            traces[number] += 1
            return function(*arguments)

        return tf.function(counted, autograph=False)

    step, batches = small_step(kind, counting)
    outer = []

    @functools.partial(tf.function, autograph=False)
    def run(train, valid, rate):
        outer.append(1)
        return step(train, valid, 0, rate)["loss"]

    for value in (0.1, 0.05, 0.025):
        run(*batches, rate(value))
    assert len(outer) == 1
    assert set(traces.values()) == {1} and len(traces) <= {"first": 2, "finite_difference": 3, "exact": 3}[kind]


@every_kind
def test_traced_and_eager_steps_are_one(kind, float64):
    found = []
    for trace in (None, functools.partial(tf.function, autograph=False)):
        step, batches = small_step(kind, trace)
        run = step if trace is None else tf.function(step, autograph=False)
        reports = [run(*batches, 0, rate(value)) for value in (0.1, 0.05)]
        found.append([*snapshot(step), *(array(report[key]) for report in reports for key in sorted(report))])
    for eager, traced in zip(*found, strict=True):
        np.testing.assert_allclose(traced, eager, rtol=1e-6, atol=1e-9)


def test_the_architect_computes_what_bilevel_says(float64):
    """The virtual step has the optimiser's buffers and decay and no clipping; alphas move by Adam."""
    step, batches = small_step("exact", grad_clip=1e-3)
    step(*batches, 0, rate(0.1))
    net, xi = step.supernet, 0.1

    def loss_on(batch):
        def loss(weights, alphas):
            logits, _ = stateless(net, weights, alphas, batch[0])
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch[1], logits))

        return loss

    weights, alphas = values(net.weight_variables), values(net.arch_variables)
    flat = np.concatenate([array(b).ravel() for b in step.weight_optimizer.buffers])
    ends = np.cumsum([np.prod(w.shape, dtype=int) for w in weights])[:-1]
    buffers = [part.reshape(w.shape) for part, w in zip(np.split(flat, ends), weights, strict=True)]

    def virtual_step(weights, gradients):
        ahead = [w - xi * (0.9 * b + g + 3e-4 * w) for w, g, b in zip(weights, gradients, buffers, strict=True)]
        return ahead, xi

    train, valid = (bilevel.Objective(loss_on(batch)) for batch in batches)
    expected = bilevel.unrolled_gradient(train, valid, weights, alphas, virtual_step, bilevel.exact_hvp)
    told, gradients, _ = step.architect.gradient(*batches, rate(xi))
    np.testing.assert_allclose(told.loss, expected[0], rtol=1e-10)
    for found, wanted in zip(gradients, expected[1], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-11)

    copies = [tf.Variable(a) for a in alphas]
    adam = Adam(copies, **ADAM)
    for mine, theirs in zip(adam.variables, step.alpha_optimizer.variables, strict=True):
        mine.assign(theirs)
    adam.apply(gradients)
    step.architect.step(*batches, rate(xi))
    for alpha, copy in zip(net.arch_variables, copies, strict=True):
        np.testing.assert_allclose(array(alpha), copy.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("kind", "passes"), [("first", 1), ("finite_difference", 3), ("exact", 1)])
def test_bn_updates_move_the_statistics_once_a_pass(kind, passes, float64):
    """First order: the validation pass. Second: the training passes at w and w +- eps v, never the one at w'."""
    plain, batches = small_step(kind, hvp_radius=1e-9)  # the probes see the statistics of w itself
    moving, _ = small_step(kind, hvp_radius=1e-9, arch_bn_updates=True)
    net = moving.supernet
    state = [array(v) for v in net.state_variables]
    images = batches[1 if kind == "first" else 0][0]
    _, statistics = stateless(net, values(net.weight_variables), values(net.arch_variables), images)
    for _ in range(passes):
        state = [0.9 * s + 0.1 * array(b) for s, b in zip(state, statistics, strict=True)]
    gradients = [step.architect.gradient(*batches, rate(0.1))[1] for step in (plain, moving)]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)  # it changes no gradient
    moving.architect.step(*batches, rate(0.1))
    for variable, expected in zip(net.state_variables, state, strict=True):
        # The moving variance takes the unbiased one, which `statistics` hold already.
        np.testing.assert_allclose(array(variable), expected, rtol=1e-6, atol=1e-9)


def test_a_weight_step_moves_the_statistics_of_its_batch(float64):
    step, (train, valid) = small_step("first")
    net = step.supernet
    _, statistics = stateless(net, values(net.weight_variables), values(net.arch_variables), train[0])
    expected = [0.9 * array(v) + 0.1 * array(b) for v, b in zip(net.state_variables, statistics, strict=True)]
    step(train, valid, 0, rate(0.1), move_alphas=False)
    for variable, value in zip(net.state_variables, expected, strict=True):
        np.testing.assert_allclose(array(variable), value, rtol=1e-12)


def test_the_report_is_of_the_training_batch(float64):
    step, (train, valid) = small_step("first")
    net = step.supernet

    def logits_of():
        return stateless(net, values(net.weight_variables), values(net.arch_variables), train[0])[0]

    logits = logits_of()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(train[1], logits_of()))
    gradients = tape.gradient(loss, [v.value for v in net.weight_variables])
    report = step(train, valid, 0, rate(0.1), move_alphas=False)
    assert "valid_loss" not in report
    np.testing.assert_allclose(report["logits"], logits, rtol=1e-10)
    np.testing.assert_allclose(report["loss"], loss, rtol=1e-12)
    assert int(report["correct"]) == np.sum(np.argmax(logits, -1) == train[1].numpy())
    norm = np.sqrt(sum(np.sum(g.numpy() ** 2) for g in gradients))
    np.testing.assert_allclose(report["gradient_norm"], norm, rtol=1e-9)  # before clipping


def test_architect_takes_any_supernet(float64):
    """A supernet is whatever has the variables and the stateless call that the module names; here a line."""

    class Line:
        def __init__(self):
            self.weight_variables = [tf.Variable([[1.0, -1.0]], dtype="float64")]
            self.alphas = {"line": tf.Variable([0.3, 0.7], dtype="float64")}
            self.state_variables = [tf.Variable([0.0], dtype="float64")]

        def stateless(self, weights, mixing, inputs):
            return (inputs @ weights[0]) * mixing["line"], [tf.reduce_mean(inputs, 0)]

        def moved_state(self, state, statistics):
            return [s + b for s, b in zip(state, statistics, strict=True)]

    net = Line()
    functions = SupernetLoss(net)
    batch = (tf.constant([[1.0], [2.0]], tf.float64), tf.constant([0, 1]))
    told, (gradient,), _ = Architect(functions, VirtualStep(functions, None), None, order="first").gradient(
        batch, batch, rate(0.1)
    )
    weights = functions.weights.pack(net.weight_variables)
    expected, _ = functions.gradients((WEIGHTS, ALPHAS), False)(weights, values(net.alphas.values()), *batch)
    np.testing.assert_allclose(told.loss, expected.loss, rtol=1e-14)
    assert gradient.shape == (2,) and np.all(np.isfinite(gradient))


@pytest.mark.slow
@every_kind
def test_a_whole_step_compiles(kind):
    """With `jit_compile` nothing inside is traced by itself, so that XLA gets one function; the numbers stay."""
    found = []
    for jit in (False, True):
        few = SearchConfig().primitives[:: 1 if kind == "exact" else 3]  # with all of them in the largest graph
        step, batches = small_step(kind, init_channels=4, primitives=few, jit_compile=jit, hvp_radius=0.1)
        run = tf.function(lambda *a, step=step: step(*a)["loss"], autograph=False, jit_compile=jit)
        loss = float(run(*batches, 0, rate(0.025)))
        net = step.supernet
        found.append((loss, np.concatenate([array(v).ravel() for v in net.weight_variables]), net.arch_variables))
    (loss, weights, alphas), (jit_loss, jit_weights, jit_alphas) = found
    assert jit_loss == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(jit_weights, weights, rtol=1e-3, atol=1e-4)
    # Adam's first step has the size of the rate in every entry: the sign of a gradient near zero may differ.
    apart = np.concatenate([np.abs(array(a) - array(b)).ravel() for a, b in zip(alphas, jit_alphas, strict=True)])
    assert apart.max() < 7e-4 and np.mean(apart > 1e-5) < (0.02 if kind != "finite_difference" else 0.1)
