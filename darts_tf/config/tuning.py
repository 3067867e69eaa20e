"""The settings of a tuning: those of the training that all trials share, and of its proposals. Needs no TensorFlow."""

import dataclasses
from typing import Any, ClassVar

from darts_tf.config import TrainConfig
from darts_tf.config.fields import Check, Config, above, at_least, between, changed, in_group, one_of
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.system.errors import UserError

_method = in_group("method")
ALGORITHMS = ("refine", "random", "halving", "hyperband", "asha")
IN_FULL = ALGORITHMS[:2]  # every trial runs all epochs at once


def rung_epochs(epochs: int, factor: int, rungs: int) -> tuple[int, ...]:
    """The epochs of each rung, ascending: all of them divided by powers of the factor, rounded down."""
    return tuple(epochs // factor**below for below in reversed(range(rungs)))


def check_rungs(algorithm: str, epochs: int, trials: int, factor: int, rungs: int) -> None:
    """Raises a UserError if the first rung has no epoch, or the last one no trial."""
    own, least = f"algorithm={algorithm}, reduction_factor={factor}", factor ** (rungs - 1)
    if least > epochs:
        most = max(each for each in range(1, rungs) if factor ** (each - 1) <= epochs)
        raise UserError(
            f"rungs must be at most {most} with {own}, epochs={epochs}, so that the first rung has at least one "
            f"epoch. Received: rungs={rungs}"
        )
    if least > trials:
        raise UserError(
            f"trials must be at least {least} with {own}, rungs={rungs}, so that one of them is trained to the end; or "
            f"choose fewer rungs. Received: trials={trials}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tune(Config):
    """The settings of every tuning in addition to a training's: trials, and where their genotypes come from.

    Attributes:
        trained: The config class of each trial.
        budget_epochs: Limit of epochs; 0 for no limit.
    """

    binary = "darts-tune"
    trained: ClassVar[type[TrainConfig | LanguageTrainConfig]]

    prior: str = _method(
        "uniform",
        "source of proposals: uniform, a search's work directory, a genotype, or alphas as .npz",
        is_path=True,
    )
    primitives: tuple = _method(
        (),
        "with prior=uniform: operations that proposals may have, comma separated; empty = all of the space",
        Check(
            "different names of operations",
            lambda value: len(set(value)) == len(value) and all(name.isidentifier() for name in value),
        ),
    )
    algorithm: str = _method(
        "refine",
        "refine = all trials in full, proposals follow their scores; random = all in full; halving, hyperband, "
        "asha = few epochs first, the best continue, asha without waiting for the others",
        one_of(*ALGORITHMS),
    )
    trials: int = _method(8, "maximum number of trials", at_least(1), True)
    minutes: float = _method(
        0.0, "start no trial that would probably end after this many minutes; 0 = no limit", at_least(0), True
    )
    budget_epochs: int = _method(
        0, "start no training run that would exceed this many epochs over all trials", at_least(0), True
    )
    reduction_factor: int = _method(
        2, "halving, hyperband, asha: one trial in this many continues, for this many times the epochs", at_least(2)
    )
    rungs: int = _method(
        3, "halving, hyperband, asha: how often trials are compared, the last time after all epochs", between(1, 100)
    )
    random_share: float = _method(
        0.0, "share of the trials that are random cells instead of proposals: 0.5 = half and half", between(0, 1)
    )
    temperature: float = _method(1.0, "divides the alphas; above 1 proposals are closer to uniform", above(0))
    refine: float = _method(0.3, "logits that a choice gains per standard deviation of its trial's score", at_least(0))

    def _check_together(self) -> None:
        super()._check_together()
        training: Any = self  # it also has a training's fields
        self._refuse(
            training.genotype != "",
            f"genotype must be empty, since each trial has its own. Received: genotype={training.genotype}",
        )
        self._refuse(
            self.random_share > 0 and self.prior == "uniform",
            "random_share must be 0 without the proposals of a search, since all cells are random then. "
            f"Received: random_share={self.random_share}, prior=uniform",
        )
        if self.algorithm not in IN_FULL:
            check_rungs(self.algorithm, training.epochs, self.trials, self.reduction_factor, self.rungs)
        first = self.rung_epochs[0]
        self._refuse(
            0 < self.budget_epochs < first,
            f"budget_epochs must be at least {first}, the epochs of the first training run, or left out for no limit. "
            f"Received: budget_epochs={self.budget_epochs}",
        )
        self._refuse(
            training.strategy == "multi_worker",
            "strategy must be none or mirrored, since trials run one after the other on one machine; darts-train "
            "can train the best genotype on several. Received: strategy=multi_worker",
        )

    @property
    def rung_epochs(self) -> tuple[int, ...]:
        """The epochs after which trials are compared, ascending; a single number if all are trained in full."""
        training: Any = self
        return rung_epochs(training.epochs, self.reduction_factor, 1 if self.algorithm in IN_FULL else self.rungs)

    @property
    def objective(self) -> str:
        """The measure by which trials are compared, as summaries name it: always on validation data."""
        return f"valid_{self.trained.metric}"

    def training(self, genotype: str) -> TrainConfig | LanguageTrainConfig:
        """Returns the settings of a trial's training."""
        shared = {each.name: getattr(self, each.name) for each in dataclasses.fields(self.trained)}
        return self.trained(**{**shared, "genotype": genotype})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneConfig(TrainConfig, Tune):
    """One tuning on images."""

    kind, title = "tune", "tuning runs on images"
    binary = Tune.binary
    trained = TrainConfig

    genotype: str = changed(TrainConfig, "genotype", "")

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.train_portion == 1,
            "train_portion must be below 1: trials are compared on held-out training images, never on test images. "
            "Received: train_portion=1.0",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageTuneConfig(LanguageTrainConfig, Tune):
    """One tuning on a text."""

    kind, title = "language_tune", "tuning runs on texts"
    binary = Tune.binary
    trained = LanguageTrainConfig

    genotype: str = changed(LanguageTrainConfig, "genotype", "")


def tuning_of(training: TrainConfig | LanguageTrainConfig, **own: Any) -> TuneConfig | LanguageTuneConfig:
    """Returns the tuning whose trials are trained with these settings.

    Args:
        training: The settings; their genotype is ignored.
        **own: Fields of `Tune`.

    Raises:
        UserError: See `Config`.
    """
    kind = LanguageTuneConfig if isinstance(training, LanguageTrainConfig) else TuneConfig
    return kind(**{**dataclasses.asdict(training), "genotype": "", **own})
