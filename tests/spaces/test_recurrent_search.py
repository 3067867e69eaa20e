"""The architecture's gradient of a recurrent supernet: second derivatives through time, the clipping virtual step."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import bilevel
from darts_tf.bilevel.architect import Architect, VirtualStep
from darts_tf.bilevel.gradients import ALPHAS, WEIGHTS, Objective
from darts_tf.bilevel.objective import SupernetLoss, values
from darts_tf.bilevel.optimizers import ASGD, SGD, clip_by_global_norm, global_norm
from darts_tf.bilevel.step import traced
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.masks import Masks
from darts_tf.spaces.recurrent.networks import Inputs, RecurrentSupernet
from tests.helpers.recurrent import BATCH, UNITS, VOCABULARY, inputs, randomised, some_masks, targets
from tests.helpers.steps import SequenceLoss, move, search_step, stateless


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
    moves = Architect(functions, VirtualStep(functions, sgd), None, hvp="exact")
    _, (found,), _ = moves.gradient(train, valid, rate)
    weights = values(net.weight_variables)

    def whole(alpha):
        def loss(batch):
            return Objective(lambda w, a: functions.loss(stateless(net, w, a, batch[0])[0], batch[1]))

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
        lambda w, a: functions.loss(stateless(net, functions.weights.unpack(w), a, inputs_)[0], labels)
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
        Architect(functions, VirtualStep(functions, sgd), None, order, bn_updates=True).gradient(*batches(), 1.0)
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
        move(sgd, variables, clip_by_global_norm(gradient, clip)[0], 0.3)
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

    moves = Architect(functions, VirtualStep(functions, sgd), None)
    same, again, other = (moves.gradient(t, valid, 0.5)[1][0] for t in (drawn(0), lambda _: drawn(0), redrawn))
    assert asked == [0, 1, 2]
    np.testing.assert_array_equal(same, again)
    exact = Architect(functions, VirtualStep(functions, sgd), None, hvp="exact").gradient(drawn(0), valid, 0.5)[1][0]
    np.testing.assert_allclose(same, exact, rtol=1e-2, atol=1e-4 * np.abs(exact).max())
    # Noise of the masks, divided by twice the small radius, drowns the term.
    assert np.linalg.norm(other - exact) > 10 * np.linalg.norm(same - exact)


def test_state_of_the_validation_text_is_handed_over(float64):
    net, functions = smooth()
    sgd, (train, valid) = SGD(functions.weights.pack(net.weight_variables), 0.0), batches()
    moves = Architect(functions, VirtualStep(functions, sgd), None, "first")
    told, _, _ = moves.gradient(train, valid, 0.5)
    np.testing.assert_allclose(told.outputs.state, net(*valid[0], training=True).state, rtol=1e-12)


# Averaged SGD


def test_average_of_asgd_is_the_mean_of_the_weights(float64):
    """From its second step on; and a changed rate takes effect one step late."""
    w, rng = tf.Variable(np.array([1.0, -2.0])), np.random.default_rng(0)
    asgd, seen, rates = ASGD([w], weight_decay=0.1), [], [0.5, 0.25, 0.125, 0.0625]
    for step, rate in enumerate(rates):
        before, g = w.numpy(), rng.normal(size=2)
        move(asgd, [w], [tf.constant(g)], rate)
        used = rates[max(step - 1, 0)]
        np.testing.assert_allclose(w, before - used * (g + 0.1 * before), rtol=1e-14)
        seen.append(w.numpy())
        np.testing.assert_allclose(asgd.averages[0], np.mean(seen[1:] or seen, 0), rtol=1e-14)
    assert len(asgd.buffers) == 3


def test_asgd_starts_its_average_late(float64):
    w = tf.Variable(np.zeros(1))
    asgd, seen = ASGD([w], 0.0, start=2), []
    for _ in range(6):
        move(asgd, [w], [tf.ones(1, "float64")], 1.0)
        seen.append(w.numpy())
    np.testing.assert_allclose(asgd.averages[0], np.mean(seen[3:], 0), rtol=1e-14)


class ByHand:
    """A whole step as the paper and our deviations have it, on tapes: what `LanguageSearchStep` must do.

    The same masks in all passes over a window, penalties on the training text only, a rate in proportion to the
    window's length, every weight moved ahead, and clipping that scales the implicit term by at most one.
    """

    number, rate = 3, 2.0

    def __init__(self, clip, hvp):
        primitives = ("none", "tanh", "sigmoid", "identity")
        self.config = LanguageSearchConfig(
            num_units=5,
            num_nodes=2,
            batch_size=3,
            bptt=10,
            primitives=primitives,
            hvp=hvp,
            grad_clip=clip,
            weight_decay=0.1,
            activation_penalty=0.3,
            slowness_penalty=0.5,
        )
        random = np.random.default_rng(1)
        self.net = RecurrentSupernet(9, 5, 2, primitives=primitives)
        for variable in [*self.net.weight_variables, *self.net.arch_variables]:
            variable.assign(0.5 * random.normal(size=variable.shape))
        self.states = random.normal(size=(2, 3, 5))
        tokens = random.integers(9, size=(2, 6, 3))
        self.pieces = [
            [tf.constant(words[:-1], tf.int32), tf.constant(words[1:], tf.int32), tf.constant([4, 5, 8], tf.int64)]
            for words in tokens
        ]

    def loss(self, stream, weights, alphas):
        """Of the training (0) or the validation text (1)."""
        c, (tokens, following, _) = self.config, self.pieces[stream]
        rates = masks.Masks(c.dropout_embedding, c.dropout_input, c.dropout_x, c.dropout_hidden, c.dropout)
        drawn = masks.draw(tf.constant([2 * c.seed + stream, self.number], tf.int64), rates, 3, 5, 9, "float64")
        state = tf.constant(self.states[stream])
        outputs, _ = stateless(self.net, weights, [alphas], Inputs(tokens, state, drawn))
        penalty = 0.0 if stream else SequenceLoss(0.3, 0.5).penalty(outputs)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(following, outputs.logits)
        return tf.reduce_mean(entropy) + penalty, outputs.state

    def gradients(self, stream, weights, alphas):
        with tf.GradientTape() as tape:
            tape.watch([weights, alphas])
            loss, state = self.loss(stream, weights, alphas)
        of_weights, of_alphas = tape.gradient(loss, [weights, alphas])
        return [tf.convert_to_tensor(g) for g in of_weights], of_alphas, state

    def clipped(self, tensors):
        factor = tf.minimum(self.config.grad_clip / (tf.linalg.global_norm(tensors) + 1e-6), 1)
        return [factor * t for t in tensors], factor

    def implicit(self, weights, alphas, vector):
        if self.config.hvp == "exact":
            with tf.GradientTape() as tape:
                tape.watch(alphas)
                of_weights = self.gradients(0, weights, alphas)[0]
                product = tf.add_n([tf.reduce_sum(g * v) for g, v in zip(of_weights, vector, strict=True)])
            return tape.gradient(product, alphas)
        radius = 0.01 / tf.linalg.global_norm(vector)
        probes = [[w + sign * radius * v for w, v in zip(weights, vector, strict=True)] for sign in (1, -1)]
        above, below = (self.gradients(0, probe, alphas)[1] for probe in probes)
        return (above - below) / (2 * radius)

    def moved(self, weights, gradients):
        rate = self.rate * 8 / 10  # a window of eight words was drawn, of ten
        return [w - rate * (g + 0.1 * w) for w, g in zip(weights, gradients, strict=True)], rate


@pytest.mark.parametrize("hvp", ["finite_difference", "exact"])
@pytest.mark.parametrize("clip", [0.25, 50.0])
def test_a_step_by_hand(float64, clip, hvp):
    hand = ByHand(clip, hvp)
    weights, (alphas,) = values(hand.net.weight_variables), values(hand.net.arch_variables)
    gradients, factor = hand.clipped(hand.gradients(0, weights, alphas)[0])
    assert (factor < 1) == (clip < 1)
    ahead, rate = hand.moved(weights, gradients)
    vector, direct, valid_state = hand.gradients(1, ahead, alphas)
    implicit = rate * factor * hand.implicit(weights, alphas, hand.clipped(vector)[0])
    assert tf.norm(implicit) > 1e-3 * tf.norm(direct)

    step, seen = search_step(hand.net, hand.config), []
    for carried, state in zip(step.domain.carried, hand.states, strict=True):
        carried.assign(state)
    gradient = step.architect.gradient
    step.architect.gradient = lambda *arguments: seen.append(gradient(*arguments)) or seen[-1]
    step(*hand.pieces, tf.constant(hand.number, tf.int64), tf.constant(hand.rate, tf.float64))
    (_, (found,), _), expected = seen[0], direct - implicit
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())

    (now,) = values(hand.net.arch_variables)
    assert np.abs(now - alphas).max() > 1e-3
    gradients, _, train_state = hand.gradients(0, weights, now)
    moved, _ = hand.moved(weights, hand.clipped(gradients)[0])
    for variable, right in zip(hand.net.weight_variables, moved, strict=True):
        np.testing.assert_allclose(variable, right, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(step.domain.carried[0], train_state, rtol=1e-10)
    np.testing.assert_allclose(step.domain.carried[1], valid_state, rtol=1e-10)
