"""FairDARTS: every operation of an edge has its own sigmoid, and a loss drives these to zero or one.

Reference: Chu et al., FairDARTS, arXiv:1911.12126; `fairdarts/` of xiaomi-automl/FairDARTS.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.methods.method import Alphas, Method, Mixing


class FairDarts(Method):
    """Mixes by `sigmoid(alpha)`, and adds the zero-one loss, eq. 4 of the paper.

    Deviation: of the original's selection rules only the ordinary one is implemented, two edges for every node by their
    largest sigmoid; not the threshold, which may leave a node without inputs.
    """

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Returns the sigmoids."""
        return {name: tf.sigmoid(logits) for name, logits in alphas.items()}

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """Returns `-fair_darts_weight * mean((sigmoid - 1/2)^2)` over all kinds of cell together."""
        every = tf.concat([self._candidates(cell, tf.sigmoid(alphas[cell])) for cell in mixing], 0)
        return -self.config.fair_darts_weight * tf.reduce_mean(tf.square(every - 0.5))

    def _candidates(self, cell, rows):
        """Returns the entries of the allowed operations in one row."""
        return tf.boolean_mask(rows, self.masks[cell]) if cell in self.masks else tf.reshape(rows, [-1])

    def ranked(self, alphas: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Returns the sigmoids as arrays."""
        return {name: np.asarray(tf.sigmoid(logits)) for name, logits in alphas.items()}
