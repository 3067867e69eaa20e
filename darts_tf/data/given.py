"""The common part of images and texts passed from Python code: the name of the data set, and of its parts."""

from typing import Any

from darts_tf.system.errors import UserError

NAME = "memory"
PARTS = {"train": "train", "validation": "valid", "test": "test"}
"""Key of a dict passed from Python -> the part."""


def check(dataset: str, data: Any) -> None:
    """Raises UserError for the data set `memory` without data, and for data with another data set."""
    if (dataset == NAME) != (data is not None):
        raise UserError(
            "Data set memory is what Python code hands over: expected darts_tf.search(config, workdir, data=...), or "
            f"train or evaluate. Received: dataset={dataset} {'with' if data is not None else 'without'} data."
        )
