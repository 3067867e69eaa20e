"""Experiments on texts; see `images` for those on images."""

import dataclasses
from typing import Any, Self

from darts_tf.config import Run, Search
from darts_tf.config.fields import FRACTION, SHARE, Check, at_least, between, changed, in_group, one_of
from darts_tf.genotypes import RECURRENT_PRIMITIVES

_data, _network, _weights = in_group("data"), in_group("network"), in_group("weights")
_architecture, _method, _run = in_group("architecture"), in_group("method"), in_group("run")
DEFECTS = ("clip_coefficient", "redrawn_masks", "still_embedding", "shared_norm", "plain_virtual_step")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageRun(Run):
    """The settings of every run on texts: the text, the size of the network, its dropout, its penalties."""

    learning_rate: float = changed(Run, "learning_rate", 20.0)
    grad_clip: float = changed(Run, "grad_clip", 0.25)
    weight_decay: float = changed(Run, "weight_decay", 5e-7)

    # The text.
    dataset: str = _data(
        "folder",
        "english (embedded), folder (implied by --data_dir), or memory = passed from Python",
        one_of("english", "folder", "memory"),
    )
    data_dir: str = _data(
        "", "folder with train.txt, valid.txt and test.txt, or with the original names", None, True, True
    )
    vocabulary_size: int = _data(0, "keep this many of the most frequent words; 0 = all", at_least(0))
    max_train_words: int = _data(0, "at most this many words of the training text; 0 = all", at_least(0))
    valid_words: int = _data(0, "words of the validation text that are evaluated; 0 = all", at_least(0))
    valid_batch_size: int = _data(10, "rows in which the validation text is read", between(1, 1_000_000))
    bptt: int = _data(35, "words of backpropagation through time; some windows have half as many", between(2, 100_000))

    # The network.
    space: str = _architecture(
        "recurrent", "search space: recurrent, or one added from Python", Check("a name", str.isidentifier)
    )
    num_units: int = _network(300, "width of word embeddings and states", between(1, 100_000))
    dropout: float = _network(0.75, "dropout of the states before the decoder", FRACTION)
    dropout_hidden: float = _network(0.25, "dropout of the recurrent states", FRACTION)
    dropout_x: float = _network(0.75, "dropout of the words inside the cell", FRACTION)
    dropout_input: float = _network(0.2, "dropout of the words before the cell", FRACTION)
    dropout_embedding: float = _network(0.0, "dropout of whole words of the vocabulary", FRACTION)
    activation_penalty: float = _weights(0.0, "weight of the states' mean square in the loss", at_least(0))
    slowness_penalty: float = _weights(
        1e-3, "weight of the mean square of the states' changes in the loss", at_least(0)
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.dataset != "folder" and self.data_dir != "",
            f"data_dir must be empty when dataset={self.dataset}; dataset=folder uses it. Received: "
            f"data_dir={self.data_dir}",
        )

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; with a `data_dir`, `dataset` becomes `folder` unless it is also given."""
        implied = {"dataset": "folder"} if changes.get("data_dir") else {}
        return super().replace(**(implied | changes))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageSearchConfig(LanguageRun, Search):
    """One search for a recurrent cell; the defaults are the Penn Treebank search of quark0/darts.

    Reference: Liu et al., arXiv:1806.09055, section 3.1.2 and appendix A.1; `rnn/train_search.py` and
    `rnn/architect.py` of the original at f276dd3.

    Example:
        >>> import darts_tf
        >>> darts_tf.LanguageSearchConfig(data_dir="texts", dataset="folder", num_units=100).num_units
        100
    """

    kind, title = "language_search", "searches on texts"
    binary = "darts-search"

    batch_size: int = changed(Run, "batch_size", 256)
    seed: int = changed(Run, "seed", 3)
    num_nodes: int = changed(Search, "num_nodes", 8)
    primitives: tuple = changed(Search, "primitives", RECURRENT_PRIMITIVES)
    arch_learning_rate: float = changed(Search, "arch_learning_rate", 3e-3)
    arch_beta1: float = changed(Search, "arch_beta1", 0.9)
    darts_pt_learning_rate: float = changed(Search, "darts_pt_learning_rate", 2.0)  # a tenth of the search's, as there
    reproduce: tuple = _method(
        (),
        f"defects of quark0/darts to reproduce: {', '.join(DEFECTS)}",
        Check(f"some of {', '.join(DEFECTS)}", lambda value: set(value) <= set(DEFECTS)),
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.batch_size < 2 * self.accumulate,
            "batch_size must give each micro-batch at least two rows, since batch norm turns a single row into "
            f"zeros. Received: batch_size={self.batch_size}, accumulate={self.accumulate}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageTrainConfig(LanguageRun):
    """One training of a derived recurrent cell; the defaults are those of quark0/darts on Penn Treebank.

    Attributes: See `config.TrainConfig`.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and appendix A.2; `rnn/train.py` of the original at f276dd3.

    Example:
        >>> import darts_tf
        >>> darts_tf.LanguageTrainConfig(genotype="DARTS_V2", num_units=200).genotype
        'DARTS_V2'
    """

    kind, title = "language_train", "training runs on texts"
    binary = "darts-train"
    metric, better = "perplexity", "lower"

    epochs: int = changed(Run, "epochs", 8000)
    seed: int = changed(Run, "seed", 1267)
    weight_decay: float = changed(Run, "weight_decay", 8e-7)
    num_units: int = changed(LanguageRun, "num_units", 850)
    dropout_embedding: float = changed(LanguageRun, "dropout_embedding", 0.1)
    genotype: str = _network(
        "DARTS_V2", "cell: a published name, a file, a search's work directory, or the text", is_path=True
    )
    bptt_deviation: float = _data(5.0, "standard deviation of the windows' lengths; 0 = none", at_least(0))
    test_batch_size: int = _data(1, "rows in which the test text is read", between(1, 1_000_000))
    nonmono: int = _weights(
        5,
        "average weights once the validation loss exceeds the minimum of all but the last N epochs; 0 = never",
        at_least(0),
    )
    max_rollbacks: int = _run(
        3, "maximum number of roll-backs to a checkpoint after a loss that is not finite", at_least(0)
    )
    rollback_rate: float = _run(0.5, "factor by which each roll-back changes the learning rate", SHARE)
    bits_per_character: bool = _run(False, "also report bits per character", None, True)
