"""Fixtures that several tests share: golden numbers, the floating-point type, the graph optimiser, a small text."""

import gc
import os
import signal
import sys

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the binaries do
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

# A shell that runs tests in the background has them ignore Ctrl-C, and so would the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("tests.helpers")
# Graphs are a hundred thousand objects each, nearly all of which stay until a test ends: to look at them as often as
# Python does by itself takes a tenth of all the time.
gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items):
    """Marks as slow what measurements say is slow; the files outside of folders, with the longest tests, come first."""
    from tests.helpers import slow
    from tests.helpers.paths import ROOT

    items.sort(key=lambda item: item.path.parent != ROOT / "tests")
    listed = slow.listed()
    for item in items:
        file, _ = item.nodeid.split("::", 1)
        if listed & {item.nodeid, *(f"{file}::{fixture}" for fixture in item.fixturenames)}:
            item.add_marker("slow")


@pytest.fixture(scope="session")
def golden():
    """The folder of golden numbers."""
    from tests.helpers.paths import GOLDEN

    if not GOLDEN.is_dir():
        pytest.skip(f"golden numbers are not at {GOLDEN}; DARTS_TF_GOLDEN names the folder")
    return GOLDEN


@pytest.fixture(scope="session")
def variants():
    """The folder of golden numbers of the successors of DARTS."""
    from tests.helpers.paths import VARIANTS

    if not VARIANTS.is_dir():
        pytest.skip(f"golden numbers are not at {VARIANTS}; DARTS_TF_GOLDEN_VARIANTS names the folder")
    return VARIANTS


@pytest.fixture(scope="module", autouse=True)
def let_go(request):
    """Frees what a file has cached, graphs of many hundred megabytes among it.

    What is there when it starts, TensorFlow's modules for the most part, no collection needs to look at again: each
    takes a quarter of a second, and there are thousands.
    """
    gc.collect()
    gc.freeze()
    yield
    for value in vars(request.module).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    gc.collect()


@pytest.fixture(autouse=True)
def gradients_let_go():
    """Without what a test has registered every graph would stay until the process ends."""
    from darts_tf.passes import graph

    with graph.gradients_let_go():
        yield


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Runs a test in both types."""
    from tests.helpers.types import in_type

    with in_type(request.param) as name:
        yield name


@pytest.fixture
def float64():
    """Runs a test in float64."""
    from tests.helpers.types import in_type

    with in_type("float64") as name:
        yield name


@pytest.fixture(scope="module", autouse=True)
def as_the_binaries_do():
    """Without TensorFlow's graph optimiser, which is slow, and rounds otherwise from one graph to the next."""
    if "tensorflow" in sys.modules:
        _optimise_graphs(False)


@pytest.fixture(scope="module")
def as_keras_users_do():
    """With TensorFlow's graph optimiser."""
    _optimise_graphs(True)


def _optimise_graphs(wanted):
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not wanted})


@pytest.fixture(scope="module")
def deviations():
    """Prints the largest deviations from the golden numbers when a module is done."""
    from tests.helpers.golden import WORST

    yield
    for (quantity, dtype), (error, what) in sorted(WORST.items()):
        print(f"\n{quantity:40} {dtype:8} {error:8.1e}  {what}", end="")
    WORST.clear()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with three splits of a made-up language, in which a word tells much about the next one."""
    import numpy as np

    folder, rng = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    words = [f"w{number}" for number in range(12)]
    for split, lines in (("train", 60), ("valid", 25), ("test", 20)):
        starts = rng.integers(12, size=lines)
        sentences = [" ".join(words[(start + 2 * step) % 12] for step in range(8)) for start in starts]
        (folder / f"{split}.txt").write_text("\n".join(sentences) + "\n")
    return folder
