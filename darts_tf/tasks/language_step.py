"""One step of a search for a recurrent cell, and one of training a derived one; see `step` for those on images."""

from typing import NamedTuple

import tensorflow as tf

from darts_tf.bilevel.architect import SupernetLoss, VirtualStep, cross_entropy
from darts_tf.bilevel.optimizers import ASGD, SGD
from darts_tf.bilevel.step import BilevelStep, WeightStep, passes, scale_of, traced
from darts_tf.data.text.windows import DRAWN, START
from darts_tf.passes.loss_scale import undone_on_overflow
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.losses import SequenceLoss
from darts_tf.spaces.recurrent.networks import Inputs

# Where the rows of a batch lie, see `Accumulation`: all rows share the dropped words of the vocabulary.
BATCH = Inputs(1, 0, masks.Masks(None, 0, 0, 0, 0)), (1, None)
FIRST_PASS = 1000  # of the original's masks: those of pass n are drawn by this number plus n


class PenalisedLoss:
    """The loss of `(targets, factor)`: cross-entropy in nats per word, and `factor` times the penalties.

    The factor is a tensor, 1 for the training text and 0 for the validation text, so that both share their traces.

    Args:
        config: A `LanguageRun`: its penalties.
    """

    def __init__(self, config):
        self.penalty = SequenceLoss(config.activation_penalty, config.slowness_penalty).penalty

    def __call__(self, outputs, labels):
        """Returns the loss, a scalar, of `networks.Outputs`."""
        targets, factor = labels
        return cross_entropy(outputs.logits, targets) + factor * self.penalty(outputs)

    def measure(self, loss, outputs, labels) -> "Measured":
        """Returns what `SupernetLoss` tells of a pass; the entropy not a second time from the logits."""
        return Measured(loss - labels[1] * self.penalty(outputs), outputs.state)


class Measured(NamedTuple):
    """What a pass over a window tells beside its derivatives; the logits are many and stay where they are.

    Attributes:
        entropy: Mean cross-entropy in nats per word, without the penalties.
        state: The state that the window ends in, `(batch, units)`.
    """

    entropy: tf.Tensor
    state: tf.Tensor


MEASURED = Measured(None, 0)  # where the rows of a batch lie in it


class Text:
    """Turns a text's windows into what a network reads; remembers the state where the last one ended.

    Args:
        network: A language model.
        config: A `LanguageRun`: its dropout.
        batch_size: Rows.

    Attributes:
        state: `(batch, units)`, a variable.
    """

    def __init__(self, network, config, batch_size: int):
        self.network, self.batch_size = network, batch_size
        self.rates = masks.Masks(
            config.dropout_embedding,
            config.dropout_input,
            config.dropout_x,
            config.dropout_hidden,
            config.dropout,
        )
        self.state = tf.Variable(network.initial_state(batch_size), trainable=False)

    def batch(self, piece, seed, factor: float):
        """Returns `(inputs, labels)`, see `PenalisedLoss`.

        Args:
            piece: `(tokens, targets, window)`, see `windows.batches`; a text's first window starts from zeros.
            seed: `(2,)` integers, of the masks.
            factor: Of the penalties.
        """
        tokens, targets, window = piece
        state = tf.where(window[START] == 0, tf.zeros_like(self.state), self.state)
        net = self.network
        drawn = masks.draw(seed, self.rates, self.batch_size, net.units, net.vocabulary_size, state.dtype)
        return Inputs(tokens, state, drawn), (targets, tf.constant(factor, state.dtype))


def scaled(rate, piece, bptt: int):
    """Returns the learning rate for a window: in proportion to its length, as it was drawn."""
    return rate * tf.cast(piece[2][DRAWN], rate.dtype) / bptt


def report(found, piece) -> dict:
    """Returns a weight step's scalars: `loss` with the penalties, `nats` summed over time, `length`, `gradient_norm`.

    `nats / length` is the mean cross-entropy of the text, in which every word counts as much, whatever its window.
    """
    entropy, length = found["outputs"].entropy, tf.shape(piece[1])[0]
    nats = entropy * tf.cast(length, entropy.dtype)
    return {"loss": found["loss"], "gradient_norm": found["gradient_norm"], "nats": nats, "length": length}


class LanguageSearchStep(BilevelStep):
    """Moves alphas on the validation text, then weights on the training text.

    All passes over one window see the same masks, and the virtual step is the real one: its loss has the same
    penalties. Deviation: the original draws masks anew for each pass, and its virtual step leaves the penalties out;
    `redrawn_masks` and `plain_virtual_step` in `config.reproduce` bring that back.

    Args:
        supernet: A `RecurrentSupernet`.
        config: A `LanguageSearchConfig`.
        trace: See `step.BilevelStep`.
        distribution: See `step.passes`.
    """

    def __init__(self, supernet, config, trace=traced, distribution=None):
        limited = "clip_coefficient" not in config.reproduce
        still = (0,) if "still_embedding" in config.reproduce else ()
        loss = PenalisedLoss(config)
        super().__init__(
            supernet,
            config,
            loss,
            passes(config, distribution, BATCH, MEASURED),
            momentum=0.0,
            virtual_step=lambda *made: VirtualStep(*made, config.grad_clip, limited, still),
            trace=trace,
            measure=loss.measure,
        )
        self.train, self.valid = (Text(supernet, config, config.batch_size) for _ in range(2))

    @property
    def variables(self) -> dict[str, list]:
        """Everything a step writes, by name: what a checkpoint has to hold."""
        return super().variables | {"hidden": [self.train.state, self.valid.state]}

    @undone_on_overflow
    def __call__(self, train_piece, valid_piece, number, rate, move_alphas: bool = True) -> dict:
        """Takes one step.

        Args:
            train_piece: `(tokens, targets, window)`, see `windows.batches`.
            valid_piece: The same, of the validation text.
            number: Of the step, scalar int64: together with the run's seed it decides the masks.
            rate: Learning rate for a window of the nominal length; also the xi of the second order.
            move_alphas: Whether alphas move; not in warm-up epochs.

        Returns:
            Scalars: `valid_loss` (where alphas moved), and those of `report`.
        """
        c, found = self.config, {}
        rate = scaled(rate, train_piece, c.bptt)
        seeds = [tf.stack([tf.constant(2 * c.seed + stream, tf.int64), number]) for stream in range(2)]
        weights = self.functions.weights.pack(self.supernet.weight_variables)
        batch = self.train.batch(train_piece, seeds[0], 1.0)
        if move_alphas:
            found["valid_loss"] = self.architect.step(
                self._for_alphas(batch, train_piece, seeds[0]),
                self.valid.batch(valid_piece, seeds[1], 0.0),
                rate,
                weights,
            )
            self.valid.state.assign(self.architect.outputs.state)
        moved = self.weight_step(batch, rate, weights)
        self.train.state.assign(moved["outputs"].state)
        return found | report(moved, train_piece)

    def _for_alphas(self, batch, piece, seed):
        """Returns the training batch as the architect's passes see it."""
        factor = 0.0 if "plain_virtual_step" in self.config.reproduce else 1.0
        if "redrawn_masks" not in self.config.reproduce:
            return batch[0], (batch[1][0], tf.constant(factor, batch[0].state.dtype))
        fold = tf.random.experimental.stateless_fold_in
        return lambda number: self.train.batch(piece, fold(seed, FIRST_PASS + number), factor)


class LanguageTrainStep:
    """Trains a derived network: cross-entropy and penalties, dropout, SGD and then averaged SGD.

    Args:
        network: A `RecurrentNetwork`.
        config: A `LanguageTrainConfig`.
        trace: See `step.BilevelStep`.
        distribution: See `step.passes`.
    """

    def __init__(self, network, config, trace=traced, distribution=None):
        self.network, self.config, self.loss = network, config, PenalisedLoss(config)
        self.text = Text(network, config, config.batch_size)
        functions = SupernetLoss(
            network,
            self.loss,
            None if config.jit_compile else trace,
            strict=False,
            measure=self.loss.measure,
            **passes(config, distribution, BATCH, MEASURED),
        )
        self.functions, weights = functions, functions.weights.pack(network.weight_variables)
        self.sgd, self.averaged = SGD(weights, 0.0, config.weight_decay), ASGD(weights, config.weight_decay)
        self.packing = functions.weights
        self.steps = {
            averaging: WeightStep(functions, optimizer, config.grad_clip)
            for averaging, optimizer in ((False, self.sgd), (True, self.averaged))
        }

    @property
    def variables(self) -> dict[str, list]:
        """Everything a step writes, by name: what a checkpoint has to hold."""
        return {
            "weights": self.network.weight_variables,
            "hidden": [self.text.state],
            "averages": self.averaged.variables,
        } | scale_of(self.functions)

    @property
    def averages(self) -> list:
        """The averaged weights, in the order of `network.weight_variables`."""
        return self.packing.unpack([a.value() for a in self.averaged.averages])

    @undone_on_overflow
    def __call__(self, piece, rate, seed, averaging: bool) -> dict:
        """Takes one step.

        Args:
            piece: `(tokens, targets, window)`, see `windows.batches`.
            rate: Learning rate for a window of the nominal length.
            seed: `(2,)` integers, of the masks.
            averaging: Whether it is one of averaged SGD.

        Returns:
            The scalars of `report`.
        """
        batch = self.text.batch(piece, seed, 1.0)
        moved = self.steps[averaging](batch, scaled(rate, piece, self.config.bptt))
        self.text.state.assign(moved["outputs"].state)
        return report(moved, piece)
