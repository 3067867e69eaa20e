"""The architecture's gradient of a recurrent supernet: second derivatives through time, the clipping virtual step."""

import numpy as np
import pytest
import tensorflow as tf
from test_recurrent import BATCH, UNITS, VOCABULARY, inputs, randomised, some_masks, targets

from darts_tf import bilevel
from darts_tf.architect import Architect, SupernetLoss, VirtualStep, values
from darts_tf.bilevel import ALPHAS, WEIGHTS, Objective
from darts_tf.optimizers import ASGD, SGD, clip_by_global_norm, global_norm
from darts_tf.recurrent import masks
from darts_tf.recurrent.losses import SequenceLoss
from darts_tf.recurrent.masks import Masks
from darts_tf.recurrent.networks import RecurrentSupernet
from darts_tf.training.step import traced


def smooth(trace=None):
    """A supernet without ReLU, whose derivatives a central difference can follow, and its loss."""
    net = randomised(RecurrentSupernet(VOCABULARY, UNITS, 2, primitives=("none", "tanh", "sigmoid", "identity")))
    net.arch_variables[0].assign(np.random.default_rng(3).normal(size=net.arch_variables[0].shape))
    return net, SupernetLoss(net, SequenceLoss(slowness=0.1), trace, joint=True)


def batches():
    return (inputs(drawn=some_masks()), targets()), (inputs(seed=8, drawn=some_masks()), targets(seed=9))


@pytest.mark.parametrize("trace", [None, traced], ids=["eager", "graph"])
def test_exact_is_the_derivative_of_the_whole_map(float64, trace):
    """Of alpha -> L_val(w'(alpha), alpha), through the loop over time and its gradient's loop."""
    net, functions = smooth(trace)
    sgd, (train, valid), rate = SGD(functions.weights.pack(net.weight_variables), 0.0, 1e-3), batches(), 0.7
    moves = Architect(functions, sgd, None, hvp="exact")
    _, (found,), _ = moves.gradient(train, valid, rate)
    weights = values(net.weight_variables)

    def whole(alpha):
        def loss(batch):
            return Objective(lambda w, a: functions.loss(net.stateless(w, a, batch[0])[0], batch[1]))

        _, gradient = loss(train).gradients(weights, [alpha], (WEIGHTS,))
        ahead = [w - rate * (g + 1e-3 * w) for w, g in zip(weights, values(gradient), strict=True)]
        return loss(valid).loss(ahead, [alpha])

    (alpha,) = values(net.arch_variables)
    assert alpha.shape == (3, 4)
    for index in np.ndindex(3, 4):
        shift = np.zeros((3, 4))
        shift[index] = 1e-5
        slope = (whole(alpha + shift) - whole(alpha - shift)) / 2e-5
        np.testing.assert_allclose(found.numpy()[index], slope, rtol=1e-6, atol=1e-10)


def test_error_of_the_finite_difference_falls_with_the_square_of_its_radius(float64):
    net, functions = smooth()
    (inputs_, labels), _ = batches()
    weights, alphas = functions.weights.pack(net.weight_variables), values(net.arch_variables)
    objective = Objective(
        lambda w, a: functions.loss(net.stateless(functions.weights.unpack(w), a, inputs_)[0], labels)
    )
    _, vector, _ = objective.gradients(weights, alphas, (WEIGHTS, ALPHAS))
    (exact,) = bilevel.exact_hvp(objective, weights, alphas, vector)
    errors = []
    for radius in (0.03, 0.003):
        (found,) = bilevel.finite_difference_hvp(objective, weights, alphas, vector, radius)
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    assert errors[1] < 1e-3 and 60 < errors[0] / errors[1] < 160


def test_nothing_is_written(float64):
    net, functions = smooth(traced)
    sgd = SGD(functions.weights.pack(net.weight_variables), 0.0)
    before = [v.numpy().tobytes() for v in [*net.variables, *sgd.buffers]]
    for order in ("first", "second"):
        Architect(functions, sgd, None, order, bn_updates=True).gradient(*batches(), 1.0)
    net(*inputs(), training=True)
    assert [v.numpy().tobytes() for v in [*net.variables, *sgd.buffers]] == before


# The virtual step


def packed(functions):
    """Packed weights, alphas and the training gradient, whose norm is 2."""
    weights = functions.weights.pack(functions.supernet.weight_variables)
    rng = np.random.default_rng(4)
    gradient = rng.normal(size=weights[0].shape)
    return weights, [tf.constant(2 * gradient / np.linalg.norm(gradient))]


def test_virtual_step_is_the_real_one(float64):
    """Clipped as the real step clips: the weights it gives are those that the optimiser leaves."""
    net, functions = smooth()
    weights, gradient = packed(functions)
    variables = [tf.Variable(w) for w in weights]
    sgd = SGD(variables, 0.9, 1e-2)
    sgd.buffers[0].assign_add(tf.ones_like(sgd.buffers[0]))
    for clip in (0.0, 0.5, 5.0):
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
        sgd.buffers[0].assign(tf.ones_like(sgd.buffers[0]))
        ahead, _ = VirtualStep(functions, sgd, clip)(weights, gradient, 0.3)
        sgd.apply(clip_by_global_norm(gradient, clip)[0], 0.3)
        np.testing.assert_allclose(ahead[0], variables[0], rtol=1e-13)


def test_clipping_scales_the_implicit_term(float64):
    """By clip / norm where that is below one; the original also by more."""
    net, functions = smooth()
    weights, gradient = packed(functions)
    sgd = SGD(weights, 0.0, 0.0)
    for clip, limited, factor in ((0.5, True, 0.25), (0.5, False, 0.25), (6.0, True, 1.0), (6.0, False, 3.0)):
        _, xi = VirtualStep(functions, sgd, clip, limited)(weights, gradient, 10.0)
        np.testing.assert_allclose(xi, 10 * factor, rtol=1e-6)
    assert VirtualStep(functions, sgd)(weights, gradient, 10.0)[1] == 10.0


def test_still_weights_stay(float64):
    net, functions = smooth()
    weights, gradient = packed(functions)
    sgd = SGD(weights, 0.0, 0.1)
    moved, _ = VirtualStep(functions, sgd)(weights, gradient, 0.3)
    held, _ = VirtualStep(functions, sgd, still=(0, 2))(weights, gradient, 0.3)
    parts = zip(*map(functions.weights.unpack, (weights, moved, held)), strict=True)
    for index, (before, after, found) in enumerate(parts):
        assert np.abs(before - after).max() > 0
        np.testing.assert_array_equal(found, before if index in (0, 2) else after)


def test_vector_of_the_implicit_term_is_clipped(float64):
    net, functions = smooth()
    sgd = SGD(functions.weights.pack(net.weight_variables), 0.0)
    for clip in (0.0, 1e-3, 1e3):
        seen = []
        product = VirtualStep(functions, sgd, clip).product(lambda train, w, a, v, seen=seen: seen.append(v[0]))
        product(None, None, None, [tf.constant([3.0, 4.0], tf.float64)])
        np.testing.assert_allclose(global_norm(seen), 1e-3 if clip == 1e-3 else 5.0, rtol=1e-6)


# Masks in the two probes


def drawn(number):
    rates = Masks(0.1, 0.2, 0.5, 0.25, 0.5)
    return inputs()._replace(masks=masks.draw([7, number], rates, BATCH, UNITS, VOCABULARY, "float64")), targets()


def test_all_passes_see_the_same_masks_unless_told_otherwise(float64):
    """A function gives each pass its own batch: so the original draws masks anew, at w, w + eps v and w - eps v."""
    net, functions = smooth()
    sgd, (_, valid), asked = SGD(functions.weights.pack(net.weight_variables), 0.0), batches(), []

    def redrawn(number):
        asked.append(number)
        return drawn(number)

    moves = Architect(functions, sgd, None)
    same, again, other = (moves.gradient(t, valid, 0.5)[1][0] for t in (drawn(0), lambda _: drawn(0), redrawn))
    assert asked == [0, 1, 2]
    np.testing.assert_array_equal(same, again)
    exact = Architect(functions, sgd, None, hvp="exact").gradient(drawn(0), valid, 0.5)[1][0]
    np.testing.assert_allclose(same, exact, rtol=1e-2, atol=1e-4 * np.abs(exact).max())
    # Noise of the masks, divided by twice the small radius, drowns the term.
    assert np.linalg.norm(other - exact) > 10 * np.linalg.norm(same - exact)


def test_state_of_the_validation_text_is_handed_over(float64):
    net, functions = smooth()
    sgd, (train, valid) = SGD(functions.weights.pack(net.weight_variables), 0.0), batches()
    moves = Architect(functions, sgd, None, "first")
    moves.gradient(train, valid, 0.5)
    np.testing.assert_allclose(moves.outputs.state, net(*valid[0], training=True).state, rtol=1e-12)


# Averaged SGD


def test_average_of_asgd_is_the_mean_of_the_weights(float64):
    """From its second step on; and a changed rate takes effect one step late."""
    w, rng = tf.Variable(np.array([1.0, -2.0])), np.random.default_rng(0)
    asgd, seen, rates = ASGD([w], weight_decay=0.1), [], [0.5, 0.25, 0.125, 0.0625]
    for step, rate in enumerate(rates):
        before, g = w.numpy(), rng.normal(size=2)
        asgd.apply([tf.constant(g)], rate)
        used = rates[max(step - 1, 0)]
        np.testing.assert_allclose(w, before - used * (g + 0.1 * before), rtol=1e-14)
        seen.append(w.numpy())
        np.testing.assert_allclose(asgd.averages[0], np.mean(seen[1:] or seen, 0), rtol=1e-14)
    assert len(asgd.variables) == 3


def test_asgd_starts_its_average_late(float64):
    w = tf.Variable(np.zeros(1))
    asgd, seen = ASGD([w], 0.0, start=2), []
    for _ in range(6):
        asgd.apply([tf.ones(1, "float64")], 1.0)
        seen.append(w.numpy())
    np.testing.assert_allclose(asgd.averages[0], np.mean(seen[3:], 0), rtol=1e-14)
