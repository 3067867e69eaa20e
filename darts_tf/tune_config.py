"""A tuning's settings: those of the training that all its trials share, and of its proposals. No TensorFlow here."""

import dataclasses

from darts_tf.config import TrainConfig
from darts_tf.config_fields import above, at_least, changed, field


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneConfig(TrainConfig):
    """One tuning: trials that each train a proposed genotype by the settings of a `TrainConfig`.

    Its `genotype` stays empty: each trial has its own.
    """

    kind = "tune"
    binary = "darts-tune"

    genotype: str = changed(TrainConfig, "genotype", "")

    prior: str = field(
        "uniform", "where proposals come from: uniform, a search's work directory, a genotype, or alphas as .npz"
    )
    trials: int = field(8, "trials at most", at_least(1), True)
    minutes: float = field(
        0.0, "begin no trial that would probably end after this many minutes; 0 = no limit", at_least(0), True
    )
    temperature: float = field(1.0, "what the alphas are divided by; above 1 towards uniform", above(0))
    refine: float = field(
        0.3, "logits that a choice gains for one standard deviation of its trial's score", at_least(0)
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.genotype != "",
            f"genotype must be empty, since each trial has its own. Received: genotype={self.genotype}",
        )
        self._refuse(
            self.train_portion == 1,
            "train_portion must be below 1: trials are chosen by images that are kept apart, never by test images. "
            "Received: train_portion=1.0",
        )

    def training(self, genotype: str) -> TrainConfig:
        """Returns the settings of a trial's training."""
        shared = {each.name: getattr(self, each.name) for each in dataclasses.fields(TrainConfig)}
        return TrainConfig(**{**shared, "genotype": genotype})
