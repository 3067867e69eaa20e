"""The environment variables of Keras and TensorFlow, none of which influence the commands.

Variables that TensorFlow reads when it first computes are set permanently; those read at import are set only during it,
so that a process started by the user's code finds the user's values. Needs no TensorFlow.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

# None removes a variable. KERAS_HOME names a path that cannot exist, so that no keras.json, not even a damaged one, is
# read, and none is written.
_AT_IMPORT = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": os.path.join(os.devnull, "keras"),
    "KERAS_MAX_EPOCHS": None,
    "KERAS_MAX_STEPS_PER_EPOCH": None,
    "KERAS_NNX_ENABLED": None,
    "TF_USE_LEGACY_KERAS": None,
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": None,
}
_WORDS = {"0", "1", "false", "true"}  # other values terminate the process from inside TensorFlow
_SWITCHES = ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC", "TF_DISABLE_MKL")


def settle() -> None:
    """Sets the variables that TensorFlow may read at any time, to values that our graphs need and that are harmless.

    `XLA_FLAGS` and the deterministic switches are kept if TensorFlow can parse them.
    """
    # Gradients of grouped convolutions exist on CPUs with oneDNN only, which is also the faster library.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.pop("TF_XLA_FLAGS", None)  # compiles without being asked; use --jit_compile for that
    flags = os.environ.get("XLA_FLAGS", "")
    if not (os.path.isfile(flags) or all(flag.startswith("--xla_") for flag in flags.split())):
        del os.environ["XLA_FLAGS"]
    for name in _SWITCHES:
        if os.environ.get(name, "0").lower() not in _WORDS:
            del os.environ[name]


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A context in which Keras is imported as if unconfigured: TensorFlow backend, float32, channels last."""
    before = {name: os.environ.get(name) for name in _AT_IMPORT}
    _set(_AT_IMPORT)
    try:
        yield
    finally:
        _set(before)


def of_child() -> dict[str, str]:
    """Returns the variables for one of our processes that imports Keras before it could set them."""
    variables = os.environ | _AT_IMPORT
    return {name: value for name, value in variables.items() if value is not None}


def tolerate_warnings() -> None:
    """Drops the rules of `PYTHONWARNINGS=error` and `-W error`: warnings between libraries are not failures."""
    if any(option.startswith("error") for option in sys.warnoptions):
        kept = [rule for rule in warnings.filters if rule[0] != "error"]
        warnings.resetwarnings()
        filters: Any = warnings.filters  # a list, although documented only as a sequence
        filters.extend(kept)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
