"""The experiments on texts as data; see `config` for those on images."""

import dataclasses
from typing import Any, Self

from darts_tf.config import Run, Search
from darts_tf.config.fields import Check, at_least, between, changed, field, fraction, one_of
from darts_tf.genotypes import RECURRENT_PRIMITIVES

DEFECTS = ("clip_coefficient", "redrawn_masks", "still_embedding", "shared_norm", "plain_virtual_step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageRun(Run):
    """What every run on texts has: the text, the size of the network, its dropout, its penalties."""

    learning_rate: float = changed(Run, "learning_rate", 20.0)
    grad_clip: float = changed(Run, "grad_clip", 0.25)
    weight_decay: float = changed(Run, "weight_decay", 5e-7)

    # The text.
    dataset: str = field(
        "folder", "the text; english is embedded; folder = data_dir, and implied by it", one_of("english", "folder")
    )
    data_dir: str = field(
        "", "a folder with train.txt, valid.txt and test.txt, or the original names", None, True, True
    )
    vocabulary_size: int = field(0, "keep only that many words, the most frequent; 0 = all", at_least(0))
    max_train_words: int = field(0, "use only so many words of the training text; 0 = all", at_least(0))
    valid_words: int = field(0, "how many words of the validation text are evaluated; 0 = all", at_least(0))
    valid_batch_size: int = field(10, "rows that the validation text is read in", between(1, 1_000_000))
    bptt: int = field(35, "words that a gradient goes back; some windows have half", between(2, 100_000))

    # The network.
    space: str = field(
        "recurrent", "search space: recurrent, or one that Python code has added", Check("a name", str.isidentifier)
    )
    num_units: int = field(300, "width of words and states", between(1, 100_000))
    dropout: float = field(0.75, "of the states that the decoder sees", fraction())
    dropout_hidden: float = field(0.25, "of the states that go round", fraction())
    dropout_x: float = field(0.75, "of the words inside the cell", fraction())
    dropout_input: float = field(0.2, "of the words before the cell", fraction())
    dropout_embedding: float = field(0.0, "of whole words of the vocabulary", fraction())
    activation_penalty: float = field(0.0, "weight of the mean square of the states", at_least(0))
    slowness_penalty: float = field(1e-3, "weight of the mean square of the states' changes", at_least(0))

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.dataset == "english" and self.data_dir != "",
            f"data_dir must be empty when dataset=english, which is embedded; dataset=folder reads it. "
            f"Received: data_dir={self.data_dir}",
        )

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; a `data_dir` is read, so `dataset` is `folder` unless it is named, too."""
        implied = {"dataset": "folder"} if changes.get("data_dir") else {}
        return super().replace(**(implied | changes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageSearchConfig(LanguageRun, Search):
    """One search for a recurrent cell; the defaults are the Penn Treebank search of the original code.

    Reference: Liu et al., arXiv:1806.09055, section 3.1.2 and appendix A.1; `rnn/train_search.py` and
    `rnn/architect.py` of quark0/darts at f276dd3.
    """

    kind = "language_search"
    binary = "darts-search"

    batch_size: int = changed(Run, "batch_size", 256)
    seed: int = changed(Run, "seed", 3)
    num_nodes: int = changed(Search, "num_nodes", 8)
    primitives: tuple = changed(Search, "primitives", RECURRENT_PRIMITIVES)
    arch_learning_rate: float = changed(Search, "arch_learning_rate", 3e-3)
    arch_beta1: float = changed(Search, "arch_beta1", 0.9)
    reproduce: tuple = field(
        (),
        f"the original's defects to bring back: {', '.join(DEFECTS)}",
        Check(f"some of {', '.join(DEFECTS)}", lambda value: set(value) <= set(DEFECTS)),
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.batch_size < 2 * self.accumulate,
            "batch_size must leave two rows to each part, since batch norm makes zeros of a single one. "
            f"Received: batch_size={self.batch_size}, accumulate={self.accumulate}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageTrainConfig(LanguageRun):
    """One training of a derived recurrent cell; the defaults are the Penn Treebank evaluation of the original code.

    Attributes: See `config.TrainConfig`.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and appendix A.2; `rnn/train.py` of quark0/darts at f276dd3.
    """

    kind = "language_train"
    binary = "darts-train"
    metric, better = "perplexity", "lower"

    epochs: int = changed(Run, "epochs", 8000)
    seed: int = changed(Run, "seed", 1267)
    weight_decay: float = changed(Run, "weight_decay", 8e-7)
    num_units: int = changed(LanguageRun, "num_units", 850)
    dropout_embedding: float = changed(LanguageRun, "dropout_embedding", 0.1)
    genotype: str = field(
        "DARTS_V2", "the cell: a published name, a file, a search's work directory, or the text", is_path=True
    )
    bptt_deviation: float = field(5.0, "standard deviation of the windows' lengths; 0 = none", at_least(0))
    test_batch_size: int = field(1, "rows that the test text is read in", between(1, 1_000_000))
    nonmono: int = field(
        5,
        "weights are averaged from when the validation loss is above the least of all but the last so many; 0 = never",
        at_least(0),
    )
    max_rollbacks: int = field(
        3, "how often a loss that is not finite sends the run back to its last checkpoint", at_least(0)
    )
    rollback_rate: float = field(
        0.5,
        "factor of the learning rate at each of these",
        Check("above 0 and at most 1", lambda value: 0 < value <= 1),
    )
    bits_per_character: bool = field(False, "tell bits per character, too", None, True)
