"""The search space of the paper's recurrent cells."""

import keras

from darts_tf.genotypes import RecurrentGenotype
from darts_tf.spaces.recurrent.cells import ACTIVATIONS
from darts_tf.spaces.recurrent.networks import RecurrentNetwork, RecurrentSupernet
from darts_tf.spaces.space import Space


class Recurrent(Space):
    """Recurrent cells of language models, see `Space`."""

    genotype = RecurrentGenotype
    operations = ACTIVATIONS

    def supernet(self, config, method, vocabulary_size: int) -> RecurrentSupernet:
        """Builds the supernet of a `LanguageSearchConfig`."""
        keras.utils.set_random_seed(config.seed)
        return RecurrentSupernet(
            vocabulary_size,
            config.num_units,
            config.num_nodes,
            config.concat,
            config.primitives,
            config.alpha_init,
            config.alpha_init_scale,
            "shared_norm" in config.reproduce,
        )

    def network(self, config, vocabulary_size: int) -> RecurrentNetwork:
        """Builds the derived network of a `LanguageTrainConfig`."""
        keras.utils.set_random_seed(config.seed)
        return RecurrentNetwork(config.genotype, vocabulary_size, config.num_units)
