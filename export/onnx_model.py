"""An ONNX file of an exported model, for runtimes other than TensorFlow's; optional, written by tf2onnx."""

import os
import pathlib
import warnings

import numpy as np
import tensorflow as tf

from darts_tf.export.verify import Case
from darts_tf.system import runtime
from darts_tf.system.errors import UserError, one_line

FILE = "onnx/model.onnx"  # in the version's folder; servers ignore it
OPSET = 17  # has everything that our graphs need; supported by runtimes since 2022
_EXACT = 1e-4  # for probabilities; kernels sum in another order


def require() -> None:
    """Raises UserError if the packages of the extra `onnx` are missing, before anything takes long."""
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"Format onnx needs packages that are not installed: expected tf2onnx and onnxruntime. Received: {error}. "
            "Install them: pip install 'darts_tf[onnx]'."
        ) from None


def write(folder: str | os.PathLike) -> pathlib.Path:
    """Writes `onnx/model.onnx`, which computes `serving_default` of the SavedModel in a folder.

    It takes float32 `image` `(N, H, W, C)` in 0..255 and returns `logits`, `probabilities` and `classes`, like the
    signature.

    Args:
        folder: Folder of the version to be published.

    Returns:
        The file.

    Raises:
        UserError: An operation, perhaps a custom one, has no counterpart in ONNX.
    """
    import tf2onnx

    loaded = tf.saved_model.load(os.fspath(folder))
    signature = loaded.signatures["serving_default"]
    spec = signature.structured_input_signature[1]["image"]
    file = pathlib.Path(folder, FILE)
    file.parent.mkdir(exist_ok=True)
    serve = tf.function(lambda image: signature(image=image), input_signature=[spec], autograph=False)
    try:
        with runtime.quiet_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from NumPy and protobuf, about the converter's own code
            tf2onnx.convert.from_function(serve, [spec], opset=OPSET, output_path=os.fspath(file))
    except Exception as error:  # the converter raises its own errors, TensorFlow's and plain ones
        raise UserError(
            f"The network cannot be converted to ONNX: {one_line(error)}. Expected operations that ONNX supports; "
            "leave onnx out of the formats. Nothing was published."
        ) from error
    return file


def check(file: str | os.PathLike, case: Case) -> dict[str, float]:
    """Compares the file, run by ONNX Runtime on a CPU, with the original network.

    Args:
        file: The result of `write`.
        case: Real images, and the network's outputs for them.

    Returns:
        The largest differences by output, and `bytes`.

    Raises:
        UserError: They differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, case.inputs), strict=True))
    off = {name: float(np.abs(found[name] - right).max()) for name, right in case.outputs.items()}
    if not off["probabilities"] <= _EXACT:  # also for NaN
        raise UserError(f"{FILE}: probabilities are off by {off['probabilities']:.2g}. Expected at most {_EXACT:.2g}.")
    return {**off, "bytes": pathlib.Path(file).stat().st_size}
