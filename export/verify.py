"""Compares an exported model with its network: `python -m darts_tf.export.verify FOLDER EXPECTED.npz`.

The check runs in a separate process, which knows only the written files and nothing of Keras or our networks.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np

from darts_tf.system import environment
from darts_tf.system.errors import UserError
from darts_tf.system.runtime import module_command

TOLERANCE = 1e-5  # of probabilities; of logits times the largest, where that is above 1
BATCHES = (1, 7)


def tolerance(logits: np.ndarray) -> float:
    """Returns how far logits may be from `logits`, which float32 cannot hold more exactly when they are large."""
    return TOLERANCE * max(1.0, float(np.abs(logits).max()))


def difference(outputs: dict, logits: np.ndarray, what: str) -> dict[str, float]:
    """Compares a model's outputs with the expected logits `(n, classes)`.

    Args:
        outputs: `logits`, `probabilities`, `classes` as arrays.
        logits: What the network gives.
        what: Named in the error.

    Returns:
        The largest absolute difference of `logits` and of `probabilities`.

    Raises:
        UserError: An output has the wrong shape or is too far off.
    """
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    expected = {"logits": logits, "probabilities": shifted / shifted.sum(axis=-1, keepdims=True)}
    found = {}
    for name, limit in (("logits", tolerance(logits)), ("probabilities", TOLERANCE)):
        if outputs[name].shape != logits.shape:
            raise UserError(f"{what}: expected {name} of shape {logits.shape}. Received: {outputs[name].shape}.")
        found[name] = float(np.abs(outputs[name] - expected[name]).max())
        if not found[name] <= limit:  # not-a-number too
            raise UserError(f"{what}: {name} are off by {found[name]:.2g}. Expected at most {limit:.2g}.")
    if not np.array_equal(outputs["classes"], outputs["logits"].argmax(axis=-1)):
        raise UserError(f"{what}: the classes are not those of the largest logits.")
    return found


def check(folder: str, expected: str) -> dict:
    """Loads a SavedModel and compares its signatures at `BATCHES`; runs its warm-up requests and TFLite files.

    Args:
        folder: The SavedModel.
        expected: `.npz` file with `images` `(n, H, W, C)`, their `labels` and the network's `logits`; and, of a model
            that takes image files, `contents`, of at least 7 files, and the network's `content_logits`.

    Returns:
        `saved_model`: the largest differences by output, and `warmup_requests`; and `tflite` if there is any, see
        `tflite.check`.

    Raises:
        UserError: It cannot be loaded, or something is off.
    """
    import tensorflow as tf

    from darts_tf.export import tflite, warmup
    from darts_tf.runs.saved_model import load_saved_model

    with np.load(expected, allow_pickle=True) as file:
        known = dict(file)
    loaded = load_saved_model(folder)
    signatures = loaded.signatures
    inputs = [("serving_default", "image", known["images"], known["logits"])]
    if "contents" in known:
        inputs.append(("serving_bytes", "image_bytes", known["contents"].tolist(), known["content_logits"]))
    found = {"logits": 0.0, "probabilities": 0.0}
    for size in BATCHES:
        for signature, key, values, logits in inputs:
            given = {key: tf.constant(values[:size])}
            outputs = {name: value.numpy() for name, value in signatures[signature](**given).items()}
            for name, value in difference(outputs, logits[:size], f"{signature} at batch {size}").items():
                found[name] = max(found[name], value)
    found["warmup_requests"] = warmup.run(signatures, warmup.read(folder))
    if not pathlib.Path(folder, tflite.FOLDER).exists():
        return {"saved_model": found}
    return {"saved_model": found, "tflite": tflite.check(folder, known["images"], known["labels"], known["logits"])}


def in_fresh_process(folder: str | os.PathLike, expected: dict, module: str = "darts_tf.export.verify") -> dict:
    """Runs `check` in a new process.

    Args:
        folder: The SavedModel.
        expected: Arrays by name, see `check`.
        module: Whose `check` is run.

    Returns:
        What `check` returns.

    Raises:
        UserError: The check failed; says why in one line.
    """
    # The reference is a CPU's: a GPU rounds products to ten bits.
    variables = {
        **environment.of_child(),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONIOENCODING": "utf-8",
    }
    with tempfile.TemporaryDirectory() as temporary:
        file = pathlib.Path(temporary, "expected.npz")
        np.savez(file, **expected)
        done = subprocess.run(
            [*module_command(module), os.fspath(folder), str(file)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
        )
    lines = done.stdout.strip().splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [""])[-1]
        result = {"error": f"the process that checks it ended with status {done.returncode}: {last[:200]}."}
    if "error" in result:
        raise UserError(f"The exported model does not work: {result['error']} Nothing was published.")
    return result


def main(check: Callable[[str, str], dict]) -> None:
    """Prints the result, or `error`, as JSON on the last line."""
    environment.tolerate_warnings()
    environment.settle()
    try:
        result = check(*sys.argv[1:])
    except Exception as error:  # whatever a damaged file makes TensorFlow raise is a finding
        result = {"error": " ".join(f"{error}".split())[:300] or type(error).__name__}
    print(json.dumps(result))


if __name__ == "__main__":
    main(check)
