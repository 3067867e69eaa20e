"""Queries a model over gRPC, over REST, or as a SavedModel in this process, for the classes of image files."""

import base64
import http.client
import json
import os
import pathlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from darts_tf.data.files import headers
from darts_tf.export import inputs
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, user_path

Inputs = dict[str, np.ndarray | list[bytes]]
Ask = Callable[[str, Inputs], dict[str, np.ndarray]]  # (signature, inputs by name) -> outputs by name


class Prediction(NamedTuple):
    """A model's prediction for an image.

    Attributes:
        path: The image file; with the image's number if the file holds several, see `inputs.Input`.
        label: The class's name, or its number if the model has no names.
        number: The class's number, from 0.
        probability: Probability of that class.
    """

    path: str
    label: str
    number: int
    probability: float


def predict(
    ask: Ask,
    paths: Sequence[str | os.PathLike],
    batch_size: int = 32,
    facts: inputs.Facts = inputs.UNKNOWN,
) -> list[Prediction]:
    """Predicts the classes of images.

    Args:
        ask: From `over_grpc`, `over_rest` or `in_process`.
        paths: Image files, or `.npy` and `.npz` files of images, see `inputs.read`.
        batch_size: Images per request.
        facts: Facts about the model: how arrays are prepared, and the class names, which answers about arrays lack.

    Returns:
        One prediction for each image.

    Raises:
        UserError: A file cannot be read, or the model cannot answer.
    """
    found = []
    for batch in inputs.batches(inputs.read(paths, facts), batch_size):
        outputs = _ask(ask, batch)
        try:
            rows = zip(batch, outputs["classes"].tolist(), outputs["probabilities"].tolist(), strict=True)
            names = [n.decode() if isinstance(n, bytes) else n for n in outputs.get("labels", np.array([])).tolist()]
            for index, (asked, number, probabilities) in enumerate(rows):
                known = len(facts.class_names) == len(probabilities)
                label = names[index] if names else facts.class_names[number] if known else str(number)
                found.append(Prediction(asked.path, label, number, probabilities[number]))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UserError(
                f"Cannot interpret the response ({type(error).__name__}: {error}). Expected classes and probabilities "
                f"from the signature {inputs.SIGNATURES[batch[0].name]}, as darts-export writes it."
            ) from error
    return found


def _ask(ask: Ask, batch: Sequence[inputs.Input]) -> dict[str, np.ndarray]:
    """Sends one request; if an image is refused, sends one for each image to name it."""
    is_array = batch[0].name == "image"
    try:
        return ask(inputs.SIGNATURES[batch[0].name], inputs.stacked(batch))
    except Refused as refused:
        if not is_array and "signature" in str(refused) and "not found" in str(refused):
            raise UserError(
                f"The model has no signature {inputs.SIGNATURES[batch[0].name]}: expected a model for images of 1 or "
                "3 channels, as image files have. Received: image files; for other numbers of channels pass .npy or "
                ".npz files of images (N, H, W, C)."
            ) from refused
        if not refused.input_is_bad:
            raise UserError(str(refused)) from refused
        for each in batch if len(batch) > 1 and not is_array else ():
            _ask(ask, [each])
        files = ", ".join(headers.shown(each.path) for each in batch[:3])
        if is_array:
            shape = "x".join(map(str, np.shape(batch[0].value)))
            raise UserError(
                f"The model rejects {files}: expected images of the shape that it was trained on, (N, H, W, C). "
                f"Received: {shape}. {_reason(refused)}"
            ) from refused
        if "image_bytes must hold" in str(refused):
            raise UserError(f"{files} is not an image: expected a JPEG or PNG file.") from refused
        raise UserError(
            f"The model rejects {files}: {_reason(refused)}. Expected a complete JPEG or PNG file."
        ) from refused


def _reason(refused: "Refused") -> str:
    """The message of the model or its server, in one line."""
    noise = ("Graph execution error", "Detected at", "<stack traces", "[[")
    lines = [line.strip() for line in str(refused).splitlines() if not line.strip().startswith(noise)]
    return " ".join(" ".join(filter(None, lines)).split())[:300]


def connect(server: str, name: str, version: int | None = None, timeout: float = 30.0) -> Ask:
    """Returns a function that queries a server: REST for `http://host:port`, gRPC for `host:port`, `grpc://host:port`.

    Args:
        server: Its address.
        name: The model's name.
        version: The model's version; None for the newest.
        timeout: Seconds to wait for an answer.

    Raises:
        UserError: The address is invalid.
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
    """Returns a function that queries through `PredictionService.Predict`; arguments as for `connect`."""
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
            text = error.details() if bad else f"{address} returned {error.code().name}: {error.details()}"
            raise Refused(text, bad) from error
        return {key: tf.make_ndarray(value) for key, value in response.outputs.items()}

    return ask


def over_rest(address: str, name: str, version: int | None = None, timeout: float = 30.0) -> Ask:
    """Returns a function that queries through `POST /v1/models/NAME:predict`; arguments as for `connect`."""
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
            raise Refused(text if bad else f"{address} returned {error.code}: {text}", bad) from error
        except OSError as error:  # includes URLError and timeouts
            reason = getattr(error, "reason", error)
            raise Refused(
                f"{address} cannot be reached: {reason}. Expected a server; check --server.", False
            ) from error
        except (ValueError, KeyError, TypeError, IndexError, http.client.HTTPException) as error:
            raise Refused(
                f"{address} does not respond like TensorFlow Serving ({type(error).__name__}). Expected a server of "
                "its REST API; check --server.",
                False,
            ) from error

    return ask


def _jsonable(row):
    return {"b64": base64.b64encode(row).decode()} if isinstance(row, bytes) else row.tolist()


def in_process(export_dir: str | os.PathLike, name: str, version: int | None = None) -> Ask:
    """Returns a function that queries an exported model in this process.

    Args:
        export_dir: Folder of models, or one model's folder, or one version's.
        name: The model's name, if `export_dir` holds models.
        version: The version; None for the newest.

    Raises:
        UserError: There is no such model, or it cannot be loaded.
    """
    import tensorflow as tf

    from darts_tf.runs.saved_model import load_saved_model, signature_of

    path = version_folder(export_dir, name, version)
    loaded = load_saved_model(path)

    def ask(signature: str, inputs: Inputs) -> dict[str, np.ndarray]:
        _check_files(path, signature, loaded.signatures)
        function = signature_of(loaded, path, signature, inputs)
        try:
            given = {key: tf.constant(value) for key, value in inputs.items()}
            return {key: value.numpy() for key, value in function(**given).items()}
        except tf.errors.InvalidArgumentError as error:
            raise Refused(error.message, True) from error
        except (TypeError, ValueError) as error:  # Python's check of a wrong shape
            raise Refused(str(error), True) from error

    return ask


def _check_files(path: pathlib.Path, signature: str, signatures: Any) -> None:
    """Refuses image files if a model takes arrays only."""
    if signature != inputs.SIGNATURES["image_bytes"] or signature in signatures:
        return
    default = signatures["serving_default"] if "serving_default" in signatures else None
    image = default.structured_input_signature[1].get("image") if default else None
    from darts_tf.export.signatures import FILE_CHANNELS  # here, so that querying a server needs no TensorFlow

    if image is not None and image.shape[-1] not in FILE_CHANNELS:
        raise UserError(
            f"{path} takes arrays only, since image files have 1 or 3 channels: expected .npy or .npz files of images "
            f"(N, H, W, C). Received: image files, for a model of {'x'.join(map(str, image.shape[1:]))} images."
        )


def version_folder(export_dir: str | os.PathLike, name: str, version: int | None = None) -> pathlib.Path:
    """Returns the folder of one version of a model; for arguments and errors see `in_process`."""
    from darts_tf.export.publish import versions

    path = user_path(export_dir, "export_dir")
    if (path / "saved_model.pb").exists():
        return path
    path = path if versions(path) else path / name
    number = version if version is not None else max(versions(path), default=None)
    if number not in versions(path):
        raise UserError(
            f"There is no exported model {name}{'' if version is None else f' of version {version}'} in {export_dir}. "
            "Expected one written by darts-export; check --export_dir, --name and --version."
        )
    return path / str(number)


def facts_of(version_folder: str | os.PathLike) -> inputs.Facts:
    """Returns the facts on an exported model's card; the defaults of a run if there is no such card."""
    assets = pathlib.Path(version_folder, "assets")
    try:
        names = tuple((assets / "labels.txt").read_text("utf-8").splitlines())
        config = parse_json((assets / "model_card.json").read_bytes())["training_config"]
        numbers = int(config["image_size"]), float(config["eval_crop"])
        return inputs.Facts(str(config.get("value_range", "auto")), names, *numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return inputs.Facts("auto")


class Refused(Exception):
    """The model or its server refused to answer; `input_is_bad` if the request's content is the reason."""

    def __init__(self, message: str, input_is_bad: bool):
        super().__init__(message)
        self.input_is_bad = input_is_bad
