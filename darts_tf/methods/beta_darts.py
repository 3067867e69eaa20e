"""beta-DARTS: a penalty on the logarithm of the softmax's denominator keeps the mixing weights from running away.

Reference: Ye et al., beta-DARTS, arXiv:2203.01665; `optimizers/darts/architect.py` of Sunshine-Ye/Beta-DARTS.
"""

from typing import Any

import tensorflow as tf

from darts_tf.methods.method import Alphas, Method, Mixing


class BetaDarts(Method):
    """Adds `beta_darts_weight * epoch / epochs * mean over edges of logsumexp(alpha)` for each kind of cell.

    Deviation: the original trains in the first order only; the penalty does not depend on the weights, so it is the
    same in the second order.
    """

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """Returns the penalty, a scalar; 0 in the first epoch."""
        denominators = [tf.reduce_mean(tf.reduce_logsumexp(alphas[cell], -1)) for cell in mixing]
        return self.config.beta_darts_weight * epoch / self.config.epochs * sum(denominators)
