"""Passes in a narrow floating-point type: activations and products in it, everything that adds up in float32.

A layer computes in the type of what it is given and casts its kernels to it; variables, the softmax of the alphas,
batch-norm statistics and the loss stay as they are. So a network only has to narrow what enters it, by `narrowed`, and
its logits are wide again at its end.
"""

from collections.abc import Iterable

import tensorflow as tf

from darts_tf.passes.context import now
from darts_tf.passes.loss_scale import LossScale
from darts_tf.system.errors import UserError
from darts_tf.system.types import Structure, Variable


def narrowed(x: tf.Tensor) -> tf.Tensor:
    """Returns a tensor in the type of the present pass; as it is outside one, and in float32."""
    return x if now().narrow is None else tf.cast(x, now().narrow)


class Precision:
    """The type that the passes of one step compute in.

    Gradients leave a pass in the variables' type: those of a kernel pass through the cast that narrowed it.

    Args:
        name: `"float32"` leaves every type as it is; `"bfloat16"` or `"float16"`.

    Attributes:
        narrow: The type of activations, or None.
        loss_scale: A `LossScale` in float16, whose small gradients would be zero without; else None.

    Source: Micikevicius et al., Mixed Precision Training, arXiv:1710.03740.
    """

    def __init__(self, name: str = "float32"):
        self.narrow = None if name == "float32" else tf.as_dtype(name)
        self.loss_scale = LossScale() if name == "float16" else None

    def check(self, variables: Iterable[Variable]) -> None:
        """Raises UserError where variables are not float32 and the passes are to be narrow."""
        odd = next((v.dtype for v in variables if v.dtype != "float32"), None)
        if self.narrow is not None and odd is not None:
            raise UserError(
                f"Expected float32 variables with precision={self.narrow.name}. Received: {odd}; do not change Keras' "
                "floatx, or use precision=float32."
            )

    @property
    def factor(self) -> tf.Tensor | None:
        """What a pass multiplies its loss with, None in other types than float16.

        Given from outside at every call, it leaves the passes pure.
        """
        return self.loss_scale and self.loss_scale.read()


def scale(loss: tf.Tensor, factor: tf.Tensor | None) -> tf.Tensor:
    """Returns a loss times its scale, or as it is for None."""
    return loss if factor is None else loss * factor


def unscale(tensors: Structure, factor: tf.Tensor | None) -> Structure:
    """Returns what a scaled loss has led to, a structure of tensors, without the scale."""
    return tensors if factor is None else tf.nest.map_structure(lambda tensor: tensor / factor, tensors)
