"""Keras' settings in this process: refused if they cannot be changed, otherwise temporarily overridden.

`from darts_tf.system.keras_settings import keras, tf` imports Keras and TensorFlow, and refuses another backend in one
line. TensorFlow imports Keras and fails if that fails, so this comes before any `import tensorflow`.
"""

import contextlib
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from darts_tf.system import runtime
from darts_tf.system.errors import UserError, one_line

Init = TypeVar("Init", bound=Callable)
_TYPES = ("float32", "float64")


def __getattr__(name: str) -> Any:
    """Imports Keras or TensorFlow on first use."""
    if name not in ("keras", "tf"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_backend()
    return importlib.import_module({"tf": "tensorflow"}.get(name, name))


def check_backend() -> None:
    """Imports Keras, without TensorFlow's notices, and checks that it computes with TensorFlow.

    Raises:
        UserError: It has another backend, or cannot be imported with its configuration.
    """
    failure: Exception | None = None
    try:
        with runtime.quiet_stderr() if "keras" not in sys.modules else contextlib.nullcontext():
            import keras

        backend = keras.config.backend()
    except Exception as error:  # any exception that a missing backend or a damaged keras.json causes
        failure = error
        backend = getattr(sys.modules.get("keras.src.backend.config"), "backend", lambda: None)()
        if backend == "tensorflow":  # its settings are valid, but the installation is not
            raise
        if backend is None:
            raise UserError(
                "Keras cannot be imported as it is configured. Expected a valid keras.json in ~/.keras (or "
                f"KERAS_HOME) or none, and KERAS_ variables that Keras knows. Received: {one_line(error)}. Correct "
                "them, and restart Python."
            ) from error
    if backend != "tensorflow":
        raise UserError(
            f"darts_tf works with Keras on TensorFlow only. Expected the backend tensorflow. Received: {backend!r}, "
            "from KERAS_BACKEND or keras.json. Set KERAS_BACKEND=tensorflow before Keras is imported, and restart "
            "Python."
        ) from failure


def check_mode() -> None:
    """Checks that TensorFlow runs in TensorFlow 2 mode.

    Raises:
        UserError: It has been switched back to TensorFlow 1.
    """
    import tensorflow as tf

    if not tf.executing_eagerly():
        raise UserError(
            "TensorFlow runs without eager execution. Expected TensorFlow 2's behaviour. Received: a process in which "
            "tf.compat.v1.disable_eager_execution() or disable_v2_behavior() was called, or a call inside a graph."
        )


@contextlib.contextmanager
def standing(dtype: Any = None) -> Iterator[None]:
    """A context in which new layers have one dtype and channels last; Keras' settings are restored afterwards.

    Args:
        dtype: Anything that `keras.dtype_policies.get` takes.
    """
    import keras

    policy = keras.dtype_policies.get(dtype)
    before = keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy()
    keras.config.set_floatx(policy.variable_dtype)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_image_data_format(before[1])
        keras.config.set_dtype_policy(before[2])


def of_one_type(init: Init) -> Init:
    """Decorates the constructor of a network: its layers compute in the dtype of its variables.

    This is the argument `dtype`, by default Keras' floatx. A global policy such as mixed_float16 has no effect on it:
    for passes in lower precision see `precision.Precision`, which keeps statistics and loss in float32.

    Raises:
        UserError: The dtype is neither float32 nor float64; raised by the network's constructor.
    """

    @functools.wraps(init)
    def wrapped(self, *args, **kwargs):
        import keras

        wanted = kwargs.get("dtype")
        policy = keras.dtype_policies.get(keras.config.floatx() if wanted is None else wanted)
        if policy.compute_dtype != policy.variable_dtype or policy.compute_dtype not in _TYPES:
            raise UserError(
                f"A network must be of one type, {' or '.join(_TYPES)}. Received: {policy.name}, "
                f"{'as Keras floatx' if wanted is None else 'as dtype'}. For lower precision use precision=bfloat16 "
                "or float16 in a run's settings."
            )
        with standing(policy):
            init(self, *args, **kwargs)

    constructor: Any = wrapped
    constructor.__signature__ = inspect.signature(init)  # inspected by Keras
    return constructor
