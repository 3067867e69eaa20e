"""Mixed precision: activations and products in a narrow floating-point dtype, everything that accumulates in float32.

A layer computes in the dtype of its input and casts its kernels to it; variables, the softmax of the alphas, batch-norm
statistics and the loss are unchanged. So a network only has to narrow its input, with `narrowed`, and its logits are
wide again at the end.
"""

from collections.abc import Iterable

import tensorflow as tf

from darts_tf.passes.context import now
from darts_tf.passes.loss_scale import LossScale
from darts_tf.system.errors import UserError
from darts_tf.system.types import Structure, Variable


def narrowed(x: tf.Tensor) -> tf.Tensor:
    """Returns a tensor in the dtype of the current pass; unchanged outside of a pass, and in float32."""
    return x if now().narrow is None else tf.cast(x, now().narrow)


class Precision:
    """The dtype in which the passes of one step compute.

    Gradients leave a pass in the variables' dtype: those of a kernel pass through the cast that narrowed it.

    Args:
        name: `"float32"`, which leaves every dtype unchanged; `"bfloat16"` or `"float16"`.

    Attributes:
        narrow: The dtype of activations, or None.
        loss_scale: A `LossScale` in float16, whose small gradients would otherwise be zero; None for other dtypes.

    Source: Micikevicius et al., Mixed Precision Training, arXiv:1710.03740.
    """

    def __init__(self, name: str = "float32"):
        self.narrow = None if name == "float32" else tf.as_dtype(name)
        self.loss_scale = LossScale() if name == "float16" else None

    def check(self, variables: Iterable[Variable]) -> None:
        """Raises UserError if variables are not float32 and the passes are to be narrow."""
        odd = next((v.dtype for v in variables if v.dtype != "float32"), None)
        if self.narrow is not None and odd is not None:
            raise UserError(
                f"Expected float32 variables with precision={self.narrow.name}. Received: {odd}; do not change Keras' "
                "floatx, or use precision=float32."
            )

    @property
    def factor(self) -> tf.Tensor | None:
        """The factor by which a pass multiplies its loss; None in dtypes other than float16.

        Passed in at every call, so that the passes stay pure.
        """
        return self.loss_scale and self.loss_scale.read()


def scale(loss: tf.Tensor, factor: tf.Tensor | None) -> tf.Tensor:
    """Returns a loss times its scale, or unchanged for None."""
    return loss if factor is None else loss * factor


def unscale(tensors: Structure, factor: tf.Tensor | None) -> Structure:
    """Returns the results of a scaled loss, a structure of tensors, without the scale."""
    return tensors if factor is None else tf.nest.map_structure(lambda tensor: tensor / factor, tensors)
