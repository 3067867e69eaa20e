"""P-DARTS: stages in which the network gets deeper while candidates are dropped, and dropout after skip connections.

Reference: Chen et al., Progressive Differentiable Architecture Search, arXiv:1904.12760; `train_search.py` and
`model_search.py` of chenxin061/pdarts. Its limit of skip connections is `limits`, its stages are `tasks.stages`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.config import SearchConfig
from darts_tf.methods.method import Alphas, Method, Mixing, with_column
from darts_tf.passes.context import now
from darts_tf.spaces.conv import functional
from darts_tf.spaces.conv.mixed import WrappedMixedOp, having
from darts_tf.system.errors import UserError, some_of

NAME, SKIP = "p_darts", "skip_connect"
_STRANGERS = ("pc_darts", "darts_minus", "random_nas", "darts_pt")  # with their own mixed operations or choices
_FALL = 0.2  # decrease of the logarithm of the rate in an epoch


class PDarts(Method):
    """One stage: dropout after the skip connections of stride 1, at a rate that falls with the epoch.

    While the alphas are frozen it falls linearly, as `1 - (epoch + 1) / epochs`; then it returns to its initial value
    and falls exponentially, by a factor of `exp(-0.2)` per epoch. A stage whose rate starts at 0 is a DARTS stage.

    Deviation: the original also clips the gradient of the alphas at a norm of 5. A value is dropped in all passes of a
    step on a batch, or in none.
    """

    @property
    def start(self) -> float:
        """The rate at which the stage begins."""
        return self.config.p_darts_rates[max(self.config.p_darts_stage, 1) - 1]

    def check(self, relaxation: Method) -> None:
        """Refuses recurrent cells, incompatible methods, and increasing numbers of candidates."""
        method = self.config.method
        if not isinstance(self.config, SearchConfig):
            raise UserError(
                "method=p_darts deepens a stack of cells from stage to stage, but a recurrent network has one cell. "
                f"Expected a space of images. Received: space={self.config.space}."
            )
        if wrong := [name for name in method.split(",") if name in _STRANGERS]:
            raise UserError(f"method: p_darts cannot be combined with {some_of(wrong)}. Received: method={method}.")
        masks, keep = self.masks.values(), [keep for _, keep in self.config.p_darts_stages]
        most = max(int(rows.sum(-1).max()) for rows in masks) if masks else len(self.config.primitives)
        if not self.config.p_darts_stage and (keep[0] < most or keep != sorted(keep, reverse=True)):
            raise UserError(
                f"p_darts_keep must begin with at least the number of candidates, {most}, and must not increase. "
                f"Received: p_darts_keep={self.config.p_darts_keep}."
            )

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns the rate, a scalar; nothing if it is always 0."""
        return self.rate(epoch) if self.start else ()

    def rate(self, epoch: Any) -> Any:
        """Returns the rate in an epoch, from 0, a scalar tensor."""
        frozen, epochs = self.config.warmup_epochs, self.config.epochs
        falls = tf.where(epoch < frozen, 1 - (epoch + 1) / epochs, tf.exp(-_FALL * (epoch - frozen)))
        return self.start * falls

    def adjust(self, mixing: Mixing, alphas: Alphas, noise: Any) -> Mixing:
        """Appends a column with the rate (0 without noise), which the mixed operation removes again."""
        return with_column(mixing, noise) if self.start else mixing

    def mixed_operation(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a factory for mixed operations with dropout; `usual` if the rate is always 0."""
        if not self.start:
            return usual
        return lambda *sizes: DroppedSkips(usual, *sizes)


class DroppedSkips(WrappedMixedOp):
    """A mixed operation with dropout after its skip connections, called like `MixedOp`.

    The last column of its weights is the rate. At stride 2, and outside of steps, nothing is dropped.

    Args:
        usual: Makes the mixed operation of the other candidates.
        edges: Number of edges E.
        channels: Channels C.
        stride: 1 or 2.
        primitives: Names of the candidate operations.
        allowed: See `MixedOp`.

    Attributes:
        number: Number of this operation among the random ones of its network, see `ConvModel.number_draws`.
    """

    draws, number = True, 0

    def __init__(
        self,
        usual: Callable,
        edges: int,
        channels: int,
        stride: int,
        primitives: Sequence[str],
        allowed: np.ndarray | None = None,
    ):
        others = np.ones((edges, len(primitives)), bool) if allowed is None else np.array(allowed)
        skip = primitives.index(SKIP) if stride == 1 and SKIP in primitives else None
        if skip is not None:
            others[:, skip] = False
        super().__init__(usual(edges, channels, stride, primitives, others))
        self.channels, self.skip = channels, skip
        self.having = having(edges, len(primitives), allowed)  # also skip connections, which `operations` lacks

    def terms(self, x: tf.Tensor, weights: tf.Tensor, training: bool = False) -> list[list]:
        """Returns for each edge the tensors that `combine` sums, see `MixedOp.terms`."""
        rate, weights = weights[0, -1], weights[:, :-1]
        terms = self.inner.terms(x, weights, training)
        if self.skip is None or not (own := self.having[self.skip]):
            return terms
        scales = tf.gather(weights[:, self.skip], own)
        y = functional.tile_channels(x, len(own)) * tf.cast(tf.repeat(scales, self.channels), x.dtype)
        if training and now().seed is not None:
            y *= self.factors((x.shape[0] or tf.shape(x)[0], *y.shape[1:]), rate, x.dtype)
        for edge, part in zip(own, tf.split(y, len(own), -1), strict=True):
            terms[edge] = [*terms[edge], part]
        return terms

    def factors(self, shape: tuple, rate: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Returns the dropout factors: 0 with probability `rate`, a scalar, otherwise `1 / (1 - rate)`."""
        seed = tf.random.experimental.stateless_fold_in(now().seed, self.number)
        kept = tf.random.stateless_uniform(shape, seed, dtype=rate.dtype) >= rate
        return tf.cast(tf.cast(kept, rate.dtype) / (1 - rate), dtype)


def pruned(strength: Mapping[str, np.ndarray], alive: Mapping[str, np.ndarray], keep: int) -> dict[str, np.ndarray]:
    """Returns the remaining candidates of each edge: the `keep` strongest; ties go to the later ones.

    `none` is treated like the others. The original drops it first in the last stage, but no cell keeps it anyway.

    Args:
        strength: By cell `(num_edges, num_primitives)`.
        alive: In the same shapes, which candidates exist now.
        keep: How many candidates each edge keeps, if it has more.

    Source: `get_min_k` in `train_search.py`.
    """
    found = {}
    for cell, rows in alive.items():
        found[cell] = np.array(rows, bool)
        for edge, own in enumerate(found[cell]):
            order = np.argsort(np.where(own, strength[cell][edge], np.inf), kind="stable")
            own[order[: max(0, own.sum() - keep)]] = False
    return found
