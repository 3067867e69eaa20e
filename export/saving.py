"""What a served model is made of, and how it is written: a SavedModel with what its signatures read, nothing else."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from darts_tf.export.verify import Case
from darts_tf.system.errors import UserError


class Served(NamedTuple):
    """What an export has to know of a trained network, whatever data it is for.

    Attributes:
        endpoints: Returns concrete functions by the name of their signature.
        asset: Name of the text file among the assets that says what the outputs stand for.
        asset_text: Its content.
        cases: Real data and what the network itself gives for them.
        requests: `(signature, inputs)` of the requests that warm a server up.
        data: What the data are, in words.
        card: The part of the model card that is about this kind of data.
        checks: Returns what the card says of the checks, from what `verify.check` returns.
        lowered: Where TFLite files are to be made: `endpoints` of the network that they are made of.
        labels: The same: the right answers to the first case.
        calibration: The same: `(n, H, W, C)` float32, see `tflite.convert`.
    """

    endpoints: Callable[[], dict]
    asset: str
    asset_text: str
    cases: list[Case]
    requests: list[tuple[str, dict[str, np.ndarray]]]
    data: str
    card: dict[str, Any]
    checks: Callable[[dict], dict]
    lowered: Callable[[], dict] | None = None
    labels: Any = None
    calibration: Any = None


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turns TensorFlow's own way to say that a disk is full into one line.

    Raises:
        UserError: A file cannot be written.
    """
    try:
        yield
    except tf.errors.OpError as error:
        line = re.sub(r"\{\{.*?\}\} ?| \[Op:\w+\]", "", (str(error).splitlines() or [""])[0])
        raise UserError(f"Cannot write the model: {line}. Nothing was published.") from error


def save(endpoints: dict, path: str | os.PathLike, asset: str | os.PathLike) -> int:
    """Writes a SavedModel.

    Args:
        endpoints: Concrete functions by the name of their signature.
        path: A new folder.
        asset: A file that becomes an asset of its own name: `labels.txt`, or `vocabulary.txt`.

    Returns:
        How many numbers the variables hold.
    """
    module = tf.Module()
    # Only the variables that the graphs read, each once. Tracking the Keras model would store all of them twice, with
    # those of the auxiliary head and of the batch norms that have been folded away.
    module.weights = list({id(v): v for f in endpoints.values() for v in _variables(f.graph)}.values())
    module.labels = tf.saved_model.Asset(os.fspath(asset))
    # A served model is not trained: without the gradients of our convolutions the file is smaller and written faster.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, os.fspath(path), signatures=endpoints, options=options)
    return sum(v.shape.num_elements() for v in module.weights)


def _variables(graph: tf.Graph) -> list:
    """The variables that a graph reads, in the order of their first use: TensorFlow's own is that of a set."""
    owners = {id(v.handle): v for v in graph.variables}
    return [owners[id(tensor)] for tensor in graph.external_captures if id(tensor) in owners]
