"""Everything worth timing on a GPU, each in a separate process, as one table."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from darts_tf.system.runtime import module_command

SUITES = ("search", "search_recurrent", "train", "inference")
ORDERS, COMPILED, PRECISIONS = ("first", "second"), (False, True), ("float32", "bfloat16", "float16")
COLUMNS = {
    "step_s": "step, s",
    "first_step_s": "first step, s",
    "device_memory_MB": "device memory, MB",
    "peak_memory_MB": "process memory, MB",
    "kernels": "kernels per step",
    "executed_ops": "operations per step",
    "skipped": "timed steps undone by the loss scale",
}


def variants() -> Iterator[tuple[str, list[str]]]:
    """Yields names and the corresponding arguments of `darts-benchmark`."""
    for compiled in COMPILED:
        flag, words = ["--jit_compile"] if compiled else [], ", XLA" if compiled else ""
        for precision in PRECISIONS:
            flags, said = [f"--precision={precision}", *flag], f", {precision}{words}"
            for suite, what in (("search", "search on images"), ("search_recurrent", "search on a text")):
                for order in ORDERS:
                    yield f"{what}, {order} order{said}", [suite, f"--order={order}", *flags]
            yield f"training{said}", ["train", *flags]
        yield f"inference{words}", ["inference", *flag]


def run(arguments: Mapping[str, Sequence[str]], say: Callable[[str], None], seconds: float = 1800.0) -> dict:
    """Times every variant.

    Args:
        arguments: Further arguments for each of `SUITES`, such as `--steps=10`.
        say: Called with progress lines.
        seconds: Time limit of a variant.

    Returns:
        `device`, `tensorflow` and `rows`: for each variant its `name` and the measurements of `benchmark`, or `error`,
        one line; a variant that fails, for example for lack of memory, does not prevent the others from being timed.
    """
    rows: list[dict] = []
    for name, own in variants():
        say(f"{name} ...")
        command = [*module_command("darts_tf.bin.benchmark"), *own, *arguments[own[0]], "--format=json"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
            rows.append({"name": name} | json.loads((done.stdout.strip().splitlines() or [""])[-1]))
        except subprocess.TimeoutExpired:
            rows.append({"name": name, "error": f"not finished after {seconds:.0f} s"})
        except ValueError:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            rows.append({"name": name, "error": (lines or [f"exit status {done.returncode}"])[-1][:200]})
    known = next((row for row in rows if "device" in row), {})
    return {"device": known.get("device"), "tensorflow": known.get("tensorflow"), "rows": rows}


def table(result: dict) -> str:
    """Returns the results of `run` as a Markdown table, to be pasted into docs/development/benchmarks.md."""
    lines = [f"{result['device']}, TensorFlow {result['tensorflow']}", ""]
    lines += ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in result["rows"]:
        cells = [row["error"]] if "error" in row else [_shown(row.get(key)) for key in COLUMNS]
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(value):
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
