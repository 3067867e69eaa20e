"""SmoothDARTS: weights are trained at perturbed mixing weights, so that the loss is flat around the alphas.

Reference: Chen and Hsieh, arXiv:2002.05283; `attacker/perturb.py` and `sota/cnn/train_search.py` of
xiangning-chen/SmoothDARTS.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from darts_tf.methods.method import Alphas, Method, Mixing, overrides
from darts_tf.spaces.candidates import masked
from darts_tf.system.errors import UserError


class SmoothDarts(Method):
    """Perturbs `softmax(alpha)` in the weight step only, by at most epsilon; the alpha step is that of DARTS.

    Random: uniform noise in [-epsilon, epsilon]. Adversarial: from there, `smooth_darts_steps` projected steps of `2
    epsilon / steps` along the sign of the training loss's gradient, kept if the loss rose. Then weights are clipped to
    [0, 1], and rows are divided by their sum.

    Epsilon moves linearly from `smooth_darts_epsilon_min` to `smooth_darts_epsilon`.

    Deviation: the original is always first order, whatever its flag says; here the alpha step may be of either order.
    """

    def check(self, relaxation: Method) -> None:
        """Refuses relaxations other than the softmax."""
        if overrides(relaxation, "relax"):
            raise UserError(
                "smooth_darts perturbs a softmax of the alphas and cannot be combined with another relaxation. "
                f"Received: method={self.config.method}."
            )

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns uniform numbers in [-1, 1] for each entry of the cells' alphas, and epsilon."""
        drawn = {}
        for number, cell in enumerate(self.cells):
            seeds = tf.random.experimental.stateless_fold_in(seed, number)
            drawn[cell] = tf.random.stateless_uniform(alphas[cell].shape, seeds, -1, 1, alphas[cell].dtype)
        return masked(drawn, self.masks, 0.0), self.epsilon(epoch)  # what an edge may not have keeps weight 0

    def epsilon(self, epoch: Any) -> Any:
        """Returns the size of the perturbation in an epoch."""
        start, end = self.config.smooth_darts_epsilon_min, self.config.smooth_darts_epsilon
        return start + (end - start) * epoch / self.config.epochs

    def training_alphas(self, alphas: Alphas, noise: Any, training: Callable[..., Any]) -> Alphas:
        """Returns the logarithms of perturbed mixing weights; a softmax recovers the weights."""
        uniform, epsilon = noise
        mixing = self.relax({cell: alphas[cell] for cell in uniform}, None)
        found = perturbed(mixing, uniform, epsilon)
        if self.config.smooth_darts_attack == "adversarial":
            found = ascended(mixing, found, epsilon, self.config.smooth_darts_steps, self._climbed(training))
        return {**alphas, **{cell: tf.math.log(tf.maximum(rows, 1e-12)) for cell, rows in found.items()}}

    def _climbed(self, training):
        def loss(mixing):
            found, gradients = training(mixing)
            return found, masked(gradients, self.masks, 0.0)

        return loss


def perturbed(mixing: Mixing, uniform: Mapping[str, Any], epsilon: Any) -> dict[str, Any]:
    """Returns mixing weights with noise added, made valid again.

    Args:
        mixing: `(E, P)` by cell, rows that sum to one.
        uniform: Noise in [-1, 1], in the same shapes.
        epsilon: Factor of the noise.
    """
    return {cell: valid(rows + epsilon * uniform[cell], rows) for cell, rows in mixing.items()}


def ascended(mixing: Mixing, start: dict[str, Any], epsilon: Any, steps: int, loss: Callable) -> dict[str, Any]:
    """Returns the mixing weights after some steps of signed ascent, or the start if the loss has not risen.

    Args:
        mixing: `(E, P)` by cell: before rows are made valid, no entry moves by more than epsilon from these.
        start: Where the ascent begins.
        epsilon: See `mixing`.
        steps: Number of steps, each of `2 epsilon / steps`.
        loss: `mixing -> (loss, gradients)`.
    """
    before, found = loss(dict(mixing))[0], start
    for _ in range(steps):
        _, gradients = loss(found)
        found = {cell: rows + 2 * epsilon / steps * tf.sign(gradients[cell]) for cell, rows in found.items()}
        found = {
            cell: valid(tf.clip_by_value(rows, mixing[cell] - epsilon, mixing[cell] + epsilon), mixing[cell])
            for cell, rows in found.items()
        }
    rose = loss(found)[0] > before
    return {cell: tf.where(rose, rows, start[cell]) for cell, rows in found.items()}


def valid(rows: Any, before: Any) -> Any:
    """Returns rows clipped to [0, 1] that sum to one; a row of zeros becomes one-hot at its largest weight before."""
    rows = tf.clip_by_value(rows, 0.0, 1.0)
    total = tf.reduce_sum(rows, -1, keepdims=True)
    largest = tf.one_hot(tf.argmax(before, -1), rows.shape[-1], dtype=rows.dtype)
    return tf.where(total > 0, tf.math.divide_no_nan(rows, total), largest)
