"""Sampled operations, by the Gumbel trick: one for each edge (GDAS), or a soft choice that hardens (SNAS).

References: Dong and Yang, GDAS, arXiv:1910.04465, `xautodl/models/cell_searchs/search_model_gdas.py` of
D-X-Y/AutoDL-Projects; Xie et al., SNAS, arXiv:1812.09926, `SNAS/model_search.py` of SNAS-Series/SNAS-Series.
"""

from typing import Any

import tensorflow as tf

from darts_tf.methods.method import Alphas, Method
from darts_tf.methods.schedules import linear


class Snas(Method):
    """Mixes by `softmax((log softmax(alpha) + G) / tau)`, one draw of G for all cells of a kind; tau falls linearly.

    Deviation: the original updates alphas and weights on the same training batch; here alphas are updated on validation
    data, as in Algorithm 1. The original lowers its temperature once before the first epoch, so its first temperature
    is not `snas_tau`; here it is.
    """

    def temperature(self, epoch: Any) -> Any:
        """Returns tau in an epoch."""
        return linear(self.config.snas_tau, self.config.snas_tau_min, epoch, self.config.epochs)

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns a Gumbel draw for each entry of the alphas, and the temperature."""
        drawn = {}
        for number, (name, logits) in enumerate(alphas.items()):
            seeds = tf.random.experimental.stateless_fold_in(seed, number)
            uniform = tf.random.stateless_uniform(logits.shape, seeds, dtype=logits.dtype)
            drawn[name] = -tf.math.log(-tf.math.log(tf.maximum(uniform, 1e-30)))
        return drawn, self.temperature(epoch)

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Returns the soft sample; without noise the softmax of the alphas."""
        if noise is None:
            return super().relax(alphas, None)
        drawn, tau = noise
        return {name: tf.nn.softmax((tf.nn.log_softmax(a) + drawn[name]) / tau) for name, a in alphas.items()}


class Gdas(Snas):
    """Mixes by the one-hot choice of the largest entry, with the gradient of the soft sample."""

    sparse = True

    def temperature(self, epoch: Any) -> Any:
        """Returns tau in an epoch."""
        return linear(self.config.gdas_tau, self.config.gdas_tau_min, epoch, self.config.epochs)

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Returns one-hot rows; without noise the softmax of the alphas."""
        soft = super().relax(alphas, noise)
        return soft if noise is None else {name: hardened(each) for name, each in soft.items()}


def hardened(soft: Any) -> Any:
    """Returns the one-hot form of rows `(E, P)`, with the gradient of the rows themselves."""
    hard = tf.one_hot(tf.argmax(soft, -1), soft.shape[-1], dtype=soft.dtype)
    return hard + (soft - tf.stop_gradient(soft))
