"""Algorithm 1 of the paper on one screen, the training step of a derived network, and their common parts."""

from collections.abc import Callable
from typing import Any

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel.architect import Architect, VirtualStep
from darts_tf.bilevel.domain import Domain
from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.objective import BatchObjective, SupernetLoss, Told, values
from darts_tf.bilevel.optimizers import ASGD, SGD, Adam, assign, clip_by_global_norm
from darts_tf.config import Run, Search
from darts_tf.methods.method import Method
from darts_tf.passes.accumulation import Accumulation
from darts_tf.passes.loss_scale import GROUP, undone_on_overflow
from darts_tf.passes.precision import Precision
from darts_tf.passes.recomputation import GRAPH, XLA
from darts_tf.system.types import Structure, Tensor, Tensors


def traced(function: Callable) -> Callable:
    """Traces a function once, as a function that the graph calls instead of inlining a copy at every call."""
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def loss_of(
    network: Any,
    config: Run,
    domain: Domain,
    trace: Callable | None = traced,
    distribution: Any = None,
    **settings: Any,
) -> SupernetLoss:
    """Returns a network's loss with its derivatives, computed according to a config.

    Args:
        network: See `SupernetLoss`.
        config: A `config.Run`: sequential parts, what is kept for the backward pass, and the dtype.
        domain: A `Domain`: its loss, and the axes of examples in its batches.
        trace: How the derivatives are traced; `None` leaves them eager, for debugging.
        distribution: A `distribution.Distribution`: parts in parallel on several devices; None for one device.
        **settings: Further arguments of `SupernetLoss`.
    """
    axes = domain.batch_axes(network), domain.output_axes
    return SupernetLoss(
        network,
        domain.loss,
        None if config.jit_compile else trace,
        accumulation=Accumulation(config.accumulate, *axes) if config.accumulate > 1 else None,
        replication=distribution.replication(*axes) if distribution else None,
        precision=Precision(config.precision),
        recompute=(XLA if config.jit_compile else GRAPH) if config.recompute else None,
        measure=domain.measure,
        **settings,
    )


def _scale_of(functions: SupernetLoss) -> dict[str, list]:
    """Returns the variables of a `SupernetLoss`' loss scale, by name; none if it has no loss scale."""
    scale = functions.precision.loss_scale
    return {} if scale is None else {GROUP: scale.variables}


class WeightStep:
    """Updates weights and batch-norm statistics on one batch: gradient, clipping, the optimiser's rule.

    Args:
        functions: A `SupernetLoss`.
        optimizer: An `optimizers.SGD` or `ASGD` over the packed weights.
        grad_clip: Global norm at which the gradient is clipped; 0 is off.
    """

    def __init__(self, functions: SupernetLoss, optimizer: SGD | ASGD, grad_clip: float):
        self.functions, self.optimizer, self.grad_clip = functions, optimizer, grad_clip

    def __call__(
        self,
        batch: tuple,
        rate: Tensor,
        weights: Tensors | None = None,
        alphas: Tensors | None = None,
        noise: Structure = (),
    ) -> tuple[Told, Tensor]:
        """Takes one step.

        Args:
            batch: `(inputs, labels)`.
            rate: Learning rate.
            weights: The current weights, packed, if the caller has them already.
            alphas: The alphas at which the step is taken, a list; None for the current ones.
            noise: Noise of the step, see `Method.noise`.

        Returns:
            `(told, norm)`: a `Told`, and the norm of the gradient before clipping.
        """
        packed, net = self.functions, self.functions.supernet
        weights = weights or packed.weights.pack(net.weight_variables)
        alphas = values(packed.arch.values()) if alphas is None else alphas
        told, gradients = BatchObjective(packed, batch, noise).gradients(weights, alphas, (WEIGHTS,))
        gradients, norm = clip_by_global_norm(gradients, self.grad_clip)
        weights, buffers = self.optimizer.update(weights, gradients, rate)
        state = net.moved_state(packed.state.pack(net.state_variables), told.statistics)
        assign(self.optimizer.buffers, buffers)
        assign(net.weight_variables, packed.weights.unpack(weights))
        assign(net.state_variables, packed.state.unpack(state))
        return told, norm


class SearchStep:
    """Algorithm 1: updates alphas on validation data, then weights on training data.

    Args:
        supernet: See `SupernetLoss`.
        config: A `config.Search`.
        domain: A `Domain`.
        trace: See `loss_of`.
        distribution: See `loss_of`.
        method: A `methods.Method`; DARTS for None.
    """

    def __init__(
        self,
        supernet: Any,
        config: Search,
        domain: Domain,
        trace: Callable | None = traced,
        distribution: Any = None,
        method: Method | None = None,
    ):
        self.supernet, self.config, self.domain = supernet, config, domain
        domain.attach(supernet)
        self.functions = functions = loss_of(
            supernet,
            config,
            domain,
            trace,
            distribution,
            method=method,
            joint=config.order == "second" and (method is None or method.moves_alphas),
            strict=config.masks is None,  # with few candidates there may be weights whose output no edge reads
        )
        self.method = functions.method
        self.weight_optimizer = domain.optimizers(functions.weights.pack(supernet.weight_variables))[False]
        self.alpha_optimizer = Adam(
            [v.value for v in functions.arch.values()],
            rate=config.arch_learning_rate,
            beta1=config.arch_beta1,
            beta2=config.arch_beta2,
            epsilon=config.arch_epsilon,
            weight_decay=config.arch_weight_decay,
        )
        self.weight_step = WeightStep(functions, self.weight_optimizer, config.grad_clip)
        self.architect = Architect(
            functions,
            VirtualStep(functions, self.weight_optimizer, **domain.virtual_step),
            self.alpha_optimizer,
            config.order,
            config.hvp,
            config.hvp_radius,
            config.arch_bn_updates,
        )

    @property
    def variables(self) -> dict[str, list]:
        """Everything a step writes, by name: what a checkpoint has to hold."""
        return {
            "weights": self.supernet.weight_variables,
            "alphas": list(self.functions.arch.values()),
            "state": self.supernet.state_variables,
            "weight_optimizer": self.weight_optimizer.buffers,
            "alpha_optimizer": self.alpha_optimizer.variables,
            "hidden": self.domain.carried,
        } | _scale_of(self.functions)

    @undone_on_overflow
    def __call__(
        self, train: Any, valid: Any, number: Tensor, rate: Tensor, epoch: Any = 0, move_alphas: bool = True
    ) -> dict:
        """Takes one step.

        Args:
            train: An element of the domain's stream of training data.
            valid: An element of its stream of validation data, with other examples.
            number: Number of the step, scalar int64: with the run's seed it determines all randomness.
            rate: Learning rate of the weights, also the xi of the second order.
            epoch: Epoch, from 0.
            move_alphas: Whether to update the alphas, if the method does so; not in warm-up epochs.

        Returns:
            Scalars: `valid_loss` (if alphas were updated), and those of `Domain.report`.
        """
        domain, functions, report = self.domain, self.functions, {}
        rate, seeds = domain.rate_of(rate, train), domain.seeds(number)
        alphas = functions.named(values(functions.arch.values()))
        now = tf.cast(epoch, rate.dtype)
        noise = self.method.noise(alphas, seeds[0], now)
        weights = functions.weights.pack(self.supernet.weight_variables)
        drop_path = domain.drop_path(now)
        batch = domain.batch(train, seeds[0], drop_path)
        if move_alphas and self.method.moves_alphas:
            ahead = domain.unrolled_batch(batch, train, seeds[0])
            held_out = domain.batch(valid, seeds[1], drop_path, held_out=True)
            told = self.architect.step(ahead, held_out, rate, weights, noise, epoch)
            domain.carry(told.outputs, held_out=True)
            report["valid_loss"] = told.loss
            alphas = functions.named(values(functions.arch.values()))
        at = self.method.training_alphas(alphas, noise, functions.training_loss(weights, alphas, batch))
        told, norm = self.weight_step(batch, rate, weights, [at[name] for name in functions.arch], noise)
        domain.carry(told.outputs)
        return report | domain.report(told, norm, train)


class TrainStep:
    """One training step of a derived network.

    Args:
        network: See `SupernetLoss`; without alphas.
        config: A `TrainConfig` or a `LanguageTrainConfig`.
        domain: A `Domain`.
        trace: See `loss_of`.
        distribution: See `loss_of`.
    """

    def __init__(
        self, network: Any, config: Run, domain: Domain, trace: Callable | None = traced, distribution: Any = None
    ):
        self.network, self.domain = network, domain
        domain.attach(network)
        self.functions = functions = loss_of(network, config, domain, trace, distribution, strict=False)
        self.optimizers = domain.optimizers(functions.weights.pack(network.weight_variables))
        self.steps = {
            averaging: WeightStep(functions, optimizer, config.grad_clip)
            for averaging, optimizer in self.optimizers.items()
        }

    @property
    def variables(self) -> dict[str, list]:
        """Everything a step writes, by name: what a checkpoint has to hold."""
        return {
            "weights": self.network.weight_variables,
            "state": self.network.state_variables,
            "weight_optimizer": self.optimizers[False].buffers,
            "averages": self.optimizers[True].buffers if True in self.optimizers else [],
            "hidden": self.domain.carried[:1],
        } | _scale_of(self.functions)

    @property
    def averages(self) -> list:
        """The averaged weights, in the order of `network.weight_variables`."""
        return self.functions.weights.unpack([a.value() for a in self.optimizers[True].averages])

    @undone_on_overflow
    def __call__(
        self, piece: Any, number: Tensor, rate: Tensor, drop_path: Tensor, seed: Tensor, averaging: bool = False
    ) -> dict:
        """Takes one step.

        Args:
            piece: An element of the domain's stream of training data.
            number: Number of the step, scalar int64.
            rate: Learning rate.
            drop_path: Probability of drop path; for images only.
            seed: Scalar int64: with the number of the step it determines what is dropped.
            averaging: Whether this is a step of averaged SGD.

        Returns:
            The scalars of `Domain.report`.
        """
        batch = self.domain.batch(piece, tf.stack([seed, number]), drop_path)
        told, norm = self.steps[averaging](batch, self.domain.rate_of(rate, piece))
        self.domain.carry(told.outputs)
        return self.domain.report(told, norm, piece)
