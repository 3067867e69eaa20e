"""Work directories of trainings that never ran: the files that `darts-train` leaves, with weights made up."""

import numpy as np

from darts_tf import genotypes
from darts_tf.config import TrainConfig
from darts_tf.data import sources as images
from darts_tf.runs.workdir import write_json
from darts_tf.tasks.image_facts import save_data_facts
from darts_tf.tasks.trained import save_network
from tests.helpers.steps import build_network


def made_up(network, seed=0):
    """Gives a network weights and batch-norm statistics that are not those of its start."""
    random = np.random.default_rng(seed)
    for variable in network.variables:
        if "variance" in variable.path:
            variable.assign(random.uniform(0.5, 2, variable.shape))
        elif "random" not in variable.path and variable.dtype == "float32":
            variable.assign(variable.value + 0.1 * random.standard_normal(variable.shape).astype(np.float32))
    return network


def write(path, genotype="DARTS_V2", seed=0, **settings):
    """Writes a work directory; returns the network."""
    settings = {"dataset": "digits", "init_channels": 4, "num_cells": 3, **settings}
    config = TrainConfig(genotype=genotypes.load(genotype, settings.get("space", "conv")).to_text(), **settings)
    data = images.load(config.dataset, config.data_dir, config.image_size, center_fraction=config.eval_crop)
    network = made_up(build_network(config, data.image_shape, len(data.class_names)), seed)
    path.mkdir(parents=True)
    write_json(path / "config.json", config.to_json())
    save_data_facts(path, data)
    genotypes.save(network.genotype, path / "genotype.json")
    save_network(network, path / "best.keras")
    best = {"epoch": 1, "accuracy": 0.5, "loss": 1.0}
    write_json(path / "summary.json", {"recommended_weights": "best", "selected_on": "validation", "best": best})
    return network
