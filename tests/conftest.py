"""What several tests share: the folder of golden numbers, and the floating-point type a test runs in."""

import contextlib
import gc
import os
import pathlib
import signal

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the binaries do
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

# A shell that runs tests in the background has them ignore Ctrl-C, and so would the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = pathlib.Path(os.environ.get("DARTS_TF_GOLDEN", ROOT.parent / "shared" / "golden"))
DATA = pathlib.Path(os.environ.get("DARTS_TF_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def golden():
    """The folder of golden numbers."""
    if not GOLDEN.is_dir():
        pytest.skip(f"golden numbers are not at {GOLDEN}; DARTS_TF_GOLDEN names the folder")
    return GOLDEN


@pytest.fixture(scope="module", autouse=True)
def let_go(request):
    """Frees what a file has cached, graphs of many hundred megabytes among it."""
    yield
    for value in vars(request.module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    gc.collect()


@contextlib.contextmanager
def in_type(name):
    """Lets Keras make variables of a type; afterwards its default is what it was."""
    import keras

    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)  # Keras keeps it from the first layer on, whatever floatx says later
    try:
        yield name
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Runs a test in both types."""
    with in_type(request.param) as name:
        yield name


@pytest.fixture
def float64():
    """Runs a test in float64."""
    with in_type("float64") as name:
        yield name
