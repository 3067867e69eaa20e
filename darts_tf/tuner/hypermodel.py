"""Derived networks as Keras models, described by hyperparameters and trained by `fit`."""

from collections.abc import Callable, Sequence

import keras
import keras_tuner
import tensorflow as tf

from darts_tf.spaces.conv.fitted import FittedNetwork
from darts_tf.spaces.dropping import Dropping
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError
from darts_tf.tuner.space import Space, genotype_from


@keras.saving.register_keras_serializable(package="darts_tf")
class FittedLanguageModel(Dropping, RecurrentNetwork):
    """A `RecurrentNetwork` for `fit`: batch axis first, each window from a zero state, its own `dropout`.

    Dropout applies to embedded words and to the states that the decoder sees. The state is not carried from window to
    window, as in `darts-train`, since `fit` shuffles batches.
    """

    rate = "dropout"

    def call(self, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:  # type: ignore[override]  # as `fit` calls it
        """Returns the logits `(batch, length, vocabulary_size)` of tokens `(batch, length)`, integers."""
        drawn = None
        if training and self.dropout:
            rates, batch = masks.Masks(x=self.dropout, output=self.dropout), tf.shape(tokens)[0]
            seed = tf.cast(self.drop_seeds.next(), tf.int64)
            drawn = masks.draw(seed, rates, batch, self.units, self.vocabulary_size, self.compute_dtype)
        return self._logits_of_texts(tokens, drawn)


class GenotypeHyperModel(keras_tuner.HyperModel):
    """Builds the compiled network of a trial's genotype: for images, or with a `vocabulary_size` a language model.

    A hyperparameter with the name of a setting below replaces it: declare `learning_rate`, `init_channels`,
    `num_cells`, `momentum`, `drop_path`, `weight_decay`, `num_units` or `dropout` in the oracle's `hyperparameters` to
    tune it with the cells. With an oracle that does not know genotypes (`keras_tuner.RandomSearch`, `Hyperband`), the
    paper's space is declared.

    Keras' SGD differs from the paper's optimiser in details (weight decay, velocity): it is good for ranking cells,
    while `darts-train` trains the winner by the paper's rules.

    Args:
        input_shape: `(height, width, channels)` of the images, which are normalised as you like.
        num_classes: Number of classes; labels are integers.
        init_channels: Channels of the first cells, even.
        num_cells: Number of cells, at least 3.
        learning_rate: Learning rate of SGD, whose gradient is clipped to a global norm of 5.
        momentum: Momentum of SGD, in [0, 1).
        drop_path: Probability of drop path, constant over the epochs.
        weight_decay: Decoupled decay, as in `keras.optimizers.SGD`.
        optimizer: `(hp) -> keras.optimizers.Optimizer`, instead of that SGD.
        num_nodes: Nodes of a cell in the space that is declared if the oracle has declared none.
        primitives: Operations of that space.
        vocabulary_size: Number of words, above 0 for recurrent cells. Inputs are word numbers `(N, length)`, labels the
            words that follow them, `(N, length)`; the arguments for images are ignored.
        num_units: Width of words and states of a language model.
        dropout: Dropout rate of a language model, see `FittedLanguageModel`.
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        init_channels: int = 16,
        num_cells: int = 8,
        learning_rate: float = 0.025,
        momentum: float = 0.9,
        drop_path: float = 0.0,
        weight_decay: float = 3e-4,
        optimizer: Callable | None = None,
        num_nodes: int | None = None,
        primitives: Sequence[str] | None = None,
        vocabulary_size: int = 0,
        num_units: int = 300,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.vocabulary_size = vocabulary_size
        if not vocabulary_size and len(tuple(input_shape)) != 3:
            raise UserError(f"input_shape must be (height, width, channels). Received: input_shape={input_shape}.")
        self.input_shape, self.num_classes, self.optimizer = tuple(input_shape), num_classes, optimizer
        self.settings = {"init_channels": init_channels, "num_cells": num_cells, "drop_path": drop_path}
        self.settings |= {"learning_rate": learning_rate, "momentum": momentum, "weight_decay": weight_decay}
        self.settings |= {"num_units": num_units, "dropout": dropout}
        self.space = Space.of("recurrent" if vocabulary_size else "conv", num_nodes, primitives)

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declares the space if the oracle has not; `build` only reads it, so a tuner starts with one build."""
        try:
            genotype_from(hp)
        except UserError:
            self.space.declare(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Returns the compiled network of `hp`.

        Raises:
            UserError: The hyperparameters contain no genotype, or a setting is out of its range.
        """
        genotype = genotype_from(hp)
        if genotype.kind != self.space.kind:
            raise UserError(
                f"Expected a {self.space.kind} genotype. Received: a {genotype.kind} one; vocabulary_size says which "
                f"are built, and is {self.vocabulary_size}."
            )
        now = {name: hp.values.get(name, default) for name, default in self.settings.items()}
        if self.vocabulary_size:
            network = FittedLanguageModel(genotype, self.vocabulary_size, now["num_units"], dropout=now["dropout"])
        else:
            sizes = now["init_channels"], now["num_cells"], False  # cells are compared without the auxiliary head
            network = FittedNetwork(genotype, self.num_classes, self.input_shape, *sizes, drop_path=now["drop_path"])
        decay = now["weight_decay"] or None
        network.compile(
            self.optimizer(hp)
            if self.optimizer
            else keras.optimizers.SGD(now["learning_rate"], now["momentum"], weight_decay=decay, global_clipnorm=5.0),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            jit_compile=False,  # Keras would enable it on a GPU, where the first step would then take minutes
        )
        return network
