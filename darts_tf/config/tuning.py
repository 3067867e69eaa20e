"""The settings of a tuning: those of the training that all trials share, and of its proposals. No TensorFlow here."""

import dataclasses
from typing import Any, ClassVar

from darts_tf.config import TrainConfig
from darts_tf.config.fields import Config, above, at_least, changed, in_group
from darts_tf.config.language import LanguageTrainConfig

_method = in_group("method")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tune(Config):
    """The settings of every tuning in addition to a training's: trials, and where their genotypes come from.

    Attributes:
        trained: What each trial is a run of.
    """

    binary = "darts-tune"
    trained: ClassVar[type[TrainConfig | LanguageTrainConfig]]

    prior: str = _method(
        "uniform",
        "source of proposals: uniform, a search's work directory, a genotype, or alphas as .npz",
        is_path=True,
    )
    trials: int = _method(8, "maximum number of trials", at_least(1), True)
    minutes: float = _method(
        0.0, "start no trial that would probably end after this many minutes; 0 = no limit", at_least(0), True
    )
    temperature: float = _method(1.0, "divides the alphas; above 1 proposals are closer to uniform", above(0))
    refine: float = _method(
        0.3, "logits that a choice gains for one standard deviation of its trial's score", at_least(0)
    )

    def _check_together(self) -> None:
        super()._check_together()
        training: Any = self  # it has a training's fields, too
        self._refuse(
            training.genotype != "",
            f"genotype must be empty, since each trial has its own. Received: genotype={training.genotype}",
        )
        self._refuse(
            training.strategy == "multi_worker",
            "strategy must be none or mirrored, since trials run one after the other on one machine; darts-train "
            "can train the best genotype on several. Received: strategy=multi_worker",
        )

    @property
    def objective(self) -> str:
        """What trials are compared by, as their summaries name it: always of validation data."""
        return f"valid_{self.trained.metric}"

    def training(self, genotype: str) -> TrainConfig | LanguageTrainConfig:
        """Returns the settings of a trial's training."""
        shared = {each.name: getattr(self, each.name) for each in dataclasses.fields(self.trained)}
        return self.trained(**{**shared, "genotype": genotype})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneConfig(TrainConfig, Tune):
    """One tuning on images."""

    kind, title = "tune", "tunings on images"
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

    kind, title = "language_tune", "tunings on texts"
    binary = Tune.binary
    trained = LanguageTrainConfig

    genotype: str = changed(LanguageTrainConfig, "genotype", "")


def tuning_of(training: TrainConfig | LanguageTrainConfig, **own: Any) -> TuneConfig | LanguageTuneConfig:
    """The tuning whose trials are trained by some settings.

    Args:
        training: The settings; their genotype is ignored.
        **own: Fields of `Tune`.

    Raises:
        UserError: As `Config`.
    """
    kind = LanguageTuneConfig if isinstance(training, LanguageTrainConfig) else TuneConfig
    shared = {each.name: getattr(training, each.name) for each in dataclasses.fields(training)}
    return kind(**{**shared, "genotype": "", **own})
