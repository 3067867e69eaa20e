"""Derived language models as Keras models that `fit` trains: windows of words in, the words that follow them out."""

import keras
import tensorflow as tf

from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError


@keras.saving.register_keras_serializable(package="darts_tf")
class FittedLanguageModel(RecurrentNetwork):
    """A `RecurrentNetwork` for `fit`: the batch first, each window from a zero state, its own dropout.

    Carrying the state from window to window, as `darts-train` does, is not what `fit` shuffles batches for.

    Args:
        genotype: See `RecurrentNetwork`.
        vocabulary_size: Number of words.
        units: Width of words and states.
        dropout: Of the embedded words and of the states that the decoder sees, in [0, 1).
        drop_seed: Seed of the masks.
        **kwargs: Of `keras.Model`.
    """

    def __init__(self, genotype, vocabulary_size, units=300, dropout=0.0, drop_seed=0, **kwargs):
        if not 0 <= dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1. Received: dropout={dropout}.")
        self.dropout, self.drop_seed = dropout, drop_seed
        super().__init__(genotype, vocabulary_size, units, **kwargs)

    def build(self, tokens_shape):
        """Makes the state of the draws."""
        self.drop_seeds = keras.random.SeedGenerator(self.drop_seed) if self.dropout else None

    def call(self, tokens, training=False):
        """Returns the logits `(batch, length, vocabulary_size)` of tokens `(batch, length)`, integers."""
        drawn = None
        if training and self.dropout:
            rates = masks.Masks(x=self.dropout, output=self.dropout)
            seed = tf.cast(self.drop_seeds.next(), tf.int64)
            batch = tf.shape(tokens)[0]
            drawn = masks.draw(seed, rates, batch, self.units, self.vocabulary_size, self.compute_dtype)
        return self._logits_of_texts(tokens, drawn)

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "dropout": self.dropout, "drop_seed": self.drop_seed}
