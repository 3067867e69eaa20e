"""Batch normalisation as in PyTorch, whose statistics can be returned instead of written."""

from typing import Any

import keras
import tensorflow as tf

from darts_tf.passes import graph
from darts_tf.passes.context import now, within
from darts_tf.passes.recomputation import recomputed
from darts_tf.spaces.conv import functional

MOMENTUM, EPSILON = 0.9, 1e-5


def call_cell(cell: keras.layers.Layer, *tensors: tf.Tensor, **settings: Any) -> tf.Tensor:
    """Calls a cell in training, with recomputation if requested, see `recomputation`.

    Args:
        cell: A layer; its weights are arguments of the recomputed function, and its batch statistics are results.
        *tensors: The arguments that have gradients.
        **settings: The other arguments.
    """
    run = now()
    if run.recompute is None or run.statistics is None:
        return cell(*tensors, **settings)
    weights, state = cell.trainable_variables, cell.non_trainable_variables

    def function(*both):
        mapping = list(zip(weights, both[len(tensors) :], strict=True))
        batch: dict[int, tf.Tensor] = {}
        with keras.StatelessScope(state_mapping=mapping), within(statistics=batch, seed=run.seed):
            y = cell(*both[: len(tensors)], **settings)
        return y, *[tf.stop_gradient(batch[id(v)]) for v in state]

    y, *statistics = recomputed(function)(*tensors, *[v.value for v in weights])
    run.statistics.update(zip(map(id, state), statistics, strict=True))
    return y


def moving_average(moving: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Returns a moving statistic one batch later."""
    return MOMENTUM * moving + (1 - MOMENTUM) * batch


class BatchNorm(keras.layers.Layer):
    """Batch normalisation as in PyTorch: momentum 0.9, epsilon 1e-5, unbiased variance in the moving average.

    `call(x, scale=None, training=False)` multiplies the result by `scale`, `(channels,)`, at no cost.

    Args:
        channels: Channels of the input.
        affine: Whether gamma and beta are learned.
        repeats: How many copies of the moving statistics are kept (for edges that share one normalisation, where the
            original keeps one for each edge); batch statistics are computed once.

    Attributes:
        folded: Set by `folding.fold`: inference only adds beta, since the rest is folded into the preceding kernel.

    Source: torch.nn.BatchNorm2d.
    """

    def __init__(self, channels: int, affine: bool, repeats: int = 1, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.channels, self.affine, self.repeats, self.folded = channels, affine, repeats, False
        self.gamma = self.beta = None
        if affine:
            self.gamma = self.add_weight(shape=(channels,), initializer="ones", name="gamma")
            self.beta = self.add_weight(shape=(channels,), initializer="zeros", name="beta")
        kept = (channels * repeats,)
        self.moving_mean = self.add_weight(shape=kept, initializer="zeros", trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(shape=kept, initializer="ones", trainable=False, name="moving_variance")
        self.built = True

    def call(self, x: tf.Tensor, scale: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        """Normalises `(N, H, W, channels)`; with `repeats`, the inference result has all copies' channels.

        A layer that is not trainable keeps its statistics and uses them, as Keras' own does.
        """
        training = training and self.trainable
        dtype = tf.as_dtype(self.moving_mean.dtype)
        gamma = graph.constant(1.0, (self.channels,), dtype) if self.gamma is None else self.gamma.value
        beta = graph.constant(0.0, (self.channels,), dtype) if self.beta is None else self.beta.value
        if scale is not None:
            gamma = scale if self.gamma is None else gamma * scale
            beta = beta if self.beta is None else beta * scale
        if self.folded and not training:
            return tf.nn.bias_add(x, tf.cast(beta, x.dtype))
        if not training:
            if self.repeats > 1:
                x = functional.tile_channels(x, self.repeats)
                gamma, beta = tf.tile(gamma, [self.repeats]), tf.tile(beta, [self.repeats])
            factor, offset = self.affine_map(gamma, beta)
            return x * tf.cast(factor, x.dtype) + tf.cast(offset, x.dtype)
        y, *statistics = functional.batch_norm(x, gamma, beta, EPSILON)
        for moving, batch in zip((self.moving_mean, self.moving_variance), statistics, strict=True):
            batch = tf.tile(batch, graph.integers((self.repeats,))) if self.repeats > 1 else batch
            if (aside := now().statistics) is None:
                moving.assign(moving_average(moving.value, batch))
            else:
                aside[id(moving)] = batch
        return y

    def affine_map(self, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `(factor, offset)`, `(channels,)` each, for inference: `y = factor * x + offset`."""
        factor = gamma * tf.math.rsqrt(self.moving_variance.value + EPSILON)
        return factor, beta - self.moving_mean.value * factor
