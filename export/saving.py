"""The contents of a served model, and writing it: a SavedModel with only what its signatures read."""

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
    """What an export needs to know about a trained network, for any kind of data.

    Attributes:
        endpoints: Returns concrete functions by the name of their signature.
        asset: Name of the text file among the assets that describes the outputs.
        asset_text: Its content.
        cases: Real data and the network's own outputs for them.
        requests: `(signature, inputs)` of the requests that warm up a server.
        data: Description of the data, in words.
        card: The part of the model card about this kind of data.
        checks: Maps the result of `verify.check` to the card's part about the checks.
        lowered: If TFLite files are to be written: `endpoints` of the network from which they are made.
        labels: For TFLite files: the correct answers to the first case.
        calibration: For TFLite files: `(n, H, W, C)` float32, see `tflite.convert`.
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
    """Turns TensorFlow's own report of a full disk into one line.

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
        asset: A file that becomes an asset under its own name: `labels.txt`, or `vocabulary.txt`.

    Returns:
        The number of values in the variables.
    """
    module = tf.Module()
    # Only the variables that the graphs read, each once. Tracking the Keras model would store all of them twice,
    # including those of the auxiliary head and of folded batch norms.
    module.weights = list({id(v): v for f in endpoints.values() for v in _variables(f.graph)}.values())
    module.labels = tf.saved_model.Asset(os.fspath(asset))
    # A served model is not trained: without the gradients of our convolutions the file is smaller and written faster.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, os.fspath(path), signatures=endpoints, options=options)
    return sum(v.shape.num_elements() for v in module.weights)


def _variables(graph: tf.Graph) -> list:
    """The variables that a graph reads, in the order of first use, since TensorFlow's own order is that of a set."""
    owners = {id(v.handle): v for v in graph.variables}
    return [owners[id(tensor)] for tensor in graph.external_captures if id(tensor) in owners]
