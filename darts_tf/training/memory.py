"""What a run will take of the memory, said before its first step, and what to do where that is too much."""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from darts_tf.training.liveness import Liveness

MB = 2**20
NODE = 17_000  # bytes that each node takes once the graph runs, measured: "Memory and precision" in BUILD.md
COPIES = 6  # of the weights in a step's tensors: w, its gradient, w', v, a probe, the new w


class Estimate(NamedTuple):
    """Bytes.

    Attributes:
        tensors: Most that a step's tensors take at once.
        variables: Weights, moving statistics, optimisers.
        graph: What TensorFlow keeps of the graph when it runs it.
    """

    tensors: int
    variables: int
    graph: int


def estimate(concrete, variables: dict[str, list], length: int = 1) -> Estimate:
    """Estimates what running a function takes.

    Args:
        concrete: A concrete function.
        variables: Lists by name, see `loop.Task`.
        length: Of a window of text: what unknown sizes are taken to be.
    """
    liveness = Liveness(length)
    tensors = liveness.peak(concrete)
    return Estimate(tensors, sum(_bytes(v) for group in variables.values() for v in group), NODE * liveness.nodes)


def _bytes(variable):
    return int(np.prod(variable.shape)) * tf.as_dtype(variable.dtype).size


def tell(say, concrete, variables, config, length: int = 1) -> None:
    """Says in a line what a run will take, and in another, where that is too much, what would help.

    Args:
        say: Is given the lines.
        concrete: See `estimate`.
        variables: See `estimate`.
        config: A `config.Run`.
        length: See `estimate`.
    """
    found = estimate(concrete, variables, length)
    parts = f"tensors {found.tensors / MB:,.0f} MB, weights and optimisers {found.variables / MB:,.0f} MB"
    if tf.config.list_physical_devices("GPU"):
        needed, free = found.tensors + found.variables, device_limit()
        say(f"memory: about {needed / MB:,.0f} MB on the device ({parts})")
    else:
        resident, needed, free = resident_memory(), found.tensors + found.graph, free_memory()
        say(
            f"memory: about {(resident + needed) / MB:,.0f} MB at the peak ({parts}, graph {found.graph / MB:,.0f} MB, "
            f"program and data {max(0, resident - found.variables) / MB:,.0f} MB)"
        )
    if free is not None and needed > free:
        say(too_little(found, needed, free, config))


def too_little(found: Estimate, needed: int, free: int, config) -> str:
    """Returns the warning: which settings would make a run fit, as far as that can be told without trying.

    Args:
        found: The estimate.
        needed: Bytes that the run will still take.
        free: Bytes that there are.
        config: A `config.Run`: its batch size, `accumulate`, `recompute` and `precision`.
    """
    fixed = min(COPIES * found.variables, found.tensors)
    examples, rest = found.tensors - fixed, needed - found.tensors + fixed

    def fits(share):
        return rest + examples * share <= free

    size, parts = config.batch_size, config.accumulate
    ways = [
        f"--accumulate={n}" for n in range(parts + 1, size + 1) if size % n == 0 and fits(parts / n)
    ][:1]  # fmt: skip
    ways += [f"--batch_size={n}" for n in range(size - parts, 0, -parts) if fits(n / size)][:1]
    if not config.recompute:
        ways.append("--recompute")
    if config.precision == "float32":
        ways.append("--precision=bfloat16")
    advice = f"less is taken with {', '.join(ways)}" if ways else "use a smaller network"
    return f"warning: about {needed / MB:,.0f} MB more will be needed, and {free / MB:,.0f} MB are free; {advice}"


def resident_memory() -> int:
    """Returns the bytes that this process has in memory; 0 where the system does not say."""
    try:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def free_memory(root: str = "/") -> int | None:
    """Returns the bytes that this process may still take: of the machine's, and of its control group's limit.

    Args:
        root: Where `proc` and `sys` are.
    """
    found, root = [], pathlib.Path(root)
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        pass
    groups = root / "sys/fs/cgroup"
    for limit, used, facts, cached in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (*(f"memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat")), "total_inactive_file"),
    ):
        try:
            taken = int((groups / used).read_text()) - _counted(groups / facts, cached)
            found.append(int((groups / limit).read_text()) - max(0, taken))
        except (OSError, ValueError):  # no such group, or no limit: "max"
            continue
    return max(0, min(found)) if found else None


def _counted(path: pathlib.Path, name: str) -> int:
    """Returns one number of a `memory.stat`; 0 where there is none. Files' pages are given up where memory lacks."""
    try:
        pairs = [line.split() for line in path.read_text().splitlines()]
        return next((int(pair[1]) for pair in pairs if pair[0] == name), 0)
    except (OSError, ValueError, IndexError):
        return 0


def device_limit() -> int | None:
    """Returns the bytes that TensorFlow may take on the first GPU; None where it does not say."""
    from tensorflow.python.client import device_lib  # not part of TensorFlow's public interface

    return next((d.memory_limit for d in device_lib.list_local_devices() if d.device_type == "GPU"), None)
