"""Architecture gradients of the validation loss: first order, and second order in two ways. Pure functions.

The paper's problem (arXiv:1806.09055, eq. 3-4): alphas minimise `L_val(w*(alpha), alpha)` where `w*` minimises
`L_train(w, alpha)`; `w*` is replaced by the weights one training step ahead. Nothing here reads or writes a variable:
weights, alphas and gradients are lists of tensors, so there is no copy of the network and no drift from adding and
subtracting, and batch-norm statistics, optimiser slots and seeds remain unchanged.
"""

from collections.abc import Callable, Sequence
from typing import Any

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel.optimizers import global_norm
from darts_tf.system.types import Tensors

WEIGHTS, ALPHAS = "weights", "alphas"


def _named(gradients, kind):
    for index, gradient in enumerate(gradients):
        if gradient is None:
            raise ValueError(
                f"The loss does not depend on {kind}[{index}], so it has no gradient there. "
                f"Expected a loss that uses every one of the {len(gradients)} {kind}."
            )
    return list(gradients)


class Objective:
    """A loss on one batch as a function of weights and alphas, with the derivatives that the algorithm needs.

    A training loop may subclass it to trace each derivative once and call it as a function.

    Args:
        loss: `(weights, alphas) -> scalar`, in nats, mean over its batch.
        strict: Whether a variable that the loss does not depend on is an error; otherwise its gradient is zero.

    Example:
        >>> import darts_tf, tensorflow as tf
        >>> objective = darts_tf.bilevel.Objective(lambda weights, alphas: weights[0] * alphas[0] ** 2)
        >>> loss, by_weights, by_alphas = objective.gradients([tf.constant(3.0)], [tf.constant(2.0)])
        >>> float(loss), float(by_weights[0]), float(by_alphas[0])
        (12.0, 4.0, 12.0)
    """

    def __init__(self, loss: Callable, strict: bool = True):
        self.loss = loss
        self.unconnected = tf.UnconnectedGradients.NONE if strict else tf.UnconnectedGradients.ZERO

    def gradients(self, weights: Tensors, alphas: Tensors, wrt: Sequence[str] = (WEIGHTS, ALPHAS)) -> tuple:
        """Returns `(loss, *gradients)`: one list of tensors for each name in `wrt`, with the named tensors' shapes.

        Raises:
            ValueError: The loss does not depend on one of them; the message gives its index.
        """
        values = {WEIGHTS: list(weights), ALPHAS: list(alphas)}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([values[name] for name in wrt])
            loss = self.loss(values[WEIGHTS], values[ALPHAS])
        gradients = tape.gradient(loss, [values[name] for name in wrt], unconnected_gradients=self.unconnected)
        return loss, *[_named(g, name) for g, name in zip(gradients, wrt, strict=True)]

    def probe(self, weights: Tensors, alphas: Tensors) -> Tensors:
        """Returns the alphas' gradient for a finite difference; a subclass may compute it more precisely."""
        return self.gradients(weights, alphas, (ALPHAS,))[1]

    def mixed_product(self, weights: Tensors, alphas: Tensors, vector: Tensors) -> Tensors:
        """Returns `d/d alpha (dL/dw . vector)`, exactly, by back-propagation through back-propagation.

        Args:
            weights: Tensors.
            alphas: Tensors.
            vector: Tensors shaped like the weights, held constant.

        Returns:
            Tensors shaped like the alphas.
        """
        return self._product(WEIGHTS, weights, alphas, vector)

    def hessian_product(self, weights: Tensors, alphas: Tensors, vector: Tensors) -> Tensors:
        """Returns `d/d alpha (dL/d alpha . vector)`, exactly: the alphas' Hessian times a vector.

        Args:
            weights: Tensors.
            alphas: Tensors.
            vector: Tensors shaped like the alphas, held constant.

        Returns:
            Tensors shaped like the alphas.
        """
        return self._product(ALPHAS, weights, alphas, vector)

    def _product(self, kind, weights, alphas, vector):
        """Returns `d/d alpha (dL/d kind . vector)`."""
        vector = [tf.stop_gradient(v) for v in vector]
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(list(alphas))
            _, gradient = self.gradients(weights, alphas, wrt=(kind,))
            inner_product = tf.add_n([tf.reduce_sum(g * v) for g, v in zip(gradient, vector, strict=True)])
        return outer.gradient(inner_product, list(alphas), unconnected_gradients=tf.UnconnectedGradients.ZERO)


Hvp = Callable[[Objective, Tensors, Tensors, Tensors], Tensors]
"""A Hessian-vector product: `(objective, weights, alphas, vector) -> tensors shaped like the alphas`."""


def exact_hvp(objective: Objective, weights: Tensors, alphas: Tensors, vector: Tensors) -> Tensors:
    """Computes the implicit term exactly: `d2 L_train / (d alpha d w) . vector`, tensors shaped like the alphas.

    Example:
        >>> import darts_tf, tensorflow as tf
        >>> train = darts_tf.bilevel.Objective(lambda weights, alphas: weights[0] * alphas[0] ** 2)
        >>> w, a, v = ([tf.constant(value)] for value in (3.0, 2.0, 10.0))
        >>> float(darts_tf.bilevel.exact_hvp(train, w, a, v)[0])  # d2L / (d alpha d w) = 2 alpha
        40.0
    """
    return objective.mixed_product(weights, alphas, vector)


def finite_difference_hvp(
    objective: Objective, weights: Tensors, alphas: Tensors, vector: Tensors, radius: float = 0.01
) -> Tensors:
    """Computes the implicit term as in the paper: a central difference along `vector`, eq. 8.

        (dL_train(w + eps v, a)/da - dL_train(w - eps v, a)/da) / (2 eps),   eps = radius / ||v||

    On networks with ReLU and max pooling this differs from the exact derivative by more than rounding: the shifted
    weights cross switching points. `exact_hvp` is the derivative.

    Args:
        objective: The training loss.
        weights: Tensors w.
        alphas: Tensors.
        vector: Tensors v shaped like the weights. If its norm is zero or not finite, the result is zero or NaN.
        radius: Length of each probe's step, in the units of the weights; the original uses 0.01.

    Returns:
        Tensors shaped like the alphas.

    Example:
        >>> import darts_tf, tensorflow as tf
        >>> train = darts_tf.bilevel.Objective(lambda weights, alphas: weights[0] * alphas[0] ** 2)
        >>> w, a, v = ([tf.constant(value)] for value in (3.0, 2.0, 10.0))
        >>> round(float(darts_tf.bilevel.finite_difference_hvp(train, w, a, v)[0]), 1)
        40.0
    """
    norm = global_norm(vector)
    # A zero vector has a zero product; without the guard it would be 0/0.
    epsilon = radius / tf.where(norm > 0, norm, tf.ones_like(norm))
    plus = objective.probe([w + epsilon * v for w, v in zip(weights, vector, strict=True)], alphas)
    with tf.control_dependencies(plus):  # one probe after the other: in parallel they need twice the memory
        behind = [w - epsilon * v for w, v in zip(weights, vector, strict=True)]
    minus = objective.probe(behind, alphas)
    return [(p - m) / (2 * epsilon) for p, m in zip(plus, minus, strict=True)]


def first_order_gradient(valid: Objective, weights: Tensors, alphas: Tensors) -> tuple[Any, Tensors]:
    """Computes the gradient of the validation loss at the current weights: the paper's `xi = 0`.

    Returns:
        `(loss, gradients)`: a scalar, and one gradient per alpha.

    Example:
        >>> import darts_tf, tensorflow as tf
        >>> valid = darts_tf.bilevel.Objective(lambda weights, alphas: weights[0] * alphas[0] ** 2)
        >>> loss, gradients = darts_tf.bilevel.first_order_gradient(valid, [tf.constant(3.0)], [tf.constant(2.0)])
        >>> float(gradients[0])
        12.0
    """
    return valid.gradients(weights, alphas, (ALPHAS,))


def unrolled_gradient(
    train: Objective,
    valid: Objective,
    weights: Tensors,
    alphas: Tensors,
    virtual_step: Callable,
    hvp: Hvp = finite_difference_hvp,
) -> tuple[Any, Tensors]:
    """Computes the gradient of the validation loss after one virtual weight step.

    This is eq. 7 of the paper, without forming the Hessian:

        dL_val(w', a)/da  -  xi * d2L_train(w, a)/(da dw) . dL_val(w', a)/dw'

    No variable is read or written: batch-norm statistics, optimiser slots and seeds remain unchanged.

    Args:
        train: The training loss, closed over one batch.
        valid: The validation loss, closed over a different batch.
        weights: Network weights w, one tensor per variable, any shape.
        alphas: Architecture logits, each `(num_edges, num_primitives)`.
        virtual_step: `(weights, gradients) -> (w', xi)`: the weight optimiser's own rule; xi > 0, dimensionless.
        hvp: `(objective, weights, alphas, vector) -> tensors shaped like alphas`.

    Returns:
        `(loss, gradients)`: validation loss at w', and one gradient per alpha, same shapes.

    Raises:
        ValueError: A loss does not depend on some alpha or weight; the message gives its index.

    Reference: Liu et al., DARTS, arXiv:1806.09055, eq. 6-8.

    Example:
        >>> import darts_tf, tensorflow as tf
        >>> train = darts_tf.bilevel.Objective(lambda weights, alphas: weights[0] * alphas[0])
        >>> valid = darts_tf.bilevel.Objective(lambda weights, alphas: weights[0] ** 2 / 2 + 0 * alphas[0])
        >>> def step(weights, gradients, rate=0.5):
        ...     return [w - rate * g for w, g in zip(weights, gradients)], rate
        >>> w, a = [tf.constant(3.0)], [tf.constant(2.0)]
        >>> loss, gradients = darts_tf.bilevel.unrolled_gradient(train, valid, w, a, step, darts_tf.bilevel.exact_hvp)
        >>> float(gradients[0])  # w' = w - alpha / 2 = 2, and d(w'^2 / 2) / d alpha = w' * -1 / 2
        -1.0
    """
    _, gradient = train.gradients(weights, alphas, (WEIGHTS,))
    ahead, xi = virtual_step(weights, gradient)
    loss, vector, direct = valid.gradients(ahead, alphas, (WEIGHTS, ALPHAS))
    implicit = hvp(train, weights, alphas, vector)
    return loss, [d - xi * i for d, i in zip(direct, implicit, strict=True)]
