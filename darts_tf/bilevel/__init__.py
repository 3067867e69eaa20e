"""The algorithm: gradients through one training step (eq. 5-8), and the steps of Algorithm 1."""

from darts_tf.bilevel.gradients import (
    ALPHAS,
    WEIGHTS,
    Objective,
    exact_hvp,
    finite_difference_hvp,
    first_order_gradient,
    unrolled_gradient,
)

__all__ = [
    "ALPHAS",
    "WEIGHTS",
    "Objective",
    "exact_hvp",
    "finite_difference_hvp",
    "first_order_gradient",
    "unrolled_gradient",
]
