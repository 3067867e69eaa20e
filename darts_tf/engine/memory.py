"""The memory that a run will take, reported before its first step, and advice if it is too much."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import psutil
import tensorflow as tf

from darts_tf.cluster.distribution import Distribution
from darts_tf.config import Run, Search
from darts_tf.engine.liveness import Liveness
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.free_memory import free_memory

MB = 2**20
NODE = 17_000  # bytes per node of a running graph, measured: "memory" in docs/development/benchmarks.md
COPIES = 6  # copies of the weights in a step's tensors: w, its gradient, w', v, a probe, the new w
# The cost of measuring the eigenvalue as multiples of a step: its tensors, and the nodes of its graph; by whether the
# step uses `--hvp=exact`. Tensors by the peak of a process (205 MB per image against 70:
# docs/development/benchmarks.md; an exact step has twice the finite difference's), not by simulating the graph, which
# finds a third; nodes counted.
EIGENVALUE = {False: (3.0, 2.0), True: (1.5, 0.65)}


class Estimate(NamedTuple):
    """An estimate of memory in bytes.

    Attributes:
        tensors: Most that a step's tensors take at once.
        variables: Weights, moving statistics, optimisers.
        graph: What TensorFlow keeps for the graph when it runs it.
    """

    tensors: int
    variables: int
    graph: int


def estimate(
    concrete: tf.types.experimental.ConcreteFunction, variables: Mapping[str, list], length: int = 1
) -> Estimate:
    """Estimates the memory that running a function takes.

    Args:
        concrete: A concrete function.
        variables: Lists by name, see `loop.Task`.
        length: Length of a text window, assumed for unknown sizes.
    """
    liveness = Liveness(length)
    tensors = liveness.peak(concrete)
    return Estimate(tensors, sum(_bytes(v) for group in variables.values() for v in group), NODE * liveness.nodes)


def _bytes(variable):
    return int(np.prod(variable.shape)) * tf.as_dtype(variable.dtype).size


def tell(
    say: Callable[[str], None],
    concrete: tf.types.experimental.ConcreteFunction,
    variables: Mapping[str, list],
    config: Run,
    length: int = 1,
    distribution: Distribution | None = None,
) -> None:
    """Prints one line with the memory that a run will take and, if that is too much, another with what would help.

    Args:
        say: Called with the lines.
        concrete: See `estimate`.
        variables: See `estimate`.
        config: A `config.Run`.
        length: See `estimate`.
        distribution: A `Distribution` over whose devices batches must split evenly; None for one device.
    """
    found = estimate(concrete, variables, length)
    later = with_eigenvalue(found, config)
    parts = f"tensors {found.tensors / MB:,.0f} MB, weights and optimisers {found.variables / MB:,.0f} MB"
    if tf.config.list_physical_devices("GPU"):
        known, kept, where, free = 0, found.variables, "on the device", device_limit()
        graph = later_graph = 0
    else:
        known, kept, where, free = psutil.Process().memory_info().rss, 0, "at the peak", free_memory()
        graph, later_graph = found.graph, later.graph
        parts += f", graph {graph / MB:,.0f} MB, program and data {max(0, known - found.variables) / MB:,.0f} MB"
    needed, most = kept + found.tensors + graph, kept + later.tensors + later_graph
    measured = "" if later is found else f"; with the eigenvalue's measurement about {(known + most) / MB:,.0f} MB"
    say(f"memory: about {(known + needed) / MB:,.0f} MB {where} ({parts}){measured}")
    if free is not None and most > free:
        replicas = 1 if distribution is None else distribution.replicas
        say(too_little(found, needed, free, config, replicas, most))


@contextlib.contextmanager
def told(config: Run) -> Iterator[None]:
    """Turns running out of memory into one line with the settings that may help.

    Args:
        config: A `config.Run`.

    Raises:
        UserError: The code inside ran out of memory.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        ways = ["a smaller batch_size", "a larger accumulate"]
        ways += [] if config.recompute else ["recompute=True"]
        ways += ["eigenvalue=False"] if getattr(config, "eigenvalue", False) else []
        said = one_line(error).split(" [Op:")[0]
        raise UserError(
            f"Out of memory ({said}). Expected a run that fits. Received: batch_size={config.batch_size}, "
            f"accumulate={config.accumulate}. {', '.join(ways)} or a smaller network may help."
        ) from error


def with_eigenvalue(found: Estimate, config: Run) -> Estimate:
    """Returns what a search will take once it measures the eigenvalue; unchanged if it does not.

    Measured on a search on images rather than counted, see `EIGENVALUE`.
    """
    if not (isinstance(config, Search) and config.eigenvalue):
        return found
    exact = config.order == "second" and config.hvp == "exact"
    tensors, graph = EIGENVALUE[exact]
    return Estimate(max(found.tensors, int(tensors * found.tensors)), found.variables, int((1 + graph) * found.graph))


def too_little(found: Estimate, needed: int, free: int, config: Run, replicas: int = 1, most: int = 0) -> str:
    """Returns the warning: which settings would make a run fit, as far as can be predicted.

    Args:
        found: The estimate of a step.
        needed: Bytes that the run still needs for it.
        free: Bytes that are free.
        config: A `config.Run`: its batch size, `accumulate`, `recompute` and `precision`.
        replicas: Devices that share a batch; each of them gets equal parts.
        most: Bytes that the run still needs when measuring the eigenvalue, if more.
    """
    eigenvalue, most = most > needed, max(most, needed)
    less, also = _parts(found, most, with_eigenvalue(found, config).tensors, free, config, replicas), ""
    if eigenvalue and not less and needed > free:
        less, also = _parts(found, needed, found.tensors, free, config, replicas), " and eigenvalue=False"
    alone = ["eigenvalue=False"] if eigenvalue and needed <= free else []
    ways = []
    if alone or less:
        words = [*alone, *([f"{' or '.join(less)} in another work directory{also}"] if less else [])]
        ways.append(f"less memory is needed with {', or '.join(words)}")
    may = ["eigenvalue=False"] if eigenvalue and not alone and not also else []
    may += [] if config.recompute else ["recompute=True"]
    if config.precision == "float32" and tf.config.list_physical_devices("GPU"):
        may.append("precision=bfloat16")
    if may:
        ways.append(f"{' and '.join(may)} may help")
    advice = "; ".join(ways) or "use a smaller network"
    return f"warning: about {most / MB:,.0f} MB more will be needed, and {free / MB:,.0f} MB are free; {advice}"


def _parts(found, needed, tensors, free, config, replicas):
    """Returns flags with which the examples' tensors would fit; only for batches that split evenly."""
    fixed = min(COPIES * found.variables, tensors)
    size, parts = config.batch_size, config.accumulate

    def fits(share):
        return needed - tensors + fixed + (tensors - fixed) * share <= free

    accumulate = (n for n in range(parts + 1, size + 1) if size % (n * replicas) == 0 and fits(parts / n))
    step = parts * replicas
    batch = (n for n in range((size - 1) // step * step, 0, -step) if fits(n / size))
    ways = ("accumulate", next(accumulate, None)), ("batch_size", next(batch, None))
    return [f"{name}={n}" for name, n in ways if n]


def device_limit() -> int | None:
    """Returns the bytes that TensorFlow may use on the first GPU; None if it does not report them."""
    from tensorflow.python.client import device_lib  # not part of TensorFlow's public interface

    return next((d.memory_limit for d in device_lib.list_local_devices() if d.device_type == "GPU"), None)
