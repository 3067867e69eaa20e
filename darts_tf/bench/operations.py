"""The latency of each candidate operation at each of its places in a network, on this device, in served form."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from darts_tf.system.keras_settings import keras, tf
from darts_tf import genotypes, spaces
from darts_tf.config import SearchConfig
from darts_tf.spaces import costs, latency
from darts_tf.spaces.conv.folding import fold, fold_in_place
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.spaces.space import Place
from darts_tf.system.device import device
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.streams import silent

COPIES = 8
"""Sequential copies of an operation in one graph, so that calling the graph is a small part of its time."""
WARM_UP = 3
"""Calls of a graph that are not counted."""
REFERENCES = 4
"""Random networks among those to which predictions are fitted; none of them is used in the check."""
FASTEST = 0.2
"""Fraction of a graph's times that is used: other programs only ever increase a time, above all that of a network."""


def measure(
    config: SearchConfig,
    rounds: int = 60,
    check: int = 0,
    image_channels: int = 3,
    say: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """Measures the operations of a search's derived networks, with folded batch norms, in evaluation mode.

    The time of an operation is that of a graph with some copies of it, minus that of the same graph without them: an
    identity takes no time. In a network, operations take `scale` times that, and the rest takes `fixed_ms`: a line
    fitted to whole networks, made of the fastest operation throughout, of the slowest one, and of random ones. All
    graphs are called in turn, round after round, so that a drift in the machine's speed affects all alike; the result
    is the median of the fastest fifth of a graph's times.

    Args:
        config: The settings; space, operations, channels, cells, nodes, batch size and image size (0 means 32 pixels)
            are used.
        rounds: Timed calls of each graph.
        check: Number of random derived networks whose latency is measured and predicted.
        image_channels: Channels of the images.
        say: Called with progress lines.

    Returns:
        The table, see `spaces.latency`; under `check`, if requested, `spearman`, `pearson`, `worst` (relative error)
        and `networks`, each with `genotype`, `predicted_ms` and `measured_ms`.

    Raises:
        UserError: An operation is unknown, the space defines no places, or the times are nothing but noise.
    """
    add_operations(config.operations_file)
    space, size = spaces.get(config.space), config.image_size or 32
    space.check(config.primitives)
    shape = size, size, image_channels
    names = [name for name in config.primitives if name != "none"]
    if len(names) < 2:
        raise UserError(
            "There is nothing to choose between. Expected at least two operations in addition to none. Received: "
            f"primitives={some_of(config.primitives)}."
        )
    skeleton = costs.network(space, config, costs.alike(space, config, names[0]), (shape, 10))
    places = sorted({place for _, own in space.places(skeleton) for place in own}, reverse=True)
    graphs: dict[Any, Callable] = {}
    for place in places:
        say(f"{len(names)} operations on {place.height}x{place.width}x{place.channels} at stride {place.stride} ...")
        for name in (None, *names):
            graphs[name, place] = _repeated(space, name, place, config.batch_size)
    table: dict[str, Any] = {name: getattr(config, name) for name in latency.NETWORK}
    table |= {"image_shape": list(shape), "batch_size": config.batch_size, "device": device()}
    table |= {"threads": tf.config.threading.get_intra_op_parallelism_threads(), "tensorflow": tf.__version__}
    table |= {"rounds": rounds, "scale": 1.0, "fixed_ms": 0.0}

    # The extreme networks must be known before they are timed with everything else.
    table["operations"] = _rows(_timed(graphs, min(rounds, WARM_UP), silent), names, places)
    rough = latency.costs(table, space, config, skeleton)
    uniform = sorted((costs.alike(space, config, name) for name in names), key=rough.of)
    random = (_random_cell(space, config, names, [seed, 1]) for seed in range(REFERENCES))
    references = [uniform[0], uniform[-1], *random]
    checked = [_random_cell(space, config, config.primitives, [seed, 0]) for seed in range(check)]
    for number, cell in enumerate([*references, *checked]):
        say(f"network {number + 1} of {len(references) + check} ...")
        graphs[number] = _served(costs.network(space, config, cell, (shape, 10)), config.batch_size)
    seconds = _timed(graphs, rounds, say)
    measured = [1e3 * seconds[number] for number in range(len(references) + check)]
    table["operations"] = _rows(seconds, names, places)
    alone = latency.costs(table, space, config, skeleton)
    scale, fixed = np.polyfit([alone.of(cell) for cell in references], measured[: len(references)], 1)
    if scale <= 0:
        raise UserError(
            "Networks with costlier operations took no longer than others, so no latency can be predicted. Measure "
            f"on an idle machine, or with more --steps. Received: steps={rounds}."
        )
    table |= {"scale": float(scale), "fixed_ms": float(fixed)}
    if check:
        predicted = latency.costs(table, space, config, skeleton)
        rest = zip(checked, measured[len(references) :], strict=True)
        found = [(cell.to_text(), predicted.of(cell), each) for cell, each in rest]
        table["check"] = _agreement(found)
    return table


def _timed(graphs: Mapping[Any, Callable], rounds: int, say: Callable[[str], None]) -> dict[Any, float]:
    """Returns each graph's time in seconds: the median of the fastest of its times, with one time per round."""
    for graph in graphs.values():
        for _ in range(WARM_UP):
            graph()
    times: dict[Any, list[float]] = {key: [] for key in graphs}
    for number in range(rounds):
        for key, graph in graphs.items():
            graph()  # the previous call has filled the caches
            start = time.perf_counter()
            graph()
            times[key].append(time.perf_counter() - start)
        if not (number + 1) % 20 or number + 1 == rounds:
            say(f"round {number + 1} of {rounds}")
    fastest = math.ceil(FASTEST * rounds)
    return {key: statistics.median(sorted(each)[:fastest]) for key, each in times.items()}


def _rows(seconds, names, places):
    """The rows of the table: the time of each operation alone, in milliseconds."""
    rows = []
    for place in places:
        for name in names:
            alone = max(0.0, (seconds[name, place] - seconds[None, place]) / COPIES)
            rows.append({"operation": name, **place._asdict(), "ms": round(1e3 * alone, 6)})
    return rows


def _traced(function, x):
    """Returns a call of a traced function of a tensor, which returns when its result is ready."""
    concrete = tf.function(function, autograph=False).get_concrete_function(x)
    return lambda: concrete(x).numpy()


def _repeated(space, name, place, batch):
    """A graph with copies of an operation, each of which waits for the previous one; without copies for no name."""
    made = [costs.operation(space, name, place) if name else lambda x: x for _ in range(COPIES)]
    for each in made if name else ():
        fold_in_place(each)
    x = np.random.default_rng(0).normal(size=(COPIES, batch, place.height, place.width, place.channels))

    def run(xs):
        total = tf.zeros([], xs.dtype)
        for operation, x in zip(made, tf.unstack(xs), strict=True):
            with tf.control_dependencies([total]):
                x = tf.identity(x)
            total += operation(x)[0, 0, 0, 0]
        return total

    return _traced(run, tf.constant(x, keras.config.floatx()))


def _served(net, batch):
    """A derived network in inference."""
    folded = fold(net)
    x = np.random.default_rng(0).normal(size=(batch, *net.image_shape))
    return _traced(lambda images: folded(images), tf.constant(x, keras.config.floatx()))


def _random_cell(space, config, primitives, seed):
    """A genotype of some operations, each choice drawn at random."""
    kind, rng = space.genotype, np.random.default_rng(seed)
    shape = kind.topology(config.num_nodes).num_edges, len(primitives)
    alphas = {cell: rng.normal(size=shape) for cell in kind.cells}
    outputs = kind.output_nodes(config.num_nodes, config.concat)
    return genotypes.derive(kind, alphas, primitives, config.num_nodes, outputs)


def _agreement(found: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """How well predictions agree with measurements; correlations are None for fewer than two networks."""
    predicted, measured = (np.array([each[index] for each in found]) for index in (1, 2))

    def correlation(one, other):
        return round(float(np.corrcoef(one, other)[0, 1]), 4) if len(found) > 1 else None

    ranks = [np.argsort(np.argsort(each)) for each in (predicted, measured)]
    fields = ("genotype", "predicted_ms", "measured_ms")
    return {
        "spearman": correlation(*ranks),
        "pearson": correlation(predicted, measured),
        "worst": round(float(np.max(np.abs(predicted / measured - 1))), 4),
        "networks": [dict(zip(fields, each, strict=True)) for each in found],
    }


def text(table: Mapping[str, Any]) -> str:
    """Returns the results of `measure` as text: facts, a row for each operation, a column for each place; in ms."""
    facts = {name: value for name, value in table.items() if name not in ("operations", "check")}
    lines = [f"{name:<14}  {value}" for name, value in facts.items()]
    rows = table["operations"]
    places = list(dict.fromkeys(tuple(row[name] for name in Place._fields) for row in rows))
    ms = {(row["operation"], tuple(row[name] for name in Place._fields)): row["ms"] for row in rows}
    heads = [f"{height}x{width}x{channels}{'/2' if stride == 2 else ''}" for channels, stride, height, width in places]
    lines += ["", f"{'ms alone':<16}" + "".join(f"{head:>14}" for head in heads)]
    for name in dict.fromkeys(row["operation"] for row in rows):
        lines.append(f"{name:<16}" + "".join(f"{ms[name, place]:>14.4f}" for place in places))
    if "check" in table:
        agreement = table["check"]
        lines += ["", *(f"{name:<14}  {agreement[name]}" for name in ("spearman", "pearson", "worst"))]
        lines += [f"{'predicted':>14}{'measured, ms':>14}"]
        lines += [f"{each['predicted_ms']:>14.3f}{each['measured_ms']:>14.3f}" for each in agreement["networks"]]
    return "\n".join(lines)
