"""What a search step costs here, and how far the three gradients of the alphas lie apart."""

import contextlib
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from darts_tf.architect import Architect, SupernetLoss
from darts_tf.config import SearchConfig
from darts_tf.data import images
from darts_tf.optimizers import SGD, global_norm
from darts_tf.training.search import build_supernet
from darts_tf.training.step import SearchStep, traced

PAPER_RADIUS = 0.01


def _silent(line: str) -> None:
    """Says nothing."""


def random_batches(config: SearchConfig, image_shape, num_classes: int) -> list:
    """Returns a training and a validation batch of noise, each `(images, labels)`."""
    rng = np.random.default_rng(config.seed)
    shape, dtype = (config.batch_size, *image_shape), keras.config.floatx()
    return [
        (tf.constant(rng.normal(size=shape), dtype), tf.constant(rng.integers(num_classes, size=shape[0]), tf.int32))
        for _ in range(2)
    ]


def search(config: SearchConfig, steps: int = 3, say: Callable[[str], None] = _silent) -> dict:
    """Times whole search steps, architecture and weights, on random images.

    Args:
        config: Its network, order, batch size, image size (0 means 32 pixels), seed and `jit_compile` count.
        steps: Steps to time after the first one, at least 1.
        say: Is told what is going on, line by line.

    Returns:
        The settings and, in seconds, `build_s` (network and optimisers), `trace_s` (the graph), `first_run_s`,
        `first_step_s` (their sum: everything but Python's imports), `step_s` (median after the first); `executed_ops`
        of one step with `executed_ops_is`, how they were counted; `graph_nodes`, every traced function once;
        `peak_memory_MB` of the process.
    """
    size = config.image_size or 32
    image_shape, num_classes = (size, size, 3), 10
    say(f"building the supernet: {config.init_channels} channels, {config.num_cells} cells ...")
    begin = time.perf_counter()
    net = build_supernet(config, image_shape, num_classes)
    step = SearchStep(net, config)
    train, valid = random_batches(config, image_shape, num_classes)
    rate = tf.constant(config.learning_rate, keras.config.floatx())

    def one_step(train, valid, rate):
        report = step(train, valid, rate)
        return report["loss"], report["valid_loss"]

    built = time.perf_counter()
    say(f"building the graph: order {config.order} ...")
    run = tf.function(one_step, autograph=False, jit_compile=config.jit_compile or None)
    concrete = run.get_concrete_function(train, valid, rate)
    ready = time.perf_counter()
    say(f"first run, after {ready - begin:.1f} s ...")
    losses = [float(value) for value in concrete(train, valid, rate)]
    first = time.perf_counter()
    say(f"the first step took {first - begin:.1f} s with all that goes before it")
    times = []
    for index in range(steps):
        start = time.perf_counter()
        losses = [float(value) for value in concrete(train, valid, rate)]
        times.append(time.perf_counter() - start)
        say(f"step {index + 1} of {steps}: {times[-1]:.3f} s")
    memory = _peak_memory()
    say("counting operations ...")
    nodes = _graph_nodes(concrete)
    executed, executed_is = _executed_ops(lambda: concrete(train, valid, rate)), "ops that one step executed"
    if executed is None:
        executed, executed_is = nodes, "nodes of the graph; the profiler gave no trace"
    return {
        "step_s": round(statistics.median(times), 4),
        "first_step_s": round(first - begin, 3),
        "build_s": round(built - begin, 3),
        "trace_s": round(ready - built, 3),
        "first_run_s": round(first - ready, 3),
        "peak_memory_MB": memory,
        "executed_ops": executed,
        "executed_ops_is": executed_is,
        "graph_nodes": nodes,
        "parameters": sum(int(np.prod(v.shape)) for v in net.weight_variables),
        "order": config.order,
        "hvp": config.hvp if config.order == "second" else None,
        "init_channels": config.init_channels,
        "num_cells": config.num_cells,
        "num_nodes": config.num_nodes,
        "batch_size": config.batch_size,
        "image_size": size,
        "jit_compile": config.jit_compile,
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "steps": steps,
        "loss": round(losses[0], 4),
        "valid_loss": round(losses[1], 4),
        "tensorflow": tf.__version__,
        "device": _device(),
    }


def gradients(
    config: SearchConfig,
    dataset: str = "",
    radii: Sequence[float] = (0.1, 0.01, 1e-3, 1e-4),
    float64: bool = False,
    say: Callable[[str], None] = _silent,
) -> dict:
    """Compares the alpha gradients of one batch: first order, finite differences, exact.

    Args:
        config: Its network, data, batch size, learning rate (xi) and seed count. The weights are fresh.
        dataset: `"random"` for noise; else the config's data set is read, without augmentation.
        radii: Of the finite differences; the paper's 0.01 is added where it is missing.
        float64: Whether to compute in float64, where a small radius is not lost in rounding.
        say: Is told what is going on, line by line.

    Returns:
        The settings, and `rows`: for each gradient its `name`, `norm` and `loss`, and against the exact one and the
        one of the paper's radius the cosine and the relative distance `|g - other| / |other|`.
    """
    radii = sorted({*radii, PAPER_RADIUS}, reverse=True)
    with _floatx("float64" if float64 else "float32"):
        say(f"reading the data: {dataset or config.dataset} ...")
        batches, image_shape, num_classes = _batches(config, dataset)
        say(f"building the supernet: {config.init_channels} channels, {config.num_cells} cells ...")
        net = build_supernet(config, image_shape, num_classes)
        functions = SupernetLoss(net, trace=traced)
        sgd = SGD(functions.weights.pack(net.weight_variables), config.momentum, config.weight_decay)
        rate = tf.constant(config.learning_rate, keras.config.floatx())
        settings = {"first order": {"order": "first"}}
        settings |= {f"radius {radius:g}": {"radius": radius} for radius in radii}
        settings["exact"] = {"hvp": "exact"}
        found = {}
        for name, setting in settings.items():
            say(f"gradient: {name} ...")
            loss, alphas, _ = Architect(functions, sgd, None, **setting).gradient(*batches, rate)
            found[name] = float(loss), alphas
    references = {"exact": found["exact"][1], "paper": found[f"radius {PAPER_RADIUS:g}"][1]}
    rows = []
    for name, (loss, alphas) in found.items():
        row = {"name": name, "loss": loss, "norm": float(global_norm(alphas))}
        for key, reference in references.items():
            row[f"cosine_{key}"], row[f"distance_{key}"] = _compared(alphas, reference)
        rows.append(row)
    return {
        "rows": rows,
        "dataset": dataset or config.dataset,
        "init_channels": config.init_channels,
        "num_cells": config.num_cells,
        "num_nodes": config.num_nodes,
        "batch_size": config.batch_size,
        "image_shape": list(image_shape),
        "xi": config.learning_rate,
        "seed": config.seed,
        "float": "float64" if float64 else "float32",
        "tensorflow": tf.__version__,
        "device": _device(),
    }


def text(result: dict) -> str:
    """Returns what `search` or `gradients` found as a table."""
    plain = [(key, value) for key, value in result.items() if key != "rows" and value is not None]
    width = max(len(key) for key, _ in plain)
    lines = [f"{key:<{width}}  {value}" for key, value in plain]
    if "rows" in result:
        head = f"{'gradient':<14}{'norm':>12}{'against exact:':>18}{'against radius 0.01:':>26}"
        lines += ["", head, f"{'':<26}{'cosine':>9}{'distance':>11}{'cosine':>13}{'distance':>11}"]
        for row in result["rows"]:
            lines.append(
                f"{row['name']:<14}{row['norm']:>12.4e}{row['cosine_exact']:>9.4f}{row['distance_exact']:>11.2e}"
                f"{row['cosine_paper']:>13.4f}{row['distance_paper']:>11.2e}"
            )
    return "\n".join(lines)


def _compared(tensors, reference) -> tuple[float, float]:
    """Returns the cosine with the reference and the distance from it, relative to its norm."""
    inner = float(tf.add_n([tf.reduce_sum(t * r) for t, r in zip(tensors, reference, strict=True)]))
    norm = float(global_norm(reference))
    apart = float(global_norm([t - r for t, r in zip(tensors, reference, strict=True)]))
    return inner / (float(global_norm(tensors)) * norm), apart / norm


def _batches(config, dataset):
    """Returns `([train, valid], image_shape, num_classes)`; a batch is `(images, labels)`."""
    if dataset == "random":
        image_shape = (config.image_size or 32, config.image_size or 32, 3)
        return random_batches(config, image_shape, 10), image_shape, 10
    data = images.load(config.dataset, config.data_dir, config.image_size, config.max_train_examples, seed=config.seed)
    halves = images.search_split(data.train.labels, config.train_portion, config.split, config.seed)
    batches = []
    for number, half in enumerate(halves):
        seed = config.seed + number
        batch = images.stream(data.train, half, config.batch_size, seed, mean=data.mean, std=data.std)
        pixels, labels = next(iter(batch))
        batches.append((tf.cast(pixels, keras.config.floatx()), labels))
    return batches, data.image_shape, len(data.class_names)


@contextlib.contextmanager
def _floatx(name):
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)  # Keras keeps it from the first layer on, whatever floatx says later
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)


def _peak_memory() -> int:
    """Returns the most memory the process ever had resident, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def _graph_nodes(concrete) -> int:
    graph = concrete.graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def _executed_ops(call) -> int | None:
    """Counts the operations that TensorFlow's executor runs in one call; None if the profiler gives no trace."""
    try:
        from tensorflow.tsl.profiler.protobuf import xplane_pb2
    except ImportError:  # not part of TensorFlow's public interface
        return None
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
        with tf.profiler.experimental.Profile(folder, options):
            tf.nest.map_structure(lambda tensor: tensor.numpy(), call())
        for path in pathlib.Path(folder).rglob("*.xplane.pb"):
            space = xplane_pb2.XSpace.FromString(path.read_bytes())
            for plane in space.planes:
                if plane.name != "/host:CPU":
                    continue
                # An executed operation is called `node:Type`, and `Type` is its display name.
                ops = {
                    key
                    for key, event in plane.event_metadata.items()
                    if event.display_name and event.name.endswith(f":{event.display_name}")
                }
                count += sum(event.metadata_id in ops for line in plane.lines for event in line.events)
    return count or None


def _device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
