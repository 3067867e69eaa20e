"""A tuner whose trials are this package's trainings, continued by promotions."""

import os
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial

from darts_tf.config import TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.tasks.train import train
from darts_tf.tasks.trained import load_network
from darts_tf.tuner.rungs import EPOCHS, FIRST
from darts_tf.tuner.space import genotype_from


class TrainingTuner(keras_tuner.Tuner):
    """Trains the genotype of each trial as `darts-train` does, by the paper's rules.

    A trial promoted by `DartsOracle` continues the training that it names from its checkpoint, bit for bit as if there
    had been no pause, and so does a trial whose process was killed. Several workers share the project's directory. The
    objective is `valid_accuracy` or `valid_perplexity`: `keras_tuner.Objective("valid_accuracy", "max")`.

    Args:
        oracle: A `DartsOracle`, whose `max_epochs` are `config.epochs`; or another oracle of genotypes.
        config: The settings of every trial; their genotype is ignored.
        **settings: Arguments of `keras_tuner.Tuner`: `directory`, `project_name`, `overwrite`.
    """

    def __init__(self, oracle: keras_tuner.Oracle, config: TrainConfig | LanguageTrainConfig, **settings: Any):
        self.config = config
        super().__init__(oracle=oracle, **settings)

    def _directory(self, trial):
        first = trial.hyperparameters.values.get(FIRST, trial.trial_id)
        return os.path.join(self.project_dir, "trainings", first)

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains for the trial's epochs, or resumes its training.

        Args:
            trial: A trial of the oracle.
            *args: Not used.
            **kwargs: Not used.

        Returns:
            The objective, of the best epoch so far.

        Raises:
            KeyboardInterrupt: The training was stopped, and has saved.
        """
        keras.backend.clear_session()
        config = self.config.replace(genotype=genotype_from(trial.hyperparameters).to_text())
        summary = train(config, self._directory(trial), until=trial.hyperparameters.values.get(EPOCHS))
        if summary is None:
            raise KeyboardInterrupt
        return {f"valid_{config.metric}": summary[f"valid_{config.metric}"]}

    def load_model(self, trial: Trial) -> keras.Model:
        """Returns the network of a trial's best epoch; called by `get_best_models`."""
        return load_network(os.path.join(self._directory(trial), "best.keras"))
