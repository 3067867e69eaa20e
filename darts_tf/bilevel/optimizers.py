"""Update rules of the paper's optimisers as pure functions, and optimisers that hold their state.

Keras' own optimisers are different algorithms: its SGD folds the rate into the velocity, and its `weight_decay` is
decoupled. Here the L2 term is part of the gradient, as in PyTorch 0.3.1, for which the original code was written.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from darts_tf.system.keras_settings import tf
from darts_tf.system.types import Tensor, Tensors, Variable


def _scalars(dtype, *numbers):
    """Creates constants once, not once for each variable, which would be half of the graph."""
    # Casting a Python number would go through float32.
    return [tf.cast(n, dtype) if tf.is_tensor(n) else tf.constant(n, dtype) for n in numbers]


def sgd_update(
    weights: Tensors, gradients: Tensors, buffers: Tensors, *, rate: Tensor, momentum: float, weight_decay: float
) -> tuple[Tensors, Tensors]:
    """Momentum SGD: `buffer = momentum * buffer + (g + weight_decay * w)`, then `w -= rate * buffer`.

    Args:
        weights: Tensors, any shape.
        gradients: One per weight, same shapes.
        buffers: Momentum buffers, same shapes; zeros before the first step. An empty list without momentum.
        rate: Learning rate, a Python or tensor scalar.
        momentum: Scalar in [0, 1).
        weight_decay: L2 coefficient.

    Returns:
        `(weights, buffers)`: new tensors.

    Source: torch.optim.SGD, as used in `cnn/train_search.py` of the original.
    """
    rate, momentum, weight_decay = _scalars(weights[0].dtype, rate, momentum, weight_decay)
    decayed = [g + weight_decay * w for w, g in zip(weights, gradients, strict=True)]
    if not buffers:
        return [w - rate * g for w, g in zip(weights, decayed, strict=True)], []
    buffers = [momentum * b + g for b, g in zip(buffers, decayed, strict=True)]
    return [w - rate * b for w, b in zip(weights, buffers, strict=True)], buffers


def adam_update(
    weights: Tensors,
    gradients: Tensors,
    means: Tensors,
    squares: Tensors,
    step: Tensor,
    *,
    rate: Tensor,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> tuple[Tensors, Tensors, Tensors]:
    """Adam with the L2 term in the gradient and epsilon added before the bias correction.

    Args:
        weights: Tensors, any shape.
        gradients: One per weight.
        means: First moments, zeros before the first step.
        squares: Second moments, zeros before the first step.
        step: Scalar tensor, 1 for the first step.
        rate: Learning rate.
        beta1: Decay of the first moments.
        beta2: Decay of the second moments.
        epsilon: Added to the square root of the second moment.
        weight_decay: L2 coefficient.

    Returns:
        `(weights, means, squares)`: new tensors.

    Source: torch.optim.Adam of PyTorch 0.3.1 (today's adds epsilon after the correction), `cnn/architect.py`.
    """
    gradients = [g + weight_decay * w for w, g in zip(weights, gradients, strict=True)]
    means = [beta1 * m + (1 - beta1) * g for m, g in zip(means, gradients, strict=True)]
    squares = [beta2 * s + (1 - beta2) * g * g for s, g in zip(squares, gradients, strict=True)]

    def moved(w, m, s):
        t = tf.cast(step, w.dtype)
        one = tf.ones((), w.dtype)
        size = rate * tf.sqrt(one - tf.pow(one * beta2, t)) / (one - tf.pow(one * beta1, t))
        return w - size * m / (tf.sqrt(s) + epsilon)

    return [moved(w, m, s) for w, m, s in zip(weights, means, squares, strict=True)], means, squares


def asgd_update(
    weights: Tensors,
    gradients: Tensors,
    averages: Tensors,
    step: Tensor,
    lagged_rate: Tensor,
    *,
    rate: Tensor,
    weight_decay: float,
    start: int = 0,
) -> tuple[Tensors, Tensors, Tensor]:
    """Averaged SGD: `w -= rate * (g + weight_decay * w)`, and the mean of the weights since step `start`.

    The rate used is that of the previous step, as in the original: a change takes effect one step late.

    Args:
        weights: Tensors, any shape.
        gradients: One per weight, same shapes.
        averages: Means so far, same shapes; anything before the first step.
        step: Scalar tensor, 1 for the first step.
        lagged_rate: The rate given in the previous step; anything before the first step.
        rate: Learning rate; the first step uses it immediately, later steps use it one step later.
        weight_decay: L2 coefficient.
        start: Up to and including the step after this one, the mean is the weights themselves.

    Returns:
        `(weights, averages, lagged_rate)`: new tensors.

    Source: torch.optim.ASGD with `lambd=0` (then alpha has no effect), as used in `rnn/train.py` of the original.
    """
    dtype = weights[0].dtype
    rate, weight_decay = _scalars(dtype, rate, weight_decay)
    used = tf.where(step > 1, lagged_rate, rate)
    weights = [w - used * (g + weight_decay * w) for w, g in zip(weights, gradients, strict=True)]
    count = tf.cast(tf.maximum(step - 1 - start, 1), dtype)
    # At a count of one the mean is the weights themselves, whatever it held before, even if not finite.
    averages = [tf.where(count > 1, a + (w - a) / count, w) for w, a in zip(weights, averages, strict=True)]
    return weights, averages, rate


def global_norm(tensors: Sequence) -> tf.Tensor:
    """Returns the Euclidean norm of all tensors together, a scalar."""
    return tf.sqrt(2 * tf.add_n([tf.nn.l2_loss(t) for t in tensors]))


def clip_by_global_norm(gradients: Sequence, limit: float) -> tuple[Tensors, Tensor]:
    """Scales all gradients so that their joint norm is at most `limit`; `limit=0` leaves them unchanged.

    Returns:
        `(gradients, norm)`: the norm is the one before clipping.

    Source: `torch.nn.utils.clip_grad_norm`: the coefficient is `limit / (norm + 1e-6)`, and applies when below one.
    """
    norm = global_norm(gradients)
    if not limit:
        return list(gradients), norm
    coefficient = tf.minimum(limit / (norm + 1e-6), tf.ones((), norm.dtype))
    return [g * coefficient for g in gradients], norm


def assign(variables: Sequence[Variable], tensors: Tensors) -> None:
    """Writes each tensor into the variable at the same position."""
    for variable, tensor in zip(variables, tensors, strict=True):
        variable.assign(tensor)


def _slots(variables):
    return [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in variables]


class SGD:
    """Momentum SGD over given variables. `rate` is an argument of every step, so that no schedule retraces the graph.

    Args:
        variables: What to move, in a fixed order.
        momentum: See `sgd_update`.
        weight_decay: See `sgd_update`.

    Attributes:
        buffers: The variables that a step writes in addition to the weights.
    """

    def __init__(self, variables: Iterable[Variable], momentum: float = 0.9, weight_decay: float = 3e-4):
        self.rule = dict(momentum=momentum, weight_decay=weight_decay)
        self.buffers = _slots(variables) if momentum else []

    def update(self, weights: Tensors, gradients: Tensors, rate: Tensor) -> tuple[Tensors, Tensors]:
        """Returns `(weights, buffers)` one step ahead, from the present buffers; writes nothing."""
        return sgd_update(weights, gradients, self.buffers, rate=rate, **self.rule)


class Adam:
    """Adam over given variables.

    Args:
        variables: What to move, in a fixed order.
        **rule: The settings of `adam_update`, from `rate` to `weight_decay`.
    """

    def __init__(self, variables: Iterable[Variable], **rule: float):
        self.targets, self.rule = list(variables), rule
        self.means, self.squares = _slots(self.targets), _slots(self.targets)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list:
        """What a checkpoint has to hold."""
        return [*self.means, *self.squares, self.step]

    def apply(self, gradients: Tensors) -> None:
        """Moves the variables by one step."""
        step = self.step.assign_add(1)
        weights = [tf.convert_to_tensor(v) for v in self.targets]
        new = adam_update(weights, gradients, self.means, self.squares, step, **self.rule)
        for variables, tensors in zip((self.targets, self.means, self.squares), new, strict=True):
            assign(variables, tensors)


class ASGD:
    """Averaged SGD over given variables, see `asgd_update`.

    Args:
        variables: What to move, in a fixed order.
        weight_decay: L2 coefficient.
        start: Step after which averaging begins.

    Attributes:
        averages: The means of the weights, which validation uses and which are saved.
        buffers: The variables that a step writes in addition to the weights: means, number of steps, rate for the next
            step.
    """

    def __init__(self, variables: Iterable[Variable], weight_decay: float = 8e-7, start: int = 0):
        self.rule: dict[str, Any] = dict(weight_decay=weight_decay, start=start)
        self.averages = _slots(variables)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.lagged_rate = tf.Variable(tf.zeros((), self.averages[0].dtype), trainable=False)
        self.buffers = [*self.averages, self.step, self.lagged_rate]

    def update(self, weights: Tensors, gradients: Tensors, rate: Tensor) -> tuple[Tensors, Tensors]:
        """Returns `(weights, buffers)` one step ahead, from the present buffers; writes nothing."""
        step = self.step + 1
        weights, averages, lagged = asgd_update(
            weights, gradients, self.averages, step, self.lagged_rate, rate=rate, **self.rule
        )
        return weights, [*averages, step, lagged]
