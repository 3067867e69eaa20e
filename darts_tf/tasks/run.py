"""Runs a config of any kind: what `darts-search` and `darts-train` call."""

from collections.abc import Callable

from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.data.text.corpus import silent
from darts_tf.system import keras_settings
from darts_tf.tasks import classification, language_search, language_training
from darts_tf.tasks import search as image_search


def search(config, workdir, out=None, tensorboard=None):
    """Searches a cell: convolutional for a `SearchConfig`, recurrent for a `LanguageSearchConfig`.

    Args:
        config: The settings.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Returns:
        The genotype, or None when it was interrupted: the same call goes on.

    Raises:
        UserError: Bad settings, data or work directory, a full disk, or a loss that is not finite; one line.
    """
    keras_settings.check_mode()
    library = language_search if isinstance(config, LanguageSearchConfig) else image_search
    return library.search(config, workdir, out, tensorboard)


def train(config, workdir, out=None, tensorboard=None):
    """Trains the network of a genotype: on images for a `TrainConfig`, as a language model for a `LanguageTrainConfig`.

    Args:
        config: The settings.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Returns:
        What `summary.json` holds, or None when it was interrupted: the same call goes on.

    Raises:
        UserError: As `search`, or a bad genotype.
    """
    return _training(config).train(config, workdir, out, tensorboard)


def load_data(config, say: Callable[[str], None] = silent):
    """Loads what `train` trains on, a `Data` of either kind.

    Args:
        config: The settings.
        say: Of a text, see `text.load_folder`.

    Raises:
        UserError: The data are missing or bad; one line.
    """
    if isinstance(config, LanguageTrainConfig):
        return language_training.Data(config, say)
    return classification.Data(config)


def _training(config):
    keras_settings.check_mode()
    return language_training if isinstance(config, LanguageTrainConfig) else classification
