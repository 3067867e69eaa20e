"""The bilevel gradients against closed forms, Jacobians and central differences of the whole map, in float64."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import bilevel
from darts_tf.bilevel.gradients import ALPHAS, WEIGHTS, Objective
from darts_tf.bilevel.objective import BatchObjective, SupernetLoss, values
from darts_tf.bilevel.optimizers import sgd_update

XI = 0.3


def smooth_net(seed=0, batch=6):
    """A small network with tanh in which weights and alphas of several shapes meet; returns losses, weights, alphas."""
    rng = np.random.default_rng(seed)

    def constant(*shape):
        return tf.constant(rng.normal(size=shape))

    def loss_on(x, y):
        def loss(weights, alphas):
            first, bias, second = weights
            mix, gate = tf.nn.softmax(alphas[0]), alphas[1]
            hidden = x @ first + bias
            mixed = mix[0, 0] * tf.tanh(hidden) + mix[0, 1] * tf.sigmoid(hidden) + mix[1, 2] * tf.sin(hidden)
            return tf.reduce_mean((mixed * tf.exp(gate) @ second - y) ** 2) + 0.1 * tf.reduce_sum(alphas[0] ** 2)

        return loss

    weights = [constant(3, 4), constant(4), constant(4, 2)]
    alphas = [constant(2, 3), constant(4)]
    losses = [loss_on(constant(batch, 3), constant(batch, 2)) for _ in range(2)]
    return *losses, weights, alphas


def virtual_step(buffers=None, momentum=0.9, weight_decay=0.1):
    def step(weights, gradients):
        slots = buffers or [tf.zeros_like(w) for w in weights]
        return sgd_update(weights, gradients, slots, rate=XI, momentum=momentum, weight_decay=weight_decay)[0], XI

    return step


def central_difference(function, tensors, radius=1e-5):
    """The gradient of a function of a list of tensors, entry by entry."""
    gradients = []
    for index, tensor in enumerate(tensors):
        flat, found = tensor.numpy().ravel(), []
        for entry in range(flat.size):
            values = []
            for sign in (1, -1):
                shifted = flat.copy()
                shifted[entry] += sign * radius
                moved = tf.constant(shifted.reshape(tensor.shape))
                values.append(float(function([*tensors[:index], moved, *tensors[index + 1 :]])))
            found.append((values[0] - values[1]) / (2 * radius))
        gradients.append(np.reshape(found, tensor.shape))
    return gradients


def close(found, expected, **tolerance):
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        np.testing.assert_allclose(f, e, **tolerance)


def toy(w, a, xi, hvp=None):
    """One alpha gradient of the toy problem of the paper's figure 2: L_train = (w - a)^2, L_val = a w - 2 a + 1."""
    train = Objective(lambda weights, alphas: (weights[0] - alphas[0]) ** 2)
    valid = Objective(lambda weights, alphas: alphas[0] * weights[0] - 2 * alphas[0] + 1)
    if hvp is None:
        return bilevel.first_order_gradient(valid, [w], [a])[1][0]

    def step(weights, gradients):
        zeros = [tf.zeros_like(weights[0])]
        return sgd_update(weights, gradients, zeros, rate=xi, momentum=0.0, weight_decay=0.0)[0], xi

    return bilevel.unrolled_gradient(train, valid, [w], [a], step, hvp)[1][0]


@pytest.mark.parametrize(
    ("xi", "hvp", "settles"),
    [
        (0.0, None, 2.0),
        (0.5, bilevel.exact_hvp, 1.0),
        (0.5, bilevel.finite_difference_hvp, 1.0),
        (0.1, bilevel.exact_hvp, 2 / 1.2),
    ],
)
def test_toy_problem_settles_where_its_order_says(xi, hvp, settles):
    """The fixed point is a = w = 2 / (1 + 2 xi): first order stops at (2, 2), xi = 0.5 at the optimum (1, 1)."""

    @tf.function(autograph=False)
    def alternate(w, a):  # as the paper does: alphas, then weights
        a = a - 0.05 * toy(w, a, xi, hvp)
        return w - 0.5 * 2 * (w - a), a

    w, a = tf.constant(-2.0, tf.float64), tf.constant(2.0, tf.float64)
    for _ in range(600):
        w, a = alternate(w, a)
    np.testing.assert_allclose([w.numpy(), a.numpy()], [settles, settles], atol=1e-8)


@pytest.mark.parametrize("hvp", [bilevel.exact_hvp, bilevel.finite_difference_hvp])
def test_toy_gradient_is_the_total_derivative(hvp):
    """w' = w - 2 xi (w - a), so dL_val(w'(a), a)/da = w' - 2 + 2 xi a."""
    w, a, xi = 0.7, -1.3, 0.2
    ahead = w - 2 * xi * (w - a)
    found = toy(tf.constant(w, tf.float64), tf.constant(a, tf.float64), xi, hvp)
    np.testing.assert_allclose(found.numpy(), ahead - 2 + 2 * xi * a, rtol=1e-12)


@pytest.mark.parametrize("with_buffers", [False, True], ids=["fresh", "momentum"])
def test_exact_is_the_derivative_of_the_whole_map(with_buffers):
    """Of alpha -> L_val(w'(alpha), alpha), with the weight optimiser's momentum and decay inside w'."""
    train, valid, weights, alphas = smooth_net()
    rng = np.random.default_rng(9)
    buffers = [tf.constant(rng.normal(size=w.shape)) for w in weights] if with_buffers else None
    step = virtual_step(buffers)

    def whole(alphas):
        gradient = Objective(train).gradients(weights, alphas, (WEIGHTS,))[1]
        return valid(step(weights, gradient)[0], alphas)

    loss, found = bilevel.unrolled_gradient(
        Objective(train), Objective(valid), weights, alphas, step, bilevel.exact_hvp
    )
    np.testing.assert_allclose(loss, whole(alphas), rtol=1e-14)
    close(found, central_difference(whole, alphas), rtol=1e-7, atol=1e-9)
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        value = whole(alphas)
    close(found, tape.gradient(value, alphas), rtol=1e-12)


def test_momentum_buffers_count_in_the_virtual_step():
    train, valid, weights, alphas = smooth_net()
    run = functools.partial(bilevel.unrolled_gradient, Objective(train), Objective(valid), weights, alphas)
    fresh, moving = run(virtual_step()), run(virtual_step([tf.ones_like(w) for w in weights]))
    assert abs(float(fresh[0] - moving[0])) > 1e-3  # another w', another validation loss
    assert np.abs(fresh[1][0] - moving[1][0]).max() > 1e-3


def jacobian_product(loss, weights, alphas, vector):
    """The mixed second derivative as a full matrix, times the vector."""
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(alphas)
        with tf.GradientTape() as inner:
            inner.watch(weights)
            value = loss(weights, alphas)
        gradient = inner.gradient(value, weights)
    product = [np.zeros(a.shape) for a in alphas]
    for g, v in zip(gradient, vector, strict=True):
        for index, jacobian in enumerate(outer.jacobian(g, alphas)):
            axes = list(range(len(v.shape)))
            product[index] = product[index] + np.tensordot(v.numpy(), jacobian.numpy(), (axes, axes))
    return product


def random_vector(weights, seed=5):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=w.shape)) for w in weights]


def test_exact_is_the_jacobian_product():
    train, _, weights, alphas = smooth_net()
    vector = random_vector(weights)
    found = bilevel.exact_hvp(Objective(train), weights, alphas, vector)
    close(found, jacobian_product(train, weights, alphas, vector), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_finite_difference_error_falls_with_the_square_of_its_radius(scale):
    """A central difference: ten times smaller radius, a hundred times smaller error, whatever the vector's length."""
    train, _, weights, alphas = smooth_net()
    vector = [v * scale for v in random_vector(weights)]
    exact = bilevel.exact_hvp(Objective(train), weights, alphas, vector)
    errors = []
    for radius in (1e-1, 1e-2, 1e-3):
        found = bilevel.finite_difference_hvp(Objective(train), weights, alphas, vector, radius)
        errors.append(np.sqrt(sum(np.sum((f - e) ** 2) for f, e in zip(found, exact, strict=True))))
    assert 80 < errors[0] / errors[1] < 120 and 90 < errors[1] / errors[2] < 110, errors


def test_a_zero_vector_has_a_zero_product():
    train, _, weights, alphas = smooth_net()
    zero = [tf.zeros_like(w) for w in weights]
    for hvp in (bilevel.exact_hvp, bilevel.finite_difference_hvp):
        close(hvp(Objective(train), weights, alphas, zero), [np.zeros(a.shape) for a in alphas], atol=0)


def test_default_radius_is_the_originals():
    train, _, weights, alphas = smooth_net()
    vector = random_vector(weights)
    default = bilevel.finite_difference_hvp(Objective(train), weights, alphas, vector)
    paper = bilevel.finite_difference_hvp(Objective(train), weights, alphas, vector, radius=0.01)
    close(default, [p.numpy() for p in paper], rtol=0)


def test_second_order_with_xi_near_zero_is_first_order():
    train, valid, weights, alphas = smooth_net()

    def step(weights, gradients):
        return sgd_update(weights, gradients, weights, rate=1e-12, momentum=0, weight_decay=0)[0], 1e-12

    second = bilevel.unrolled_gradient(Objective(train), Objective(valid), weights, alphas, step, bilevel.exact_hvp)
    first = bilevel.first_order_gradient(Objective(valid), weights, alphas)
    close(second[1], first[1], rtol=1e-9, atol=1e-10)


def test_gradients_come_in_the_order_asked_for():
    train, _, weights, alphas = smooth_net()
    loss, by_weight, by_alpha = Objective(train).gradients(weights, alphas)
    swapped = Objective(train).gradients(weights, alphas, (ALPHAS, WEIGHTS))
    np.testing.assert_allclose(loss, train(weights, alphas))
    for found, tensors, function in (
        (by_weight, weights, lambda w: train(w, alphas)),
        (by_alpha, alphas, lambda a: train(weights, a)),
    ):
        close(found, central_difference(function, tensors), rtol=1e-7, atol=1e-8)
    close(swapped[1], by_alpha, rtol=0)
    close(swapped[2], by_weight, rtol=0)


@pytest.mark.parametrize(("lost", "message"), [("alphas", r"alphas\[1\]"), ("weights", r"weights\[2\]")])
def test_what_the_loss_does_not_use_is_named(lost, message):
    train, valid, weights, alphas = smooth_net()
    if lost == "alphas":
        alphas = [*alphas, tf.zeros((), tf.float64)]
        loss = lambda w, a: valid(w, [a[0], tf.zeros(4, tf.float64)])  # noqa: E731
        with pytest.raises(ValueError, match=message):
            bilevel.first_order_gradient(Objective(loss), weights, alphas)
    else:
        loss = lambda w, a: train([w[0], w[1], tf.ones((4, 2), tf.float64)], a)  # noqa: E731
    step = virtual_step()
    with pytest.raises(ValueError, match=message):
        bilevel.unrolled_gradient(Objective(loss), Objective(loss), weights, alphas, step)


def test_an_alpha_that_only_the_validation_loss_uses_has_no_implicit_term():
    """In the training loss it may be absent: the mixed derivative is zero there."""
    train, _, weights, alphas = smooth_net()
    product = bilevel.exact_hvp(Objective(train), weights, [*alphas, tf.ones(3, tf.float64)], random_vector(weights))
    assert np.array_equal(product[2], np.zeros(3))


@pytest.fixture(scope="module")
def supernet():
    """A supernet in float64 with two batches; the classifier's scale makes the second derivative count."""
    from darts_tf.spaces.conv.networks import ConvSupernet

    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        keras.utils.set_random_seed(3)
        net = ConvSupernet(3, (8, 8, 3), init_channels=2, num_cells=3, num_nodes=1, alpha_init_scale=0.5)
        rng = np.random.default_rng(1)
        batches = [(tf.constant(rng.normal(size=(4, 8, 8, 3))), tf.constant(rng.integers(3, size=4))) for _ in "tv"]
        yield net, batches
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)


def norm_of_difference(found, expected):
    return np.sqrt(sum(np.sum((f - e) ** 2) for f, e in zip(found, expected, strict=True)))


def test_exact_on_a_supernet_is_the_finite_difference_of_a_tiny_radius(supernet):
    """So close to w no ReLU and no max pool switches: the two are one number. The paper's radius gives another."""
    net, (batch, _) = supernet
    functions = SupernetLoss(net, trace=functools.partial(tf.function, autograph=False))
    objective = BatchObjective(functions, batch)
    weights, alphas = functions.weights.pack(net.weight_variables), values(net.arch_variables)
    _, vector = objective.gradients(weights, alphas, (WEIGHTS,))
    exact = [e.numpy() for e in bilevel.exact_hvp(objective, weights, alphas, vector)]
    size = norm_of_difference(exact, [np.zeros_like(e) for e in exact])
    assert size > 1e-3
    tiny = bilevel.finite_difference_hvp(objective, weights, alphas, vector, radius=1e-6)
    assert norm_of_difference(tiny, exact) < 1e-5 * size
    paper = bilevel.finite_difference_hvp(objective, weights, alphas, vector)
    assert norm_of_difference(paper, exact) > 1e-3 * size
