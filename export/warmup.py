"""Requests that TensorFlow Serving replays when it loads a model, so that the first client does not wait."""

import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from darts_tf.data.pipeline import untuned
from darts_tf.system.errors import UserError

PLACE = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
BATCH_SIZES = (1, 8)


def request(model: str, signature: str, inputs: dict) -> predict_pb2.PredictRequest:
    """Returns a request of the Predict API.

    Args:
        model: The model's name.
        signature: The signature's name.
        inputs: Arrays, or lists of bytes, by the inputs' names.
    """
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return made


def write(folder: str | os.PathLike, model: str, requests: Iterable[tuple[str, dict]]) -> None:
    """Writes the warm-up file of a SavedModel: its requests at the sizes in `BATCH_SIZES`.

    Args:
        folder: The SavedModel.
        model: The model's name.
        requests: `(signature, arrays by the inputs' names)`; rows are repeated if a batch needs more.
    """
    path = pathlib.Path(folder) / PLACE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in BATCH_SIZES:
            for signature, inputs in requests:
                rows = {name: values[np.arange(size) % len(values)] for name, values in inputs.items()}
                log = prediction_log_pb2.PredictionLog()
                log.predict_log.request.CopyFrom(request(model, signature, rows))
                writer.write(log.SerializeToString())


def read(folder: str | os.PathLike) -> Iterator[predict_pb2.PredictRequest]:
    """Yields the requests of a SavedModel's warm-up file.

    Raises:
        UserError: There is no such file, or it is damaged.
    """
    path = pathlib.Path(folder) / PLACE
    try:
        for record in untuned(tf.data.TFRecordDataset(str(path))).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    except Exception as error:  # from TensorFlow, or protobuf's DecodeError
        raise UserError(
            f"{path} cannot be read: {type(error).__name__}. Expected a file written by darts-export."
        ) from error


def run(signatures: dict, requests: Iterable[predict_pb2.PredictRequest]) -> int:
    """Runs requests on a loaded SavedModel's signatures, as a server does; returns how many."""
    count = 0
    for made in requests:
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in made.inputs.items()}
        signatures[made.model_spec.signature_name](**inputs)
        count += 1
    return count
