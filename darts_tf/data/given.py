"""The common part of images and texts passed from Python code: the name of the data set, its parts, progress."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from darts_tf.system.errors import UserError

NAME = "memory"
PARTS = {"train": "train", "validation": "valid", "test": "test"}
"""Key of a dict passed from Python -> the part."""
PROGRESS_SECONDS = 5.0  # between two progress lines about data that take long to read


def check(dataset: str, data: Any) -> None:
    """Raises UserError for the data set `memory` without data, and for data with another data set."""
    if (dataset == NAME) != (data is not None):
        raise UserError(
            "Data set memory is passed from Python: expected data=..., as in darts_tf.search(config, workdir, data=(x, "
            "y)); evaluate and export take them as train does. Received: "
            f"dataset={dataset} {'with' if data is not None else 'without'} data."
        )


def counted(elements: Iterable, title: str, total: int | None, say: Callable[[str], None]) -> Iterator:
    """Yields the elements, and reports every few seconds how many have been read.

    Args:
        elements: Of a data set.
        title: What is read, in the plural, such as "batches for training".
        total: How many there are; None where nobody knows.
        say: Is called with each line.
    """
    said = time.monotonic()
    for number, element in enumerate(elements):
        if time.monotonic() - said > PROGRESS_SECONDS:
            said = time.monotonic()
            say(f"reading {title}: {number:,}" + ("" if total is None else f" of {total:,}"))
        yield element
