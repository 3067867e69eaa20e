"""Compares an exported model with its network: `python -m darts_tf.export.verify FOLDER CASES`.

The check runs in a separate process, which uses only the written files, not Keras or our networks.
"""

import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from darts_tf.system import environment
from darts_tf.system.errors import UserError
from darts_tf.system.runtime import module_command

TOLERANCE = 1e-5  # for probabilities; for outputs times the largest, if that is above 1
RELATIVE = {"perplexity": 1e-4}  # an exponential
BATCHES = (1, 7)


class Case(NamedTuple):
    """The expected outputs of a signature.

    Attributes:
        signature: Its name.
        inputs: Arrays by name, of at least 7 rows; strings as objects.
        outputs: The network's outputs for them, by name.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def tolerance(expected: np.ndarray) -> float:
    """Returns how far outputs may be from `expected`, which float32 represents less exactly when they are large."""
    return TOLERANCE * max(1.0, float(np.abs(expected).max()))


def difference(outputs: dict, expected: dict, what: str) -> dict[str, float]:
    """Compares a signature's outputs with the network's.

    Args:
        outputs: Arrays by name, optionally including `classes`, which must be those of the largest `logits`.
        expected: The expected values of some of them.
        what: Name in the error message.

    Returns:
        The largest absolute differences by name; those in `RELATIVE` are left out.

    Raises:
        UserError: An output has the wrong shape or is too far off.
    """
    found = {}
    for name, right in expected.items():
        if outputs[name].shape != right.shape:
            raise UserError(f"{what}: expected {name} of shape {right.shape}. Received: {outputs[name].shape}.")
        scale, limit = (right, RELATIVE[name]) if name in RELATIVE else (1, tolerance(right))
        off = float(np.abs((outputs[name] - right) / scale).max())
        if not off <= limit:  # also for NaN
            raise UserError(f"{what}: {name} off by {off:.2g}. Expected at most {limit:.2g}.")
        if name not in RELATIVE:
            found[name] = off
    if "classes" in outputs and not np.array_equal(outputs["classes"], outputs["logits"].argmax(axis=-1)):
        raise UserError(f"{what}: the classes are not those of the largest logits.")
    return found


def check(folder: str, expected: str) -> dict:
    """Loads a SavedModel and compares its signatures at `BATCHES`; runs its warm-up requests and TFLite files.

    Args:
        folder: The SavedModel.
        expected: The file that `in_fresh_process` writes: the cases and the labels.

    Returns:
        `saved_model`: the largest differences by output, and `warmup_requests`; and `tflite` if there are TFLite files,
        see `tflite.check`.

    Raises:
        UserError: It cannot be loaded, or something differs.
    """
    import tensorflow as tf

    from darts_tf.export import tflite, warmup
    from darts_tf.runs.saved_model import load_saved_model

    cases, labels = pickle.loads(pathlib.Path(expected).read_bytes())
    found: dict[str, float] = {}
    loaded = load_saved_model(folder)
    for size in BATCHES:
        for signature, inputs, outputs in cases:
            given = {name: tf.constant(values[:size]) for name, values in inputs.items()}
            answers = {name: value.numpy() for name, value in loaded.signatures[signature](**given).items()}
            wanted = {name: values[:size] for name, values in outputs.items()}
            for name, value in difference(answers, wanted, f"{signature} at batch {size}").items():
                found[name] = max(found.get(name, 0.0), value)
    found["warmup_requests"] = warmup.run(loaded.signatures, warmup.read(folder))
    if labels is None:
        return {"saved_model": found}
    _, inputs, outputs = cases[0]
    return {"saved_model": found, "tflite": tflite.check(folder, inputs["image"], labels, outputs["logits"])}


def in_fresh_process(folder: str | os.PathLike, cases: Sequence[Case], labels: np.ndarray | None = None) -> dict:
    """Runs `check` in a new process.

    Args:
        folder: The SavedModel.
        cases: At most one for each signature.
        labels: If there are TFLite files: the correct classes of the first case's images.

    Returns:
        The result of `check`.

    Raises:
        UserError: The check failed; the message says why in one line.
    """
    # The reference comes from a CPU: a GPU rounds products to ten bits.
    variables = {
        **environment.of_child(),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONIOENCODING": "utf-8",
    }
    with tempfile.TemporaryDirectory() as temporary:
        file = pathlib.Path(temporary, "cases.pickle")
        file.write_bytes(pickle.dumps(([tuple(case) for case in cases], labels)))
        done = subprocess.run(
            [*module_command("darts_tf.export.verify"), os.fspath(folder), str(file)],
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
        result = {"error": f"the process that checks it exited with status {done.returncode}: {last[:200]}."}
    if "error" in result:
        raise UserError(f"The exported model does not work: {result['error']} Nothing was published.")
    return result


def main() -> None:
    """Prints the result, or `error`, as JSON on the last line."""
    environment.tolerate_warnings()
    environment.settle()
    try:
        result = check(*sys.argv[1:])
    except Exception as error:  # anything that a damaged file makes TensorFlow raise is a finding
        result = {"error": " ".join(f"{error}".split())[:300] or type(error).__name__}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
