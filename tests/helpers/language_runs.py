"""Small trainings of language models in this process."""

from darts_tf.config.language import LanguageTrainConfig
from darts_tf.tasks import train as tasks_train
from tests.helpers.runs import Console

CELL = "Genotype(recurrent=[('tanh', 0), ('relu', 1), ('sigmoid', 0)], concat=range(1, 4))"
SMALL = {"num_units": 6, "batch_size": 4, "valid_batch_size": 2, "bptt": 6, "epochs": 3, "tensorboard": False}
STRONG = {"dropout": 0.3, "dropout_hidden": 0.2, "dropout_x": 0.3, "dropout_input": 0.2}


def settings(texts, **changes):
    own = {"genotype": CELL, "data_dir": str(texts), "bptt_deviation": 1.0, "test_batch_size": 2, "nonmono": 0}
    return LanguageTrainConfig(**{**SMALL, **STRONG, **own, "learning_rate": 5.0, **changes})


def train(workdir, config, console=None):
    console = console or Console()
    return tasks_train.train(config, workdir, out=console), console.getvalue()
