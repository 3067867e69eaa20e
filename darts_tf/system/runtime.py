"""TensorFlow as run by the commands: threads, the graph optimiser where it helps, and a quiet start.

Nothing heavy is imported before `configure` is called, and it must be called before anything uses TensorFlow.
"""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from darts_tf.system import environment, streams
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Suppresses output to file descriptor 2, including that of C++; shows it if the body fails."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: nothing can appear there
        yield
        return
    streams.flush(sys.stderr)
    with _nowhere() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:  # not Ctrl-C, which is not a failure of the body
            streams.flush(sys.stderr)
            os.dup2(kept, 2)
            with contextlib.suppress(OSError):
                held.seek(0)
                os.write(2, held.read())
            raise
        finally:
            streams.flush(sys.stderr)
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """A context without the garbage collector, which never looks again at the objects that exist at its end.

    The import of TensorFlow makes a million objects that stay. So it takes a seventh less time, and collections are
    quicker while graphs are built.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()


def _nowhere() -> BinaryIO:
    """A writable in-memory file, if the system has such files; as a last resort one that discards everything."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # an old system, or no memory left
            return open(os.memfd_create("stderr"), "w+b")
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no temporary folder, or no space there
        return open(os.devnull, "w+b")


def cluster() -> tuple[int, list[str]]:
    """Reads TF_CONFIG; returns `(index of this process, addresses of all processes)`. The first is the chief.

    Raises:
        UserError: It is missing or invalid.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        found = parse_json(text)
        tasks = {kind: found["cluster"].get(kind, []) for kind in ("chief", "worker")}
        for kind, named in tasks.items():
            if not (isinstance(named, list) and all(isinstance(address, str) for address in named)):
                raise ValueError(f"{kind} is not a list of strings")
        task, index = found["task"]["type"], int(found["task"]["index"])
        if not 0 <= index < len(tasks[task]):
            raise ValueError(f"there is no {task} {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "TF_CONFIG must name this cluster's processes: expected "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}. '
            f"Received: {text[:200] or 'nothing'} ({type(error).__name__}: {error})."
        ) from error
    return index + (len(tasks["chief"]) if task == "worker" else 0), tasks["chief"] + tasks["worker"]


def module_command(module: str) -> list[str]:
    """Returns the start of a command line that runs a module of this package in its own process.

    Without `-P` the current folder would come first on the path, and a checkout's `darts_tf` lacks the packages that
    are installed as `darts_tf.bin` and `darts_tf.export`.
    """
    return [sys.executable, "-P", "-m", module]


def load() -> None:
    """Imports TensorFlow and Keras, which environment variables or a keras.json do not influence if this is first."""
    environment.settle()
    first = "tensorflow" not in sys.modules  # later, the objects that exist are the user's
    # Notices about oneDNN and missing CUDA libraries are written before any log level applies.
    with quiet_stderr(), environment.importing(), uncollected() if first else contextlib.nullcontext():
        import keras  # noqa: F401
        import tensorflow as tf  # noqa: F401


def configure(threads: int = 0, jit_compile: bool = False, strategy: str = "none", replicas: int = 0) -> None:
    """Imports TensorFlow and Keras and sets them up for this process, once, before anything runs.

    Neither is influenced by environment variables or a keras.json, unless already imported.

    Args:
        threads: CPU threads that an operation may use; 0 for all cores.
        jit_compile: Whether the step will be compiled by XLA.
        strategy: See `config.Run`.
        replicas: See `config.Run`.

    Raises:
        UserError: TensorFlow has already been used in this process.

    Example:
        >>> import darts_tf
        >>> darts_tf.configure(threads=2)
        >>> import tensorflow as tf
        >>> tf.config.threading.get_intra_op_parallelism_threads()
        2
    """
    load()
    with quiet_stderr():
        import tensorflow as tf
        from absl import logging

        logging.set_verbosity(logging.ERROR)  # loaded models warn about gradients that are not needed
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
        except RuntimeError as error:
            raise UserError(
                "configure comes too late: expected it before anything uses TensorFlow in this process. Received: "
                "TensorFlow in use. Restart Python, or the notebook's kernel, and call it first, or leave it out."
            ) from error
        # On a CPU the graph optimiser doubles the time of the first run without making steps faster; XLA has its own.
        # On a GPU TensorFlow's default is kept: there it also chooses the convolutions' layout.
        useless = jit_compile or not tf.config.list_physical_devices("GPU")
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": useless})
        if replicas > 1 and not tf.config.list_physical_devices("GPU"):
            pieces = [tf.config.LogicalDeviceConfiguration()] * replicas
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], pieces)
        if strategy != "multi_worker":  # a process must join a cluster before this
            tf.config.list_logical_devices()  # opens the devices here, with more notices
