"""One step of the search: Algorithm 1 of the paper, on one screen."""

import tensorflow as tf

from darts_tf.architect import Architect, BatchObjective, SupernetLoss, values
from darts_tf.bilevel import WEIGHTS
from darts_tf.optimizers import SGD, Adam, assign, clip_by_global_norm


def traced(function):
    """Traces a function once, as a function that the graph calls instead of a copy at every call."""
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


class SearchStep:
    """Moves alphas on validation data, then weights on training data.

    Args:
        supernet: See `architect`.
        config: A `config.SearchConfig`.
        trace: How the derivatives are traced; `None` leaves them eager, for debugging.
    """

    def __init__(self, supernet, config, trace=traced):
        self.supernet = supernet
        self.grad_clip = config.grad_clip
        self.functions = SupernetLoss(
            supernet, trace=None if config.jit_compile else trace, joint=config.order == "second"
        )
        weights = self.functions.weights.pack(supernet.weight_variables)
        self.weight_optimizer = SGD(weights, config.momentum, config.weight_decay)
        self.alpha_optimizer = Adam(
            [v.value for v in supernet.arch_variables],
            config.arch_learning_rate,
            config.arch_beta1,
            config.arch_beta2,
            config.arch_epsilon,
            config.arch_weight_decay,
        )
        self.architect = Architect(
            self.functions,
            self.weight_optimizer,
            self.alpha_optimizer,
            config.order,
            config.hvp,
            config.hvp_radius,
            config.arch_bn_updates,
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
        }

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
        return report

    def weight_step(self, batch, rate, weights) -> dict:
        """Moves weights (given as they are, packed) and batch-norm statistics on a training batch."""
        net = self.supernet
        packed = self.functions
        objective = BatchObjective(packed, batch, packed.state.pack(net.state_variables))
        loss, gradients = objective.gradients(weights, values(net.arch_variables), (WEIGHTS,))
        gradients, norm = clip_by_global_norm(gradients, self.grad_clip)
        weights, buffers = self.weight_optimizer.update(weights, gradients, rate)
        assign(self.weight_optimizer.buffers, buffers)
        assign(net.weight_variables, packed.weights.unpack(weights))
        assign(net.state_variables, packed.state.unpack(objective.state))
        predictions = tf.argmax(objective.logits, -1, output_type=batch[1].dtype)
        correct = tf.reduce_sum(tf.cast(tf.equal(predictions, batch[1]), tf.int32))
        return {"loss": loss, "correct": correct, "gradient_norm": norm, "logits": objective.logits}
