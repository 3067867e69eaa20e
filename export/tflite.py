"""TFLite files of an exported model, for phones: float32, float16 and int8, each measured on real images."""

import contextlib
import os
import pathlib
import warnings
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from darts_tf.system import runtime
from darts_tf.system.errors import UserError

FOLDER = "tflite"  # in the version's folder; servers ignore it
KINDS = ("float32", "float16", "int8")
_BATCH = 64
_EXACT = 1e-4  # for probabilities in float32; kernels sum in another order


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses TFLite's notices: its interpreter calls itself deprecated, even for calibration."""
    with warnings.catch_warnings(), runtime.quiet_stderr():
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated", UserWarning)
        yield


def convert(model: str | os.PathLike, folder: str | os.PathLike, calibration: np.ndarray) -> None:
    """Writes `tflite/float32.tflite`, `float16.tflite` and `int8.tflite` into a folder.

    All of them take float32 `image` in 0..255, at any batch size after `resize_tensor_input`, and return the outputs of
    `serving_default`. Inside, `float16` stores half-precision weights, and `int8` computes in 8 bits throughout.

    Args:
        model: A SavedModel of the result of `lowering.lower`.
        folder: Folder of the version to be published.
        calibration: `(n, H, W, C)` float32 in 0..255, which determine the ranges of the int8 file's activations.

    Raises:
        UserError: An operation, perhaps a custom one, has no counterpart in TFLite.
    """
    for kind in KINDS:
        converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(model), signature_keys=["serving_default"])
        if kind != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if kind == "int8":
            converter.representative_dataset = lambda: ({"image": image[None]} for image in calibration)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            with _quiet():
                content = converter.convert()
        except Exception as error:  # the converter raises its own errors, TensorFlow's and plain ones
            line = " ".join(str(error).split())[:200]
            raise UserError(
                f"The network cannot be converted to a TFLite file ({kind}): {line}. Expected operations that TFLite "
                "supports; leave tflite out of the formats. Nothing was published."
            ) from error
        file = pathlib.Path(folder, FOLDER, f"{kind}.tflite")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)


def run(file: str | os.PathLike, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs a TFLite file on images `(n, H, W, C)`, float32 in 0..255; returns its outputs by name."""
    with _quiet():
        interpreter = tf.lite.Interpreter(os.fspath(file))
        parts, size = [], 0
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            if len(batch) != size:
                size = len(batch)
                interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], batch.shape)
                interpreter.allocate_tensors()
            parts.append(interpreter.get_signature_runner("serving_default")(image=batch))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check(folder: str | os.PathLike, images: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> dict[str, dict]:
    """Compares TFLite files with the original network.

    Args:
        folder: Folder of the version.
        images: `(n, H, W, C)` float32 in 0..255.
        labels: `(n,)`.
        logits: `(n, classes)`, the network's logits for the images.

    Returns:
        For each kind `accuracy`, `accuracy_difference` (to the network's), `agreement` (fraction of equal classes),
        `largest_probability_difference` and `bytes`.

    Raises:
        UserError: The float32 file differs, or another returns numbers that are not finite.
    """
    expected = tf.nn.softmax(logits).numpy()
    classes, found = logits.argmax(axis=-1), {}
    for kind in KINDS:
        file = pathlib.Path(folder, FOLDER, f"{kind}.tflite")
        outputs = run(file, images)
        off = float(np.abs(outputs["probabilities"] - expected).max())
        if not off <= (_EXACT if kind == "float32" else 1):  # also for NaN
            raise UserError(f"{file.name}: probabilities are off by {off:.2g}. Expected at most {_EXACT:.2g}.")
        found[kind] = {
            "accuracy": float((outputs["classes"] == labels).mean()),
            "accuracy_difference": float((outputs["classes"] == labels).mean() - (classes == labels).mean()),
            "agreement": float((outputs["classes"] == classes).mean()),
            "largest_probability_difference": off,
            "bytes": file.stat().st_size,
        }
    return found
