"""DrNAS: the mixing weights of an edge are a draw from a Dirichlet distribution with learned concentration.

Reference: Chen et al., DrNAS, arXiv:2006.10355; `DARTS-space/model_search.py` of xiangning-chen/DrNAS.
"""

from typing import Any

import tensorflow as tf

from darts_tf.methods.method import Alphas, Method, Mixing
from darts_tf.spaces.candidates import masked
from darts_tf.system.errors import UserError


def concentration(logits: Any) -> Any:
    """Returns the Dirichlet parameters, `elu(alpha) + 1`, which are above 0."""
    return tf.nn.elu(logits) + 1


class DrNAS(Method):
    """Mixes by a draw from `Dirichlet(elu(alpha) + 1)`, shared by all cells of a kind.

    A draw is a row of gamma draws, divided by their sum; its gradient with respect to the concentration is the implicit
    gradient of those draws (Figurnov et al., arXiv:1805.08498). Operations are ranked by `softmax(alpha)`, as in the
    original.

    Deviation: PyTorch differentiates a Dirichlet draw along another path; single gradients differ, their mean is the
    same. The weight step uses the draw of the alpha step, made before the alphas were updated. The progressive part,
    widening and pruning, is not implemented; for partial channels combine it with `pc_darts`.
    """

    def check(self, relaxation: Method) -> None:
        """Refuses XLA, which has no gamma draws."""
        if self.config.jit_compile:
            raise UserError("method=drnas draws gamma samples, which XLA cannot compile. Received: jit_compile=True.")

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns a gamma draw for each entry of the alphas."""
        drawn = {}
        for number, (name, shape) in enumerate(self.concentrations(alphas).items()):
            seeds = tf.random.experimental.stateless_fold_in(seed, number)
            drawn[name] = tf.maximum(tf.random.stateless_gamma(shape.shape, seeds, shape, dtype=shape.dtype), 1e-30)
        return drawn

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Returns the draw; without noise its mean."""
        shapes = self.concentrations(alphas)
        drawn = {name: self._drawn(shape, noise[name]) for name, shape in shapes.items()} if noise else shapes
        rows = masked(drawn, self.masks, 0.0)
        return {name: each / tf.reduce_sum(each, -1, keepdims=True) for name, each in rows.items()}

    def concentrations(self, alphas: Alphas) -> dict[str, Any]:
        """Returns the Dirichlet parameters by name, 1 where an edge may not have an operation."""
        return {name: concentration(logits) for name, logits in masked(alphas, self.masks, 0.0).items()}

    @staticmethod
    def _drawn(shape, gamma):
        slope = tf.raw_ops.RandomGammaGrad(alpha=tf.stop_gradient(shape), sample=gamma)
        return gamma + slope * (shape - tf.stop_gradient(shape))

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """Returns `drnas_kl` times the divergence from Dirichlet(1), summed over all edges; None if that is 0."""
        if not self.config.drnas_kl:
            return None
        shapes = self.concentrations({cell: alphas[cell] for cell in mixing})
        return self.config.drnas_kl * sum(divergence(shape, self.masks.get(cell)) for cell, shape in shapes.items())


def divergence(shape: Any, allowed: Any = None) -> Any:
    """Returns the sum over rows of KL(Dirichlet(row) || Dirichlet(1)), in nats.

    Args:
        shape: Concentrations `(E, P)`, 1 for entries that are not counted.
        allowed: `(E, P)`, which entries are counted; None for all.
    """
    total = tf.reduce_sum(shape if allowed is None else tf.where(allowed, shape, 0), -1, keepdims=True)
    excess = tf.reduce_sum((shape - 1) * (tf.math.digamma(shape) - tf.math.digamma(total)), -1)
    count = shape.shape[-1] if allowed is None else allowed.sum(-1)
    uniform = tf.math.lgamma(tf.cast(count, shape.dtype))
    return tf.reduce_sum(tf.math.lgamma(total[:, 0]) - tf.reduce_sum(tf.math.lgamma(shape), -1) - uniform + excess)
