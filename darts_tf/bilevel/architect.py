"""Updates the alphas along the first- or second-order gradient of the validation loss, for any kind of cell."""

import functools
from collections.abc import Iterable
from typing import Any

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel import gradients as eqs
from darts_tf.bilevel.objective import BatchObjective, SupernetLoss, Told, values
from darts_tf.bilevel.optimizers import assign, clip_by_global_norm
from darts_tf.system.types import Structure, Tensor, Tensors


class VirtualStep:
    """One virtual weight step: the optimiser's own rule with its current buffers. Writes nothing.

    Args:
        functions: A `SupernetLoss`.
        optimizer: Its `update` is the rule.
        clip: Global norm at which the training gradient is clipped, as in the real step, and also the vector of the
            implicit term; 0 is off. The original clips for recurrent cells but not for images.
        limited: Whether clipping scales xi, by which the implicit term is multiplied, by at most one. Deviation: the
            original's factor `clip / norm` is above one wherever nothing is clipped.
        still: Indices of weights that are not updated. Deviation: every weight is updated; the original's recurrent
            networks leave out the matrix that embedding and decoder share, index 0 here, because it is copied twice.

    Source: `_compute_unrolled_model` in `cnn/architect.py` and `rnn/architect.py`.
    """

    def __init__(
        self,
        functions: SupernetLoss,
        optimizer: Any,
        clip: float = 0.0,
        limited: bool = True,
        still: Iterable[int] = (),
    ):
        self.packing, self.optimizer, self.clip, self.limited = functions.weights, optimizer, clip, limited
        self.still = frozenset(still)

    def __call__(self, weights: Tensors, gradients: Tensors, rate: Tensor) -> tuple[Tensors, Tensor]:
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

    def product(self, hvp: eqs.Hvp) -> eqs.Hvp:
        """Returns a Hessian-vector product that clips its vector first."""
        if not self.clip:
            return hvp
        return lambda train, w, a, vector: hvp(train, w, a, clip_by_global_norm(vector, self.clip)[0])


class Architect:
    """Updates the alphas: one step of Adam along the first- or second-order gradient.

    Args:
        functions: A `SupernetLoss`.
        virtual_step: The virtual weight step, see `VirtualStep`.
        alpha_optimizer: Updates `functions.arch`.
        order: `"first"` or `"second"`.
        hvp: `"finite_difference"` or `"exact"`, for the second order.
        radius: Radius of the finite difference.
        bn_updates: Whether the passes at w, w + eps v and w - eps v (in the first order: the validation pass) update
            the batch norms' statistics. Deviation: the original does so; here it is off by default, because statistics
            of perturbed weights belong to no network. It changes no gradient.

    Source: `cnn/architect.py`, `rnn/architect.py`.
    """

    def __init__(
        self,
        functions: SupernetLoss,
        virtual_step: VirtualStep,
        alpha_optimizer: Any,
        order: str = "second",
        hvp: str = "finite_difference",
        radius: float = 0.01,
        bn_updates: bool = False,
    ):
        self.functions, self.order, self.bn_updates = functions, order, bn_updates
        self.virtual_step, self.alpha_optimizer = virtual_step, alpha_optimizer
        difference = functools.partial(eqs.finite_difference_hvp, radius=radius)
        self.hvp = virtual_step.product(eqs.exact_hvp if hvp == "exact" else difference)

    def gradient(
        self, train_batch: Any, valid_batch: Any, rate: Tensor, weights: Tensors | None = None, noise: Structure = ()
    ) -> tuple[Told, Tensors, list[Told]]:
        """Computes the gradient of the validation loss with respect to the alphas; writes nothing.

        Args:
            train_batch: `(inputs, labels)`, or a function, see `BatchObjective`.
            valid_batch: The same, for other examples.
            rate: Learning rate of the weights, xi.
            weights: The current weights, packed, if the caller has them already.
            noise: Noise of the step, see `Method.noise`.

        Returns:
            `(told, gradients, passed)`: the `Told` of the validation pass (in the second order at w'), a gradient for
            each of `functions.arch`, and the `Told` of each pass whose batch statistics the original counts.
        """
        net = self.functions.supernet
        passed: list[Told] = []
        counted = passed if self.bn_updates else None
        weights = weights or self.functions.weights.pack(net.weight_variables)
        alphas = values(self.functions.arch.values())
        valid = BatchObjective(self.functions, valid_batch, noise, counted if self.order == "first" else None)
        if self.order == "first":
            return *eqs.first_order_gradient(valid, weights, alphas), passed
        train = BatchObjective(self.functions, train_batch, noise, counted)
        step = functools.partial(self.virtual_step, rate=rate)
        return *eqs.unrolled_gradient(train, valid, weights, alphas, step, self.hvp), passed

    def step(
        self,
        train_batch: Any,
        valid_batch: Any,
        rate: Tensor,
        weights: Tensors | None = None,
        noise: Structure = (),
        epoch: Any = 0,
    ) -> Any:
        """Updates the alphas by one step, see `gradient`, including the gradient of the method's penalty.

        Returns:
            The `Told` of the validation pass, with the loss at w' in the second order.
        """
        net, packing = self.functions.supernet, self.functions.state
        told, gradients, passed = self.gradient(train_batch, valid_batch, rate, weights, noise)
        if passed:
            state = packing.pack(net.state_variables)
            for each in passed:
                state = net.moved_state(state, each.statistics)
            assign(net.state_variables, packing.unpack(state))
        self.alpha_optimizer.apply(self._penalised(gradients, epoch))
        return told

    def _penalised(self, gradients, epoch):
        """Adds the gradient of the method's penalty, the same in both orders since it is independent of the weights."""
        alphas = values(self.functions.arch.values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(alphas)
            named, method = self.functions.named(alphas), self.functions.method
            penalty = method.penalty(named, method.mixing_weights(named, None), epoch)
        if penalty is None:
            return gradients
        own = tape.gradient(penalty, alphas, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [gradient + each for gradient, each in zip(gradients, own, strict=True)]
