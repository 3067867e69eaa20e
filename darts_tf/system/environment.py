"""The environment variables of Keras and TensorFlow, none of which influence the binaries.

Variables that TensorFlow reads when it first computes are set for good; those that are read at import, only during it,
so that a process started by the user's code finds what the user has set. No TensorFlow here.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

# None removes a variable. KERAS_HOME names a path that cannot exist, so that no keras.json is read, not even a damaged
# one, and none is written.
_AT_IMPORT = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": os.path.join(os.devnull, "keras"),
    "KERAS_MAX_EPOCHS": None,
    "KERAS_MAX_STEPS_PER_EPOCH": None,
    "KERAS_NNX_ENABLED": None,
    "TF_USE_LEGACY_KERAS": None,
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": None,
}
_WORDS = {"0", "1", "false", "true"}  # others end the process from inside TensorFlow
_SWITCHES = ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC", "TF_DISABLE_MKL")


def settle() -> None:
    """Sets the variables that TensorFlow may read at any time: those that our graphs need, none that end the process.

    `XLA_FLAGS` and the deterministic switches are kept where TensorFlow can parse them.
    """
    # The grouped convolutions' gradients exist on a CPU with oneDNN only, and it is the faster library.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.pop("TF_XLA_FLAGS", None)  # compiles without being asked; --jit_compile is the way to do so
    flags = os.environ.get("XLA_FLAGS", "")
    if not (os.path.isfile(flags) or all(flag.startswith("--xla_") for flag in flags.split())):
        del os.environ["XLA_FLAGS"]
    for name in _SWITCHES:
        if os.environ.get(name, "0").lower() not in _WORDS:
            del os.environ[name]


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Inside it, Keras is imported as if no user had configured it: TensorFlow's backend, float32, channels last."""
    before = {name: os.environ.get(name) for name in _AT_IMPORT}
    _set(_AT_IMPORT)
    try:
        yield
    finally:
        _set(before)


def of_child() -> dict[str, str]:
    """Returns the variables for a process of our own that imports Keras before it could set them."""
    variables = os.environ | _AT_IMPORT
    return {name: value for name, value in variables.items() if value is not None}


def tolerate_warnings() -> None:
    """Drops the rules of `PYTHONWARNINGS=error` and `-W error`: warnings between libraries are not failures."""
    if any(option.startswith("error") for option in sys.warnoptions):
        kept = [rule for rule in warnings.filters if rule[0] != "error"]
        warnings.resetwarnings()
        filters: Any = warnings.filters  # a list, which is documented as a sequence only
        filters.extend(kept)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
