"""A supernet's loss as a pure function of weights, alphas, noise and batch, with each derivative traced once."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel import gradients as eqs
from darts_tf.bilevel.gradients import ALPHAS, WEIGHTS
from darts_tf.methods.darts import Darts
from darts_tf.methods.method import Method
from darts_tf.passes import graph
from darts_tf.passes.accumulation import Accumulation
from darts_tf.passes.context import within
from darts_tf.passes.precision import Precision, scale, unscale
from darts_tf.system.types import Structure, Tensor, Tensors, Variable


def values(variables: Iterable[Variable]) -> list:
    """Returns the variables' current values as tensors."""
    return [tf.convert_to_tensor(v) for v in variables]


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Returns the mean cross-entropy in nats.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)` integers.
        smoothing: Fraction of the target's probability that is spread evenly over all classes.

    Source: `CrossEntropyLabelSmooth` in `cnn/train_imagenet.py`.
    """
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    if not smoothing:
        return loss
    return (1 - smoothing) * loss - smoothing * tf.reduce_mean(tf.nn.log_softmax(logits))


def count_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns how many of `(N, classes)` logits are largest at their label, a scalar int32."""
    hits = tf.equal(tf.argmax(logits, -1, output_type=labels.dtype), labels)
    return tf.reduce_sum(tf.cast(hits, tf.int32))


class Packing:
    """Packs many tensors into one vector, so that `w' = w - xi * g` is one operation instead of five hundred.

    Args:
        variables: Variables to pack, in this order; all of one dtype.
    """

    def __init__(self, variables: Iterable[Variable]):
        self.shapes = [tuple(v.shape) for v in variables]
        self.sizes = [math.prod(shape) for shape in self.shapes]

    def pack(self, tensors: Iterable[Tensor]) -> list:
        """Returns a list of one vector, `(sum of sizes,)`; an empty list if there is nothing to pack."""
        if not self.shapes:
            return []
        vectors = [t if len(t.shape) == 1 else graph.reshape(t, -1) for t in values(tensors)]
        return [tf.concat(vectors, 0)]

    def unpack(self, vectors: Tensors) -> list:
        """Returns the tensors in a list of one vector."""
        parts = tf.split(vectors[0], self.sizes) if self.shapes else []
        pairs = zip(parts, self.shapes, strict=True)
        return [part if len(shape) == 1 else graph.reshape(part, *shape) for part, shape in pairs]


class Told(NamedTuple):
    """The results of a pass in addition to its derivatives.

    Attributes:
        loss: A scalar.
        outputs: The result of `measure` for the pass, by default the logits.
        statistics: The statistics that update the moving ones, packed; empty unless requested.
    """

    loss: Any
    outputs: Any
    statistics: list


class SupernetLoss:
    """The derivatives of a supernet's loss as functions of all their inputs, each traced at most once.

    The finite difference needs the same gradient at two points, and the training loss's weight gradient is needed at
    the start of both the virtual step and the real one. Traced as functions of (weights, alphas, noise, batch), they
    are built and optimised once and called as often as needed; a graph with every call inlined takes minutes to build.

    Weights, and moving statistics, are lists of one vector (see `Packing`); alphas are a list of matrices, in the order
    of `arch`.

    Args:
        supernet: Anything with `weight_variables`, `state_variables`, `alphas` (variables by name) and
            `stateless(weights, mixing, inputs) -> (outputs, statistics)` and `moved_state(state, statistics) -> state`.
        loss: `(outputs, labels) -> scalar`.
        trace: Turns a function of tensors into a traced one; by default it stays eager.
        joint: Whether weight gradients are computed with the alphas' even if not needed. The second order needs both at
            w', and separate gradients of the alphas would save next to nothing: this avoids one trace, a third of the
            graph and its memory.
        strict: Whether a weight that the loss does not depend on is an error; a derived network may have nodes that no
            other node reads.
        accumulation: An `accumulation.Accumulation` if a batch is computed in parts.
        replication: The same for parts that several devices compute at once, see `distribution.Replication`.
        precision: A `precision.Precision`; float32 for None.
        recompute: A mode of `recomputation`; None keeps what the backward pass needs. With recomputation, a weight that
            the loss does not depend on goes unnoticed.
        measure: `(loss, outputs, labels) -> outputs`, a pass's `Told.outputs`; by default the network's outputs.
        method: A `methods.Method`; DARTS for None.

    Attributes:
        arch: All architecture variables by name: the supernet's and the method's.
    """

    def __init__(
        self,
        supernet: Any,
        loss: Callable = cross_entropy,
        trace: Callable | None = None,
        joint: bool = False,
        strict: bool = True,
        accumulation: Accumulation | None = None,
        replication: Any = None,
        precision: Precision | None = None,
        recompute: str | None = None,
        measure: Callable | None = None,
        method: Method | None = None,
    ):
        self.supernet, self.accumulation, self.replication = supernet, accumulation, replication
        self.precision, self.recompute = precision or Precision(), recompute
        self.precision.check(supernet.weight_variables)
        self.strict, self.joint, self.loss = strict, joint, loss
        self.measure = measure or (lambda loss, outputs, labels: outputs)
        self.method = method or Darts()
        self.arch = supernet.alphas | self.method.variables(supernet)
        self.trace = trace or (lambda function: function)
        self.weights, self.state = Packing(supernet.weight_variables), Packing(supernet.state_variables)
        self.gradients = functools.cache(self._gradients)
        self.product = functools.cache(self._product)
        self.mixing_gradients = functools.cache(self._mixing_gradients)

    def training_loss(self, weights: Tensors, alphas: Any, batch: tuple) -> Callable:
        """Returns a function of relaxed mixing weights by cell: the loss in evaluation mode, and its gradients.

        `SmoothDARTS` ascends this loss. Nothing is computed or traced unless it is called.
        """
        return lambda mixing: self.mixing_gradients()((weights, alphas, mixing, self.precision.factor), batch)[0]

    def _mixing_gradients(self):
        def function(common, batch):
            weights, alphas, mixing, factor = common
            (inputs, labels), weights = batch, self.weights.unpack(weights)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(mixing)
                adjusted = self.method.adjust(mixing, alphas, None)
                with within(narrow=self.precision.narrow, recompute=self.recompute):
                    outputs, _ = self.supernet.stateless(weights, adjusted, inputs, training=False)
                loss = scale(self.loss(outputs, labels), factor)
            return (unscale(loss, factor), unscale(tape.gradient(loss, mixing), factor)), ()

        return self._over_batch(function)

    def named(self, alphas: Tensors) -> dict:
        """Returns a list of alphas by name."""
        return dict(zip(self.arch, alphas, strict=True))

    def _over_batch(self, function):
        """Traces `(common, batch) -> (means, outputs)`, see `Accumulation.over`, and splits the batch if requested.

        Into parts first, which are then split among the replicas: so batch norm sees the same parts for any number of
        replicas.
        """
        function = self.trace(function) if self.replication is None else self.replication.over(function)
        return function if self.accumulation is None else self.accumulation.over(function)

    def _forward(self, weights, alphas, noise, batch, wide=False, sparse=False):
        inputs, labels = batch
        mixing = self.method.mixing_weights(self.named(alphas), noise)
        narrow = None if wide else self.precision.narrow
        with within(narrow=narrow, recompute=self.recompute, sparse=sparse):
            outputs, statistics = self.supernet.stateless(weights, mixing, inputs)
        return self.loss(outputs, labels), outputs, statistics

    def _gradients(self, wrt, with_statistics, wide=False):
        """Returns a function `(weights, alphas, inputs, labels, noise=()) -> (Told, gradients)`.

        With `wide` it computes in the variables' dtype, whatever the precision.
        """
        sparse = self.method.sparse and ALPHAS not in wrt
        strict = self.strict and not sparse  # outside of a graph, what is left out depends on nothing

        def function(common, batch):
            weights, alphas, noise, factor = common
            aside = []

            def loss_of(weights, alphas):
                loss, outputs, statistics = self._forward(weights, alphas, noise, batch, wide, sparse)
                measured = self.measure(loss, outputs, batch[1])
                aside.extend([measured, self.state.pack(statistics) if with_statistics else []])
                return scale(loss, factor)

            loss, *gradients = eqs.Objective(loss_of, strict).gradients(self.weights.unpack(weights), alphas, wrt)
            outputs, statistics = aside
            pairs = zip(wrt, gradients, strict=True)
            gradients = [self.weights.pack(g) if name == WEIGHTS else g for name, g in pairs]
            return (unscale(loss, factor), statistics, unscale(gradients, factor)), outputs

        function = self._over_batch(function)

        def gradients(weights, alphas, inputs, labels, noise=()):
            common = weights, alphas, noise, self.precision.factor
            (loss, statistics, gradients), outputs = function(common, (inputs, labels))
            return Told(loss, outputs, statistics), gradients

        return gradients

    def _product(self, kind):
        """Returns a function `(weights, alphas, inputs, labels, vector, noise=())`, for a vector of that kind.

        See `Objective.mixed_product` and `Objective.hessian_product`.
        """

        def function(common, batch):
            weights, alphas, noise, vector, factor = common
            objective = eqs.Objective(lambda w, a: scale(self._forward(w, a, noise, batch)[0], factor))
            weights = self.weights.unpack(weights)
            if kind == WEIGHTS:
                found = objective.mixed_product(weights, alphas, self.weights.unpack(vector))
            else:
                found = objective.hessian_product(weights, alphas, vector)
            return unscale(found, factor), ()

        function = self._over_batch(function)

        def products(weights, alphas, inputs, labels, vector, noise=()):
            return function((weights, alphas, noise, vector, self.precision.factor), (inputs, labels))[0]

        return products


class BatchObjective(eqs.Objective):
    """A supernet's loss on one batch.

    Args:
        functions: A `SupernetLoss`.
        batch: `(inputs, labels)`, or a function from the number of the pass, 0, 1 ..., to these: the original draws new
            dropout masks for every pass, which turns the finite difference into noise from the masks.
        noise: Noise of the step, see `Method.noise`.
        passed: A list to which the `Told` of each pass is appended in order, with its statistics.
    """

    def __init__(self, functions: SupernetLoss, batch: Any, noise: Structure = (), passed: list | None = None):
        self.functions, self.noise, self.passed = functions, noise, passed
        self._batches = map(batch, itertools.count()) if callable(batch) else itertools.repeat(batch)

    def gradients(
        self, weights: Tensors, alphas: Tensors, wrt: Sequence[str] = (WEIGHTS, ALPHAS), wide: bool = False
    ) -> tuple:
        """See `Objective.gradients`, with a `Told` instead of the loss; with `wide` in the variables' dtype."""
        # All callers that need weight gradients share one trace, which also returns the statistics; see `SupernetLoss`.
        traced = (WEIGHTS, ALPHAS) if WEIGHTS in wrt and self.functions.joint else tuple(wrt)
        function = self.functions.gradients(traced, self.passed is not None or WEIGHTS in wrt, wide)
        told, gradients = function(weights, alphas, *next(self._batches), self.noise)
        if self.passed is not None:
            self.passed.append(told)
        return told, *[gradients[traced.index(name)] for name in wrt]

    def probe(self, weights: Tensors, alphas: Tensors) -> Tensors:
        """See `Objective.probe`; not in the narrow dtype of other passes.

        The probes' weights differ by less than the rounding of a bfloat16 kernel, so the difference of their gradients
        would be little more than rounding.
        """
        return self.gradients(weights, alphas, (ALPHAS,), wide=self.functions.precision.narrow is not None)[1]

    def mixed_product(self, weights: Tensors, alphas: Tensors, vector: Tensors) -> Tensors:
        """See `Objective.mixed_product`."""
        return self.functions.product(WEIGHTS)(weights, alphas, *next(self._batches), vector, self.noise)
