"""The update rules against closed forms and plain NumPy loops; the virtual step against the real one."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel import optimizers
from darts_tf.bilevel.optimizers import SGD, Adam, clip_by_global_norm, global_norm
from darts_tf.methods.schedules import cosine
from tests.helpers.steps import ADAM, move

SHAPES = [(3, 4), (5,), ()]


def draw(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def tensors(arrays, dtype="float64"):
    return [tf.constant(a, dtype) for a in arrays]


def variables(arrays, dtype="float64"):
    return [tf.Variable(a, dtype=dtype) for a in arrays]


def test_sgd_without_momentum_is_geometric_decay():
    """With g = 0 the L2 term alone shrinks w by 1 - rate * decay each step."""
    (w,) = variables([np.array([1.0, -2.0])])
    sgd = SGD([w], momentum=0.0, weight_decay=0.5)
    for _ in range(7):
        move(sgd, [w], [tf.zeros_like(w)], 0.1)
    np.testing.assert_allclose(w.numpy(), np.array([1.0, -2.0]) * 0.95**7, rtol=1e-14)


def test_sgd_under_a_constant_gradient_has_the_closed_form():
    """The buffer after t steps is g (1 - mu^t) / (1 - mu); w is minus the rate times the sum of the buffers."""
    rate, mu, g, steps = 0.1, 0.9, 3.0, 12
    (w,) = variables([np.array(0.0)])
    sgd = SGD([w], momentum=mu, weight_decay=0.0)
    for _ in range(steps):
        move(sgd, [w], [tf.constant(g, tf.float64)], rate)
    np.testing.assert_allclose(sgd.buffers[0].numpy(), g * (1 - mu**steps) / (1 - mu), rtol=1e-13)
    moved = -rate * g / (1 - mu) * (steps - mu * (1 - mu**steps) / (1 - mu))
    np.testing.assert_allclose(w.numpy(), moved, rtol=1e-13)


def test_sgd_is_pytorchs_loop_with_changing_rates():
    """A rate that changes does not touch the buffer, unlike in Keras, which folds the rate into its velocity."""
    w, b = draw(0), [np.zeros(shape) for shape in SHAPES]
    moved = variables(w)
    sgd = SGD(moved, momentum=0.9, weight_decay=3e-2)
    for step, rate in enumerate([0.025, 0.5, 0.001, 0.1]):
        g = draw(step + 1)
        move(sgd, moved, tensors(g), rate)
        b = [0.9 * bi + (gi + 3e-2 * wi) for bi, gi, wi in zip(b, g, w, strict=True)]
        w = [wi - rate * bi for wi, bi in zip(w, b, strict=True)]
    for found, expected in zip(moved + sgd.buffers, w + b, strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("traced", [False, True])
def test_virtual_step_is_the_real_step_bit_for_bit(dtype, traced):
    moved = variables(draw(0), dtype)
    sgd = SGD(moved)
    move(sgd, moved, tensors(draw(1), dtype), 0.3)  # so that the buffers are not zero
    gradients = tensors(draw(2), dtype)
    compile = tf.function if traced else lambda f: f
    before = [v.numpy() for v in moved + sgd.buffers]
    ahead, buffers = compile(lambda: sgd.update([tf.convert_to_tensor(v) for v in moved], gradients, 0.025))()
    for variable, value in zip(moved + sgd.buffers, before, strict=True):
        assert np.array_equal(variable.numpy(), value), "the virtual step wrote a variable"
    compile(lambda: move(sgd, moved, gradients, 0.025))()
    for real, virtual in zip(moved + sgd.buffers, ahead + buffers, strict=True):
        assert np.array_equal(real.numpy(), virtual.numpy())


def test_l2_is_in_the_gradient_and_so_in_the_momentum():
    """Decoupled decay would have moved w by the same amount at every step; here momentum carries it on."""
    (w,) = variables([np.array(1.0)])
    sgd = SGD([w], momentum=0.5, weight_decay=0.1)
    move(sgd, [w], [tf.constant(0.0, tf.float64)], 1.0)
    move(sgd, [w], [tf.constant(0.0, tf.float64)], 1.0)
    first = 1 - 0.1
    np.testing.assert_allclose(w.numpy(), first - (0.5 * 0.1 + 0.1 * first), rtol=1e-15)


def plain_adam(w, gradients, rate, beta1, beta2, epsilon, weight_decay):
    """PyTorch 0.3.1's loop: denom = sqrt(v) + eps; step = rate sqrt(1 - beta2^t) / (1 - beta1^t)."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * w
        m = m * beta1 + (1 - beta1) * g
        v = v * beta2 + (1 - beta2) * g * g
        w = w - rate * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)
    return w


# An epsilon that matters tells the form of 0.3.1 from today's, which adds it after the correction.
@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
def test_adam_is_pytorch_0_3_1(epsilon):
    w, gradients = draw(0, [(14, 8)])[0], [draw(seed, [(14, 8)])[0] * 1e-2 for seed in range(1, 8)]
    rule = {**ADAM, "epsilon": epsilon}
    (moved,) = variables([w])
    adam = Adam([moved], **rule)
    for g in gradients:
        adam.apply(tensors([g]))
    np.testing.assert_allclose(moved.numpy(), plain_adam(w, gradients, **rule), rtol=1e-12)
    assert adam.step.numpy() == len(gradients)


def test_adams_first_step_is_the_rate_times_the_sign():
    start, g = np.array([1.0, -1.0, 2.0]), np.array([0.3, -7.0, 1e-3])
    (w,) = variables([start])
    Adam([w], **{**ADAM, "rate": 0.01, "epsilon": 1e-12, "weight_decay": 0.0}).apply(tensors([g]))
    np.testing.assert_allclose(w.numpy(), start - 0.01 * np.sign(g), rtol=1e-7)


def test_adams_l2_term_is_in_the_gradient():
    """With g = 0 a coupled decay is a gradient like any other: one step of the rate's size, whatever its strength."""
    for decay in (1e-3, 1.0):
        (w,) = variables([np.array([4.0, -0.5])])
        Adam([w], **{**ADAM, "rate": 0.01, "epsilon": 1e-12, "weight_decay": decay}).apply([tf.zeros_like(w)])
        np.testing.assert_allclose(w.numpy(), [3.99, -0.49], rtol=1e-6)


def test_adam_float32_follows_float64():
    """The bias correction is a power of 0.999, taken in the variables' own type."""
    w, g = draw(0, [(14, 8)])[0], draw(1, [(14, 8)])[0]
    found = []
    for dtype in ("float32", "float64"):
        (moved,) = variables([w], dtype)
        adam = Adam([moved], **ADAM)
        for _ in range(20):
            adam.apply(tensors([g], dtype))
        found.append(moved.numpy())
    np.testing.assert_allclose(*found, rtol=2e-5, atol=2e-6)


def test_global_norm_is_that_of_all_entries():
    arrays = draw(3)
    expected = np.sqrt(sum(np.sum(a**2) for a in arrays))
    np.testing.assert_allclose(global_norm(tensors(arrays)).numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_clip_is_pytorchs(scale):
    arrays = [a * scale for a in draw(4)]
    norm = np.sqrt(sum(np.sum(a**2) for a in arrays))
    clipped, told = clip_by_global_norm(tensors(arrays), 5.0)
    np.testing.assert_allclose(told.numpy(), norm, rtol=1e-14)
    coefficient = min(1.0, 5.0 / (norm + 1e-6))
    for found, expected in zip(clipped, arrays, strict=True):
        np.testing.assert_allclose(found.numpy(), expected * coefficient, rtol=1e-14)
    if scale < 1:  # below the limit: untouched, to the bit
        assert all(np.array_equal(c.numpy(), a) for c, a in zip(clipped, arrays, strict=True))


def test_clip_limit_zero_is_off_and_tells_the_norm():
    arrays = [a * 1e3 for a in draw(5)]
    clipped, norm = clip_by_global_norm(tensors(arrays), 0)
    assert norm.numpy() > 100
    assert all(np.array_equal(c.numpy(), a) for c, a in zip(clipped, arrays, strict=True))


def test_clip_of_zero_gradients_is_zero():
    clipped, norm = clip_by_global_norm(tensors([np.zeros(3)]), 5.0)
    assert norm.numpy() == 0 and np.array_equal(clipped[0].numpy(), np.zeros(3))


@pytest.mark.parametrize(
    ("epoch", "epochs", "rate", "minimum", "logged"),
    [(0, 50, 0.025, 0.001, 2.5e-2), (49, 50, 0.025, 0.001, 1.023679e-03), (410, 600, 0.025, 0.0, 5.692012e-03)],
)
def test_cosine_is_what_the_originals_logs_show(epoch, epochs, rate, minimum, logged):
    assert cosine(rate, minimum, epoch, epochs) == pytest.approx(logged, rel=5e-7)


def test_cosine_falls_and_never_reaches_the_minimum():
    rates = [cosine(0.025, 0.001, epoch, 50) for epoch in range(50)]
    assert all(a > b for a, b in zip(rates, rates[1:], strict=False)) and rates[-1] > 0.001


def test_a_rate_in_a_tensor_retraces_nothing():
    (w,) = variables([np.ones(3)], "float32")
    sgd, traces = SGD([w]), []

    @tf.function
    def step(g, rate):
        traces.append(1)
        move(sgd, [w], [g], rate)

    for rate in (0.1, 0.2, 0.3):
        step(tf.ones(3), tf.constant(rate))
    assert len(traces) == 1


def test_update_rules_refuse_lists_of_different_lengths():
    with pytest.raises(ValueError):
        optimizers.sgd_update(
            tensors(draw(0)), tensors(draw(0))[:2], tensors(draw(0)), rate=1, momentum=0, weight_decay=0
        )
