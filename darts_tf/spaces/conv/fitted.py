"""Derived networks of images as `fit` trains them: drop path and the auxiliary loss are applied automatically."""

import inspect
import numbers
from typing import Any

import keras
import tensorflow as tf

from darts_tf.passes.context import now, within
from darts_tf.spaces.conv.derived import CifarNetwork, Derived, ImageNetNetwork
from darts_tf.spaces.dropping import Dropping
from darts_tf.system.errors import UserError

ACTIVATIONS = (None, "softmax")
POOLINGS = {None: lambda x: x, "avg": lambda x: tf.reduce_mean(x, (1, 2)), "max": lambda x: tf.reduce_max(x, (1, 2))}


class Classifier(Derived):
    """A mixin, listed before a derived network's class, with what Keras users expect of a classifier.

    Images may also be bytes. Outputs are logits, or probabilities with `classifier_activation="softmax"`; `activations`
    returns logits in both cases. Without the top there is no classifier: outputs are the features that it would
    classify.

    Args:
        *args: Arguments of the network.
        classifier_activation: None, or `"softmax"`.
        include_top: Whether it has a classifier.
        pooling: Pooling of the features without a classifier: `"avg"` or `"max"` over positions, or None.
        **kwargs: Keyword arguments of the network.

    Raises:
        UserError: Another activation or pooling, or pooling in addition to a classifier; in the first step, a loss on
            probabilities for a network that returns logits.
    """

    def __init__(
        self,
        *args: Any,
        classifier_activation: str | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        **kwargs: Any,
    ):
        if classifier_activation not in ACTIVATIONS:
            raise UserError(
                "classifier_activation must be None, for logits, or 'softmax', for probabilities. "
                f"Received: classifier_activation={classifier_activation!r}."
            )
        if pooling not in POOLINGS or (include_top and pooling):
            raise UserError(
                "pooling must be None; 'avg' or 'max' are for a network without a classifier, include_top=False. "
                f"Received: pooling={pooling!r}, include_top={include_top}."
            )
        self.classifier_activation, self.include_top, self.pooling = classifier_activation, include_top, pooling
        super().__init__(*args, **kwargs)

    def make_classifier(self, features: int) -> None:
        """Creates the linear classifier on the last cell's channels, if included."""
        self.features, self.classifier, self.bias = features, None, None
        if self.include_top:
            super().make_classifier(features)

    def classified(self, x: tf.Tensor) -> dict:
        """Returns the last stages' outputs by name: `pooled` and `logits`, or without a classifier `features`."""
        return super().classified(x) if self.include_top else {"features": POOLINGS[self.pooling](x)}

    def compute_output_shape(self, images_shape: tuple) -> tuple:
        """Returns the shape of the outputs."""
        if self.include_top:
            return super().compute_output_shape(images_shape)
        size = () if self.pooling else (-(-size // self.downscaling) for size in self.image_shape[:2])
        return (images_shape[0], *size, self.features)

    def outputs(self, stages: dict, name: str = "logits") -> tf.Tensor:
        """Returns the network's outputs from its `activations`; `name` is the key of the logits."""
        if not self.include_top:
            return stages["features"]
        return stages[name] if self.classifier_activation is None else keras.activations.softmax(stages[name])

    def call(self, images: tf.Tensor, training: bool = False, drop: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the outputs for images `(N, H, W, channels)`: logits, probabilities, or features."""
        return self.outputs(self.activations(tf.cast(images, self.compute_dtype), training, drop))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Returns the loss as `keras.Model.compute_loss` does, after checking that it fits the outputs."""
        if self.include_top and self.classifier_activation is None and _takes_probabilities(self.loss):
            raise UserError(
                "The network outputs logits, but the loss takes probabilities. Expected a loss with "
                "from_logits=True, such as keras.losses.SparseCategoricalCrossentropy(from_logits=True), or a "
                f"network with classifier_activation='softmax'. Received: loss={_name(self.loss)}."
            )
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {name: getattr(self, name) for name in ("classifier_activation", "include_top", "pooling")}
        return {**super().get_config(), **own}


class _Fitted(Dropping, Classifier):
    """Adds what `fit` needs to a derived network of the paper's cells.

    In training each pass draws what drop path drops, at the rate in the variable `drop_path_rate`, which starts at
    `drop_path` and is updated by `callbacks.DropPathSchedule`; without drop path there is no such variable. In training
    the auxiliary head's loss, times `auxiliary_weight`, is added to that of the outputs. A model that contains the
    network as a layer uses its own loss, which ignores the auxiliary head: build the network without that head.

    Args:
        *args: Arguments of the network.
        auxiliary_weight: Weight of the auxiliary head's loss, at least 0.
        **kwargs: Keyword arguments of the network, of `Classifier` and of `Dropping`, whose rate is `drop_path`.
    """

    rate = "drop_path"
    drop_path: float
    auxiliary_weight: float

    def __init__(self, *args: Any, auxiliary_weight: float = 0.4, **kwargs: Any):
        if not isinstance(auxiliary_weight, numbers.Real) or not auxiliary_weight >= 0:
            raise UserError(
                f"auxiliary_weight must be a number of at least 0. Received: auxiliary_weight={auxiliary_weight!r}."
            )
        self.auxiliary_weight = auxiliary_weight
        super().__init__(*args, **kwargs)

    def build(self, input_shape: tuple) -> None:
        """Makes the state of drop path. The rate is not a weight: it is neither counted nor saved."""
        super().build(input_shape)
        self.drop_path_rate: Any = None
        if self.drop_path:
            self.drop_path_rate = tf.Variable(self.drop_path, False, name="drop_path_rate", dtype="float32")

    def call(self, images: tf.Tensor, training: bool = False, drop: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the outputs for images `(N, H, W, channels)`: logits, probabilities, or features.

        In training with an auxiliary head, the tensor carries the head's output in its attribute `auxiliary`, where
        `compute_loss` finds it, in the way Keras finds masks.
        """
        images, seed = tf.cast(images, self.compute_dtype), now().seed
        if training and self.drop_seeds is not None:
            seed = tf.cast(self.drop_seeds.next(), tf.int64)
            if drop is None and self.drop_path:
                drop = self.drop_factors(tf.shape(images)[0], self.drop_path_rate, seed)
        with within(seed=seed):
            stages = self.activations(images, training, drop)
        outputs = self.outputs(stages)
        if "auxiliary_logits" in stages:
            outputs.auxiliary = self.outputs(stages, "auxiliary_logits")
        return outputs

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Returns the outputs' loss, in training plus `auxiliary_weight` times that of the auxiliary head."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        auxiliary = getattr(y_pred, "auxiliary", None)
        if auxiliary is None:
            return loss
        return loss + self.auxiliary_weight * super().compute_loss(x, y, auxiliary, sample_weight, training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "auxiliary_weight": self.auxiliary_weight}


@keras.saving.register_keras_serializable(package="darts_tf")
class FittedNetwork(_Fitted, CifarNetwork):
    """A `CifarNetwork` for `fit`, see `_Fitted`."""


@keras.saving.register_keras_serializable(package="darts_tf")
class FittedImageNetNetwork(_Fitted, ImageNetNetwork):
    """An `ImageNetNetwork` for `fit`, see `_Fitted`."""


def _takes_probabilities(loss):
    """Whether a loss, as `compile` takes it, is computed from probabilities."""
    if isinstance(loss, list | tuple):
        return any(map(_takes_probabilities, loss))
    if not (isinstance(loss, str) or callable(loss)):
        return False
    loss = keras.losses.get(loss)
    if getattr(loss, "fn", loss) is keras.losses.kl_divergence:
        return True
    if hasattr(loss, "from_logits"):
        return not loss.from_logits
    parameter = inspect.signature(loss).parameters.get("from_logits")
    return parameter is not None and parameter.default is False


def _name(loss):
    return repr(loss) if isinstance(loss, str | list | tuple) else getattr(loss, "__name__", type(loss).__name__)
