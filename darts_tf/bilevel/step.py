"""One step of the search, Algorithm 1 of the paper on one screen, and one step of training a derived network."""

import tensorflow as tf

from darts_tf.bilevel.architect import Architect, BatchObjective, SupernetLoss, cross_entropy, values
from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.optimizers import SGD, Adam, assign, clip_by_global_norm
from darts_tf.passes.accumulation import Accumulation
from darts_tf.passes.loss_scale import GROUP, undone_on_overflow
from darts_tf.passes.precision import Precision
from darts_tf.passes.recomputation import GRAPH, XLA


def traced(function):
    """Traces a function once, as a function that the graph calls instead of a copy at every call."""
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def passes(config, distribution, batch, outputs) -> dict:
    """Returns how a config's passes are computed, as arguments of `SupernetLoss`.

    Args:
        config: A `config.Run`: parts one after the other, what is kept for the backward pass and in which type.
        distribution: A `distribution.Distribution`: parts at once on several devices; None for one device.
        batch: Axes, see `accumulation.split`.
        outputs: Axes of what a pass tells of its examples.
    """
    return {
        "accumulation": Accumulation(config.accumulate, batch, outputs) if config.accumulate > 1 else None,
        "replication": distribution.replication(batch, outputs) if distribution else None,
        "precision": Precision(config.precision),
        "recompute": (XLA if config.jit_compile else GRAPH) if config.recompute else None,
    }


def scale_of(functions) -> dict[str, list]:
    """Returns the variables of a `SupernetLoss`' loss scale, by name; none where it has none."""
    scale = functions.precision.loss_scale
    return {} if scale is None else {GROUP: scale.variables}


class WeightStep:
    """Moves weights and batch-norm statistics on one batch: gradient, clipping, SGD.

    Args:
        functions: An `architect.SupernetLoss`.
        optimizer: An `optimizers.SGD` or `ASGD` over the packed weights.
        grad_clip: Global norm at which the gradient is clipped; 0 is off.
    """

    def __init__(self, functions, optimizer, grad_clip: float):
        self.functions, self.optimizer, self.grad_clip = functions, optimizer, grad_clip

    def __call__(self, batch, rate, weights=None) -> dict:
        """Takes one step; `weights` are the present ones, packed, if the caller has them already.

        Returns:
            `loss`, `gradient_norm` before clipping, and `outputs`: what the network gave.
        """
        packed, net = self.functions, self.functions.supernet
        weights = weights or packed.weights.pack(net.weight_variables)
        objective = BatchObjective(packed, batch, packed.state.pack(net.state_variables))
        loss, gradients = objective.gradients(weights, values(net.arch_variables), (WEIGHTS,))
        gradients, norm = clip_by_global_norm(gradients, self.grad_clip)
        weights, buffers = self.optimizer.update(weights, gradients, rate)
        assign(self.optimizer.buffers, buffers)
        assign(net.weight_variables, packed.weights.unpack(weights))
        assign(net.state_variables, packed.state.unpack(objective.state))
        return {"loss": loss, "gradient_norm": norm, "outputs": objective.logits}


def count_correct(logits, labels):
    """Returns how many of `(N, classes)` logits are largest at their label, a scalar int32."""
    hits = tf.equal(tf.argmax(logits, -1, output_type=labels.dtype), labels)
    return tf.reduce_sum(tf.cast(hits, tf.int32))


class BilevelStep:
    """What every search step is made of: the derivatives, both optimisers, the architect, the step of the weights.

    Args:
        supernet: See `architect`.
        config: A `config.Search`.
        loss: See `SupernetLoss`.
        parts: See `passes`.
        momentum: Of the weights' SGD.
        virtual_step: `(functions, optimizer) -> VirtualStep`; unclipped for None.
        trace: How the derivatives are traced; `None` leaves them eager, for debugging.
        measure: See `SupernetLoss`.
    """

    def __init__(self, supernet, config, loss, parts, momentum, virtual_step=None, trace=traced, measure=None):
        self.supernet, self.config = supernet, config
        trace, joint = None if config.jit_compile else trace, config.order == "second"
        self.functions = functions = SupernetLoss(supernet, loss, trace, joint, measure=measure, **parts)
        weights = functions.weights.pack(supernet.weight_variables)
        self.weight_optimizer = SGD(weights, momentum, config.weight_decay)
        self.alpha_optimizer = Adam(
            [v.value for v in supernet.arch_variables],
            config.arch_learning_rate,
            config.arch_beta1,
            config.arch_beta2,
            config.arch_epsilon,
            config.arch_weight_decay,
        )
        self.weight_step = WeightStep(functions, self.weight_optimizer, config.grad_clip)
        self.architect = Architect(
            functions,
            self.weight_optimizer,
            self.alpha_optimizer,
            config.order,
            config.hvp,
            config.hvp_radius,
            config.arch_bn_updates,
            virtual_step and virtual_step(functions, self.weight_optimizer),
        )

    @property
    def variables(self) -> dict[str, list]:
        """Everything a step writes, by name: what a checkpoint has to hold."""
        net = self.supernet
        return {
            "weights": net.weight_variables,
            "alphas": net.arch_variables,
            "state": net.state_variables,
            "weight_optimizer": self.weight_optimizer.variables,
            "alpha_optimizer": self.alpha_optimizer.variables,
        } | scale_of(self.functions)


class SearchStep(BilevelStep):
    """Moves alphas on validation data, then weights on training data.

    Args:
        supernet: See `architect`.
        config: A `config.SearchConfig`.
        trace: See `BilevelStep`.
        distribution: See `passes`.
    """

    def __init__(self, supernet, config, trace=traced, distribution=None):
        parts = passes(config, distribution, (0, 0), 0)
        super().__init__(supernet, config, cross_entropy, parts, config.momentum, trace=trace)

    @undone_on_overflow
    def __call__(self, train_batch, valid_batch, rate, move_alphas: bool = True) -> dict:
        """Takes one step.

        Args:
            train_batch: `(images, labels)`.
            valid_batch: `(images, labels)` of other examples.
            rate: Learning rate of the weights, also the xi of the second order.
            move_alphas: Whether alphas move; not in warm-up epochs.

        Returns:
            Scalars: `valid_loss` (where alphas moved), `loss`, `correct` (training examples classified rightly),
            `gradient_norm` before clipping; and the training `logits`.
        """
        report, weights = {}, self.functions.weights.pack(self.supernet.weight_variables)
        if move_alphas:
            report["valid_loss"] = self.architect.step(train_batch, valid_batch, rate, weights)
        report |= self.weight_step(train_batch, rate, weights)
        report["logits"] = report.pop("outputs")
        return report | {"correct": count_correct(report["logits"], train_batch[1])}


class TrainStep:
    """Trains a derived network: loss of the classifier and of the auxiliary head, drop path, momentum SGD.

    Args:
        network: A `conv.derived.DerivedNetwork`.
        config: A `config.TrainConfig`.
        trace: See `BilevelStep`.
        distribution: See `passes`.
    """

    def __init__(self, network, config, trace=traced, distribution=None):
        self.network, self.config = network, config
        trace = None if config.jit_compile else trace
        parts = passes(config, distribution, ((0, 1), 0), (0, 0))
        self.functions = functions = SupernetLoss(network, self.loss, trace, strict=False, **parts)
        weights = functions.weights.pack(network.weight_variables)
        self.optimizer = SGD(weights, config.momentum, config.weight_decay)
        self.weight_step = WeightStep(functions, self.optimizer, config.grad_clip)

    @property
    def variables(self) -> dict[str, list]:
        """Everything a step writes, by name: what a checkpoint has to hold."""
        net = self.network
        return {
            "weights": net.weight_variables,
            "state": net.state_variables,
            "weight_optimizer": self.optimizer.variables,
        } | scale_of(self.functions)

    def loss(self, outputs, labels):
        """Returns the loss of `(logits, auxiliary logits or None)`."""
        logits, auxiliary = outputs
        loss = cross_entropy(logits, labels, self.config.label_smoothing)
        if auxiliary is None:
            return loss
        return loss + self.config.auxiliary_weight * cross_entropy(auxiliary, labels, self.config.label_smoothing)

    @undone_on_overflow
    def __call__(self, batch, rate, drop_probability, seed) -> dict:
        """Takes one step.

        Args:
            batch: `(images, labels)`.
            rate: Learning rate.
            drop_probability: Of drop path, in [0, 1); not looked at where the config has none.
            seed: `(2,)` integers: which operations are dropped.

        Returns:
            Scalars `loss`, `correct`, `gradient_norm`.
        """
        images, labels = batch
        size = images.shape[0] or tf.shape(images)[0]
        drop = self.network.drop_factors(size, drop_probability, seed) if self.config.drop_path else None
        report = self.weight_step(((images, drop), labels), rate)
        return report | {"correct": count_correct(report.pop("outputs")[0], labels)}
