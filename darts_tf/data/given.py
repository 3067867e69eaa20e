"""What images and texts that Python code hands over have in common: the name of the data set, and of its parts."""

from typing import Any

from darts_tf.system.errors import UserError

NAME = "memory"
PARTS = {"train": "train", "validation": "valid", "test": "test"}
"""Key of a dict that is handed over -> the part."""


def check(dataset: str, data: Any) -> None:
    """Refuses the data set without what is handed over, and the other way round. Raises UserError."""
    if (dataset == NAME) != (data is not None):
        raise UserError(
            "Data set memory is passed from Python: expected darts_tf.search(config, workdir, data=...), or train or "
            f"evaluate. Received: dataset={dataset} {'with' if data is not None else 'without'} data."
        )
