"""Binds a supernet, its loss and the optimisers to the bilevel algorithm; knows no kind of cell.

A supernet is anything with `weight_variables`, `arch_variables`, `state_variables` and
`stateless(weights, alphas, inputs) -> (logits, statistics)` and `moved_state(state, statistics) -> state`.
"""

import contextlib
import functools
import itertools
import math

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel import gradients as eqs
from darts_tf.bilevel.gradients import ALPHAS, WEIGHTS
from darts_tf.bilevel.optimizers import assign, clip_by_global_norm
from darts_tf.passes import graph
from darts_tf.passes.precision import Precision, scale, unscale
from darts_tf.passes.recomputation import recomputing


def values(variables) -> list:
    """Returns the variables' present values as tensors."""
    return [tf.convert_to_tensor(v) for v in variables]


def cross_entropy(logits, labels, smoothing: float = 0.0):
    """Returns the mean cross-entropy in nats.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)` integers.
        smoothing: The target gives this share of its probability to all classes evenly.

    Source: `CrossEntropyLabelSmooth` in `cnn/train_imagenet.py`.
    """
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    if not smoothing:
        return loss
    return (1 - smoothing) * loss - smoothing * tf.reduce_mean(tf.nn.log_softmax(logits))


class Packing:
    """Many tensors as one vector, so that `w' = w - xi * g` is one operation and not five hundred.

    Args:
        variables: What to pack, in this order; all of one type.
    """

    def __init__(self, variables):
        self.shapes = [tuple(v.shape) for v in variables]
        self.sizes = [math.prod(shape) for shape in self.shapes]

    def pack(self, tensors) -> list:
        """Returns a list of one vector, `(sum of sizes,)`; of none where there is nothing to pack."""
        if not self.shapes:
            return []
        vectors = [t if len(t.shape) == 1 else graph.reshape(t, -1) for t in values(tensors)]
        return [tf.concat(vectors, 0)]

    def unpack(self, vectors) -> list:
        """Returns the tensors in a list of one vector."""
        parts = tf.split(vectors[0], self.sizes) if self.shapes else []
        pairs = zip(parts, self.shapes, strict=True)
        return [part if len(shape) == 1 else graph.reshape(part, *shape) for part, shape in pairs]


class SupernetLoss:
    """The derivatives of a supernet's loss as functions of everything they depend on, each traced at most once.

    The finite difference asks for the same gradient at two places, and the training loss's weight gradient is needed at
    the start of the virtual step and of the real one. Traced as functions of (weights, alphas, batch, state) they are
    built and optimised once and called as often as needed; a graph that spells out every call takes minutes to build.

    Weights, and moving statistics, are lists of one vector (see `Packing`); alphas are a list of matrices.

    Args:
        supernet: See the module.
        loss: `(logits, labels) -> scalar`.
        trace: Turns a function of tensors into a traced one; by default it stays eager.
        strict: Whether a weight that the loss does not depend on is an error; in a derived network it may be that no
            node reads another.
        joint: Whether weight gradients come with the alphas' even where nobody asks for these. The second order needs
            both at w', and alone the alphas' cost next to nothing: one trace less, a third of the graph and its memory.
        accumulation: An `accumulation.Accumulation` where a batch is computed in parts.
        replication: The same for parts that several devices compute at once, see `distribution.Replication`.
        precision: A `precision.Precision`; float32 for None.
        recompute: A mode of `recomputation`; None keeps what the backward pass needs. A weight that the loss does not
            depend on goes unnoticed with one.
        measure: `(loss, logits, labels) -> outputs`, what a pass tells beside its derivatives; by default the logits.
    """

    def __init__(
        self,
        supernet,
        loss=cross_entropy,
        trace=None,
        joint=False,
        strict=True,
        accumulation=None,
        replication=None,
        precision=None,
        recompute=None,
        measure=None,
    ):
        self.supernet, self.accumulation, self.replication = supernet, accumulation, replication
        self.precision, self.recompute = precision or Precision(), recompute
        self.precision.check(supernet.weight_variables)
        self.strict = strict
        self.loss = loss
        self.measure = measure or (lambda loss, logits, labels: logits)
        self.joint = joint
        self.trace = trace or (lambda function: function)
        self.weights, self.state = Packing(supernet.weight_variables), Packing(supernet.state_variables)
        self.gradients = functools.cache(self._gradients)
        self.mixed_product = functools.cache(self._mixed_product)
        self.hessian_product = functools.cache(self._hessian_product)

    def _over_batch(self, function):
        """Traces `(common, batch) -> (means, outputs)`, see `Accumulation.over`, and splits the batch where asked.

        Parts first, and these among the replicas: so batch norm sees the same parts, however many replicas there are.
        """
        function = self.trace(function) if self.replication is None else self.replication.over(function)
        return function if self.accumulation is None else self.accumulation.over(function)

    def _forward(self, weights, alphas, batch, wide=False):
        inputs, labels = batch
        with contextlib.nullcontext() if wide else self.precision.computing(), recomputing(self.recompute):
            logits, statistics = self.supernet.stateless(weights, alphas, inputs)
        return self.loss(logits, labels), logits, statistics

    def _gradients(self, wrt, with_statistics, wide=False):
        """Returns a function `(weights, alphas, inputs, labels) -> (loss, outputs, statistics, gradients)`.

        With `wide` it computes in the variables' type, whatever the precision.
        """

        def function(common, batch):
            weights, alphas, factor = common
            aside = []

            def loss_of(weights, alphas):
                loss, logits, statistics = self._forward(weights, alphas, batch, wide)
                outputs = self.measure(loss, logits, batch[1])
                aside.extend([outputs, self.state.pack(statistics) if with_statistics else []])
                return scale(loss, factor)

            loss, *gradients = eqs.Objective(loss_of, self.strict).gradients(self.weights.unpack(weights), alphas, wrt)
            outputs, statistics = aside
            pairs = zip(wrt, gradients, strict=True)
            gradients = [self.weights.pack(g) if name == WEIGHTS else g for name, g in pairs]
            return (unscale(loss, factor), statistics, unscale(gradients, factor)), outputs

        function = self._over_batch(function)

        def gradients(weights, alphas, inputs, labels):
            common = weights, alphas, self.precision.factor
            (loss, statistics, gradients), outputs = function(common, (inputs, labels))
            return loss, outputs, statistics, gradients

        return gradients

    def _mixed_product(self):
        """Returns a function `(weights, alphas, inputs, labels, vector) -> products`, see `Objective.mixed_product`."""
        return self._product(
            lambda objective, weights, alphas, vector: objective.mixed_product(
                weights, alphas, self.weights.unpack(vector)
            )
        )

    def _hessian_product(self):
        """Returns a function `(weights, alphas, inputs, labels, vector)`, see `Objective.hessian_product`."""
        return self._product(
            lambda objective, weights, alphas, vector: objective.hessian_product(weights, alphas, vector)
        )

    def _product(self, product):
        def function(common, batch):
            weights, alphas, vector, factor = common
            objective = eqs.Objective(lambda w, a: scale(self._forward(w, a, batch)[0], factor))
            return unscale(product(objective, self.weights.unpack(weights), alphas, vector), factor), ()

        function = self._over_batch(function)

        def products(weights, alphas, inputs, labels, vector):
            return function((weights, alphas, vector, self.precision.factor), (inputs, labels))[0]

        return products


class BatchObjective(eqs.Objective):
    """A supernet's loss on one batch.

    Args:
        functions: A `SupernetLoss`.
        batch: `(inputs, labels)`, or a function that gives them for the number of the pass, 0, 1 ...: so the original
            draws new dropout masks for every pass, which turns the finite difference into noise of the masks.
        state: Moving statistics before the next forward pass; None where nobody wants to know them.

    Attributes:
        state: After `gradients`, the statistics that the forward pass would leave. No variable is written.
        logits: After `gradients`, what the network gave: the logits, `(N, classes)`, or more.
    """

    def __init__(self, functions: SupernetLoss, batch, state=None):
        self.functions, self.state, self.logits = functions, state, None
        passes = itertools.count()
        self._batch = (lambda: batch(next(passes))) if callable(batch) else (lambda: batch)

    def gradients(self, weights, alphas, wrt=(WEIGHTS, ALPHAS), wide=False):
        """See `Objective.gradients`; with `wide` in the variables' type."""
        # Whoever asks for weight gradients shares one trace, which tells the statistics too; see `SupernetLoss`.
        traced = (WEIGHTS, ALPHAS) if WEIGHTS in wrt and self.functions.joint else tuple(wrt)
        function = self.functions.gradients(traced, self.state is not None or WEIGHTS in wrt, wide)
        loss, self.logits, statistics, gradients = function(weights, alphas, *self._batch())
        gradients = [gradients[traced.index(name)] for name in wrt]
        if self.state is not None:
            self.state = self.functions.supernet.moved_state(self.state, statistics)
        return loss, *gradients

    def probe(self, weights, alphas):
        """See `Objective.probe`; not in the narrow type of other passes.

        The probes' weights differ by less than the rounding of a bfloat16 kernel, and so would little but rounding be
        left of the difference of their gradients.
        """
        return self.gradients(weights, alphas, (ALPHAS,), wide=self.functions.precision.narrow is not None)[1]

    def mixed_product(self, weights, alphas, vector):
        """See `Objective.mixed_product`."""
        return self.functions.mixed_product()(weights, alphas, *self._batch(), vector)


class VirtualStep:
    """One step of the weights ahead: their optimiser's own rule with its present buffers. Writes nothing.

    Args:
        functions: A `SupernetLoss`.
        optimizer: Its `update` is the rule.
        clip: Global norm at which the training gradient is clipped, as in the real step, and also the vector of the
            implicit term; 0 is off. The original clips for recurrent cells and not for images.
        limited: Whether clipping scales xi, by which the implicit term is multiplied, by at most one. Deviation: the
            original's factor `clip / norm` is above one wherever nothing is clipped.
        still: Indices of weights that are not moved. Deviation: every weight moves; the original's recurrent networks
            hold back the matrix that embedding and decoder share, 0 here, because it is copied twice.

    Source: `_compute_unrolled_model` in `cnn/architect.py` and `rnn/architect.py`.
    """

    def __init__(self, functions: SupernetLoss, optimizer, clip: float = 0.0, limited: bool = True, still=()):
        self.packing, self.optimizer, self.clip, self.limited = functions.weights, optimizer, clip, limited
        self.still = frozenset(still)

    def __call__(self, weights, gradients, rate):
        """Returns `(w', xi)` for packed weights and gradients, see `eqs.unrolled_gradient`."""
        xi = rate
        if self.clip:
            gradients, norm = clip_by_global_norm(gradients, self.clip)
            factor = self.clip / (norm + 1e-6)
            xi = rate * (tf.minimum(factor, 1) if self.limited else factor)
        ahead = self.optimizer.update(weights, gradients, rate)[0]
        if self.still:
            pairs = zip(self.packing.unpack(weights), self.packing.unpack(ahead), strict=True)
            ahead = self.packing.pack([pair[i not in self.still] for i, pair in enumerate(pairs)])
        return ahead, xi

    def product(self, hvp):
        """Returns a Hessian-vector product that clips its vector first."""
        if not self.clip:
            return hvp
        return lambda train, w, a, vector: hvp(train, w, a, clip_by_global_norm(vector, self.clip)[0])


class Architect:
    """Moves the alphas: one step of Adam along the first- or second-order gradient.

    Args:
        functions: A `SupernetLoss`.
        weight_optimizer: Its `update` is the virtual step, with its real momentum buffers.
        alpha_optimizer: Moves `supernet.arch_variables`.
        order: `"first"` or `"second"`.
        hvp: `"finite_difference"` or `"exact"`, for the second order.
        radius: Of the finite difference.
        bn_updates: Whether the passes at w, w + eps v and w - eps v (in the first order: the validation pass) move
            the batch norms' statistics. Deviation: the original does so, here it is off by default, because statistics
            of perturbed weights are nobody's. It changes no gradient.
        virtual_step: How the weights move ahead, see `VirtualStep`; unclipped for None.

    Attributes:
        outputs: After `gradient` or `step`, what the network gave for the validation batch (in the second order at w').

    Source: `cnn/architect.py`, `rnn/architect.py`.
    """

    def __init__(
        self,
        functions: SupernetLoss,
        weight_optimizer,
        alpha_optimizer,
        order="second",
        hvp="finite_difference",
        radius=0.01,
        bn_updates=False,
        virtual_step=None,
    ):
        self.functions, self.outputs = functions, None
        self.weight_optimizer, self.alpha_optimizer = weight_optimizer, alpha_optimizer
        self.order, self.bn_updates = order, bn_updates
        self.virtual_step = virtual_step or VirtualStep(functions, weight_optimizer)
        exact = eqs.exact_hvp
        self.hvp = self.virtual_step.product(
            exact if hvp == "exact" else functools.partial(eqs.finite_difference_hvp, radius=radius)
        )

    def gradient(self, train_batch, valid_batch, rate, weights=None):
        """Computes the gradient of the validation loss in the alphas; writes nothing.

        Args:
            train_batch: `(inputs, labels)`, or a function, see `BatchObjective`.
            valid_batch: The same, of other examples.
            rate: Learning rate of the weights, xi.
            weights: The present weights, packed, if the caller has them already.

        Returns:
            `(validation loss, gradients, state)`: the state is what the moving statistics become with `bn_updates`,
            packed.
        """
        net = self.functions.supernet
        state = self.functions.state.pack(net.state_variables) if self.bn_updates else None
        weights = weights or self.functions.weights.pack(net.weight_variables)
        alphas = values(net.arch_variables)
        valid = BatchObjective(self.functions, valid_batch, state if self.order == "first" else None)
        if self.order == "first":
            loss, gradients = eqs.first_order_gradient(valid, weights, alphas)
            self.outputs = valid.logits
            return loss, gradients, valid.state
        train = BatchObjective(self.functions, train_batch, state)
        step = functools.partial(self.virtual_step, rate=rate)
        loss, gradients = eqs.unrolled_gradient(train, valid, weights, alphas, step, self.hvp)
        self.outputs = valid.logits
        return loss, gradients, train.state

    def step(self, train_batch, valid_batch, rate, weights=None):
        """Moves the alphas by one step, see `gradient`; returns the validation loss (at w' in the second order)."""
        loss, gradients, state = self.gradient(train_batch, valid_batch, rate, weights)
        if self.bn_updates:
            assign(self.functions.supernet.state_variables, self.functions.state.unpack(state))
        self.alpha_optimizer.apply(gradients)
        return loss
