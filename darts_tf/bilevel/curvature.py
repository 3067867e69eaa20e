"""The dominant eigenvalue of the validation loss's Hessian in the alphas, from a few Hessian-vector products."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from darts_tf.bilevel.gradients import ALPHAS
from darts_tf.bilevel.objective import SupernetLoss, values

PRODUCTS = 6
"""From the gradient on, they give the eigenvalue of a supernet's alphas to 0.5 %: docs/development/benchmarks.md."""


def dominant_eigenvalue(
    product: Callable[[list[np.ndarray]], Sequence[np.ndarray]], start: Sequence[np.ndarray], products: int = PRODUCTS
) -> float:
    """Computes the largest eigenvalue of a symmetric map by Lanczos' method.

    The result is the largest eigenvalue in the space that the products span: never above the true one, and equal to it
    once there are as many products as the map has distinct eigenvalues. Every direction is made orthogonal to all
    previous ones, which is cheap for a few and prevents rounding from creating copies of eigenvalues.

    Args:
        product: Arrays in, arrays of the same shapes out.
        start: Arrays of any shapes, the first direction; the gradient converges fast.
        products: Number of products; fewer are taken if the space is exhausted.

    Returns:
        The largest eigenvalue, as in RobustDARTS, not the one of largest magnitude; nan if the start is zero, or
        anything is not finite.

    Reference: Golub and Van Loan, Matrix Computations, section 10.1.
    """
    shapes = [np.shape(each) for each in start]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def flat(arrays):
        return np.concatenate([np.asarray(each, np.float64).ravel() for each in arrays])

    direction = flat(start)
    length = np.linalg.norm(direction)
    if not (np.isfinite(length) and length > 0):
        return math.nan
    size = direction.size
    basis, images = np.empty((0, size)), np.empty((0, size))
    for _ in range(min(products, size)):
        basis = np.vstack([basis, direction / length])
        parts = np.split(basis[-1], ends[:-1])
        image = flat(product([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]))
        images = np.vstack([images, image])
        direction = image
        for _ in range(2):  # one pass leaves a rounding error
            direction = direction - basis.T @ (basis @ direction)
        length = np.linalg.norm(direction)
        if length <= 1e-6 * np.linalg.norm(image):  # below that it is float32 rounding
            break
    if not np.isfinite(images).all():
        return math.nan
    projected = basis @ images.T
    return float(np.linalg.eigvalsh((projected + projected.T) / 2)[-1])


class AlphaCurvature:
    """That eigenvalue on one batch, at the current weights and alphas; writes nothing. The first call builds the graph.

    Products are exact. Finite differences of the gradient are not useful here: ReLU and max pooling cause kinks in the
    alphas, and their effect on a difference depends on its radius; see docs/development/benchmarks.md.

    Deviation: RobustDARTS takes the epoch's last batch, augmented, and adds the alphas' weight decay to the Hessian;
    here it is always the same batch, so that batches add no noise of their own.

    Args:
        functions: An `objective.SupernetLoss`.
        batch: `(inputs, labels)`, validation examples.

    Reference: Zela et al., arXiv:1909.09656, section 4; `src/search/analyze.py` of automl/RobustDARTS.
    """

    def __init__(self, functions: SupernetLoss, batch: tuple):
        self.functions, self.batch = functions, batch
        # Not compiled by XLA, even if the steps are: its second derivative of max pooling is imprecise.
        self._gradients = tf.function(functions.gradients((ALPHAS,), False), autograph=False)
        self._product = tf.function(functions.product(ALPHAS), autograph=False)

    def __call__(self) -> float:
        """Returns the eigenvalue."""
        weights = self.functions.weights.pack(self.functions.supernet.weight_variables)
        alphas = values(self.functions.arch.values())
        gradients = self._gradients(weights, alphas, *self.batch, None)[1][0]  # None: without the noise of a step

        def product(vector):
            vector = [tf.cast(v, a.dtype) for v, a in zip(vector, alphas, strict=True)]
            return [each.numpy() for each in self._product(weights, alphas, *self.batch, vector, None)]

        return dominant_eigenvalue(product, [each.numpy() for each in gradients])
