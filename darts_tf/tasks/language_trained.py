"""A trained language model in its work directory."""

import os
import pathlib
from typing import Any, NamedTuple

from darts_tf import genotypes
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.text.corpus import Vocabulary
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError
from darts_tf.tasks.language_data import load_facts, load_vocabulary
from darts_tf.tasks.trained import find, load_network


class LanguageModel(NamedTuple):
    """A trained language model and what is known of it.

    Attributes:
        network: A `RecurrentNetwork`.
        genotype: Its cell.
        vocabulary: Its words.
        dataset: Name of the text it was trained on.
        weights: `best` or `last`.
        config: The run's settings.
        summary: What the run found; empty while it goes on.
        path: The work directory.
    """

    network: Any
    genotype: Any
    vocabulary: Vocabulary
    dataset: str
    weights: str
    config: dict
    summary: dict
    path: pathlib.Path


def load_language_model(workdir: str | os.PathLike, weights: str | None = None) -> LanguageModel:
    """Finds the language model of a work directory; arguments as for `trained.load_trained`.

    Raises:
        UserError: There is no trained network, a file is damaged, or its vocabulary is another.
    """
    found = find(workdir, LanguageTrainConfig, weights)
    network, vocabulary = load_network(found.file, RecurrentNetwork), load_vocabulary(found.path)
    if network.vocabulary_size != len(vocabulary):
        raise UserError(
            f"{found.file} has {network.vocabulary_size} words, and vocabulary.txt {len(vocabulary)}. "
            "Expected the same; restore the file."
        )
    name = load_facts(found.path).get("dataset", "")
    genotype = genotypes.load(found.path / "genotype.json", "recurrent")
    return LanguageModel(network, genotype, vocabulary, name, found.file.stem, found.config, found.summary, found.path)
