"""Asks a served model: over gRPC, over REST, or of a SavedModel in this process; for the classes of image files."""

import base64
import http.client
import json
import os
import pathlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from darts_tf.data import headers
from darts_tf.errors import UserError
from darts_tf.files import parse_json

SIGNATURE = "serving_bytes"
Inputs = dict[str, np.ndarray | list[bytes]]
Ask = Callable[[str, Inputs], dict[str, np.ndarray]]  # (signature, inputs by name) -> outputs by name


class Prediction(NamedTuple):
    """What a model says of an image.

    Attributes:
        path: The image file.
        label: The class's name, or its number where the model does not tell names.
        number: The class's number, from 0.
        probability: Of that class.
    """

    path: str
    label: str
    number: int
    probability: float


def predict(ask: Ask, paths: Sequence[str | os.PathLike], batch_size: int = 32) -> list[Prediction]:
    """Asks for the classes of image files.

    Args:
        ask: From `over_grpc`, `over_rest` or `in_process`.
        paths: Image files; formats that TensorFlow does not read are sent as PNG, see `headers.readable`.
        batch_size: Images per request.

    Returns:
        One prediction for each path.

    Raises:
        UserError: A file cannot be read, or the model cannot answer.
    """
    contents = []
    for path in paths:
        try:
            contents.append(headers.readable(pathlib.Path(path).read_bytes(), path))
        except OSError as error:
            raise UserError(f"Cannot read the image {headers.shown(path)}: {error.strerror or error}.") from error
    found = []
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size], contents[start : start + batch_size]
        outputs = _ask(ask, *batch)
        try:
            rows = zip(batch[0], outputs["classes"].tolist(), outputs["probabilities"].tolist(), strict=True)
            names = [n.decode() if isinstance(n, bytes) else n for n in outputs.get("labels", np.array([])).tolist()]
            for index, (path, number, probabilities) in enumerate(rows):
                label = names[index] if names else str(number)
                found.append(Prediction(str(path), label, number, probabilities[number]))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UserError(
                f"The answer cannot be understood ({type(error).__name__}: {error}). Expected classes and "
                f"probabilities from the signature {SIGNATURE}, as darts-export makes it."
            ) from error
    return found


def _ask(ask: Ask, paths: Sequence, contents: list[bytes]) -> dict[str, np.ndarray]:
    """Asks once, and where an image is refused once for each, to name it."""
    try:
        return ask(SIGNATURE, {"image_bytes": contents})
    except Refused as refused:
        if not refused.input_is_bad:
            raise UserError(str(refused)) from refused
        for path, content in zip(paths, contents, strict=True) if len(paths) > 1 else ():
            _ask(ask, [path], [content])
        files = ", ".join(map(headers.shown, paths[:3]))
        if "image_bytes must hold" in str(refused):
            raise UserError(f"{files} is no image: expected a JPEG or PNG file.") from refused
        noise = ("Graph execution error", "Detected at", "<stack traces", "[[")
        lines = [line.strip() for line in str(refused).splitlines() if not line.strip().startswith(noise)]
        reason = " ".join(" ".join(filter(None, lines)).split())[:300]
        raise UserError(f"The model refuses {files}: {reason}. Expected a whole JPEG or PNG file.") from refused


def connect(server: str, name: str, version: int | None = None, timeout: float = 30.0) -> Ask:
    """Returns a way to ask a server: REST for `http://host:port`, gRPC for `host:port` or `grpc://host:port`.

    Args:
        server: Its address.
        name: The model's name.
        version: The model's version; None for the newest.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: That is no address.
    """
    if re.match(r"https?://[^/]", server):
        return over_rest(server, name, version, timeout)
    address = server.removeprefix("grpc://")
    if not re.fullmatch(r"[^/\s]+:\d+", address):
        raise UserError(
            f"A server's address must be host:port for gRPC or http://host:port for REST. Received: {server!r}."
        )
    return over_grpc(address, name, version, timeout)


def over_grpc(address: str, name: str, version: int | None = None, timeout: float = 30.0) -> Ask:
    """Returns a way to ask through `PredictionService.Predict`; arguments as for `connect`."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from darts_tf.export import warmup

    # Photographs exceed gRPC's usual four megabytes.
    channel = grpc.insecure_channel(
        address, [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    )
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(signature: str, inputs: Inputs) -> dict[str, np.ndarray]:
        request = warmup.request(name, signature, inputs)
        if version is not None:
            request.model_spec.version.value = version
        try:
            response = stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            bad = error.code() is grpc.StatusCode.INVALID_ARGUMENT
            text = error.details() if bad else f"{address} answers {error.code().name}: {error.details()}"
            raise Refused(text, bad) from error
        return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}

    return ask


def over_rest(address: str, name: str, version: int | None = None, timeout: float = 30.0) -> Ask:
    """Returns a way to ask through `POST /v1/models/NAME:predict`; arguments as for `connect`."""
    place = f"/versions/{version}" if version is not None else ""
    url = f"{address.rstrip('/')}/v1/models/{name}{place}:predict"

    def ask(signature: str, inputs: Inputs) -> dict[str, np.ndarray]:
        columns = [[_jsonable(row) for row in rows] for rows in inputs.values()]
        instances = [dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)]
        body = json.dumps({"signature_name": signature, "instances": instances}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                rows = parse_json(response.read())["predictions"]
                return {key: np.asarray([row[key] for row in rows]) for key in rows[0]}
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            try:
                text = parse_json(text)["error"]
            except (ValueError, KeyError, TypeError):
                text = text or error.reason
            bad = error.code == 400
            raise Refused(text if bad else f"{address} answers {error.code}: {text}", bad) from error
        except OSError as error:  # URLError and timeouts are of its kind
            reason = getattr(error, "reason", error)
            raise Refused(
                f"{address} cannot be reached: {reason}. Expected a server; check --server.", False
            ) from error
        except (ValueError, KeyError, TypeError, IndexError, http.client.HTTPException) as error:
            raise Refused(
                f"{address} answers otherwise than TensorFlow Serving ({type(error).__name__}). Expected a server of "
                "its REST API; check --server.",
                False,
            ) from error

    return ask


def _jsonable(row):
    return {"b64": base64.b64encode(row).decode()} if isinstance(row, bytes) else row.tolist()


def in_process(export_dir: str | os.PathLike, name: str, version: int | None = None) -> Ask:
    """Returns a way to ask an exported model in this process.

    Args:
        export_dir: Folder of models, or one model's folder, or one version's.
        name: The model's name, where `export_dir` holds models.
        version: The version; None for the newest.

    Raises:
        UserError: There is no such model, or it cannot be loaded.
    """
    import tensorflow as tf

    path = version_folder(export_dir, name, version)
    try:
        loaded = tf.saved_model.load(str(path))
    except (OSError, LookupError, ValueError, tf.errors.OpError) as error:
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise UserError(
            f"{path} cannot be loaded: {line}. Expected what darts-export wrote; export it again."
        ) from error

    def ask(signature: str, inputs: Inputs) -> dict[str, np.ndarray]:
        if signature not in loaded.signatures:
            raise UserError(
                f"{path} has no signature {signature}. Expected a model of the kind that is asked for: images for "
                f"--image, a language model for --text. Received: {', '.join(loaded.signatures)}."
            )
        try:
            given = {key: tf.constant(value) for key, value in inputs.items()}
            return {key: value.numpy() for key, value in loaded.signatures[signature](**given).items()}
        except tf.errors.InvalidArgumentError as error:
            raise Refused(error.message, True) from error

    return ask


def version_folder(export_dir: str | os.PathLike, name: str, version: int | None = None) -> pathlib.Path:
    """Returns the folder of one version of a model; arguments and errors as for `in_process`."""
    from darts_tf.export.publish import versions

    path = pathlib.Path(export_dir).expanduser()
    if (path / "saved_model.pb").exists():
        return path
    path = path if versions(path) else path / name
    number = version if version is not None else max(versions(path), default=None)
    if number not in versions(path):
        raise UserError(
            f"There is no exported model {name}{'' if version is None else f' of version {version}'} in "
            f"{export_dir}. Expected what darts-export wrote; check --export_dir, --name and --version."
        )
    return path / str(number)


class Refused(Exception):
    """The model or its server does not answer; `input_is_bad` where the request's content is the reason."""

    def __init__(self, message: str, input_is_bad: bool):
        super().__init__(message)
        self.input_is_bad = input_is_bad
