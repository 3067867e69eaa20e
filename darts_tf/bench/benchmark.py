"""The cost of a search step, a training step and inference, in one file because all are timed in the same way."""

import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import psutil

from darts_tf.system.keras_settings import keras, tf
from darts_tf import methods, spaces
from darts_tf.bilevel.step import SearchStep, TrainStep
from darts_tf.config import Run, SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.engine import memory
from darts_tf.passes.loss_scale import SKIPPED, reported
from darts_tf.runs.saved_model import load_saved_model
from darts_tf.spaces.conv.folding import fold
from darts_tf.system.device import device
from darts_tf.system.streams import silent
from darts_tf.tasks import domains


def random_batches(config: Run, image_shape: tuple[int, int, int], num_classes: int) -> list[tuple]:
    """Returns a training and a validation batch of noise, each `(images, labels)`."""
    rng = np.random.default_rng(config.seed)
    shape, dtype = (config.batch_size, *image_shape), keras.config.floatx()
    return [
        (tf.constant(rng.normal(size=shape), dtype), tf.constant(rng.integers(num_classes, size=shape[0]), tf.int32))
        for _ in range(2)
    ]


def _timed(build: Callable, steps: int, say: Callable[[str], None], jit_compile: bool = False, length: int = 1) -> dict:
    """Times a graph function: building, tracing, the first run, and later runs.

    Args:
        build: `() -> (function, inputs)`: the function returns a dict of scalars or of small tensors.
        steps: Runs to time after the first one, at least 1.
        say: Called with progress lines.
        jit_compile: Whether XLA compiles the function.
        length: Length of a text window, see `memory.estimate`.

    Returns:
        In seconds, `build_s` (network and optimisers), `trace_s` (the graph), `first_run_s`, `first_step_s` (their sum:
        everything but Python's imports), `step_s` (median after the first); `executed_ops` of one step with
        `executed_ops_is`, how they were counted; `graph_nodes`, counting every traced function once; `peak_memory_MB`
        of the process, and `estimated_memory_MB`, predicted by `memory.estimate` before the first run;
        `estimated_tensors_MB`, the tensors' part of it; `device_memory_MB`, the most that TensorFlow used on the GPU,
        and `kernels` of one step, None without a GPU; `outputs` of the last run, and `skipped`: how many of the timed
        runs a loss scale has undone (their losses are zero), None without one.
    """
    begin = time.perf_counter()
    function, inputs = build()
    built = time.perf_counter()
    say("building the graph ...")
    concrete = tf.function(function, autograph=False, jit_compile=jit_compile or None).get_concrete_function(*inputs)
    ready = time.perf_counter()
    estimated = memory.estimate(concrete, {}, length)
    expected = (psutil.Process().memory_info().rss + estimated.tensors + estimated.graph) // memory.MB

    def run():
        return {name: value.numpy() for name, value in concrete(*inputs).items()}

    say(f"first run, after {ready - begin:.1f} s ...")
    start = time.perf_counter()
    outputs = run()
    first_run, before = time.perf_counter() - start, ready - begin
    say(f"the first step took {before + first_run:.1f} s including everything before it")
    times, skipped = [], []
    for index in range(steps):
        start = time.perf_counter()
        outputs = run()
        times.append(time.perf_counter() - start)
        skipped += [bool(outputs.pop(SKIPPED))] if SKIPPED in outputs else []
        say(f"step {index + 1} of {steps}: {times[-1]:.3f} s")
    resident, on_device = _peak_memory(), _device_memory()
    say("counting operations ...")
    nodes = _graph_nodes(concrete)
    (executed, kernels), executed_is = _executed_ops(run), "ops that one step executed"
    if executed is None:
        executed, executed_is = nodes, "nodes of the graph; the profiler gave no trace"
    return {
        "step_s": round(statistics.median(times), 4),
        "first_step_s": round(before + first_run, 3),
        "build_s": round(built - begin, 3),
        "trace_s": round(ready - built, 3),
        "first_run_s": round(first_run, 3),
        "peak_memory_MB": resident,
        "estimated_memory_MB": expected,
        "estimated_tensors_MB": estimated.tensors // memory.MB,
        "device_memory_MB": on_device,
        "kernels": kernels,
        "executed_ops": executed,
        "executed_ops_is": executed_is,
        "graph_nodes": nodes,
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "steps": steps,
        "tensorflow": tf.__version__,
        "device": device(),
        "skipped": sum(skipped) if skipped else None,
        "outputs": outputs,
    }


def random_windows(config: LanguageSearchConfig) -> list[tuple]:
    """Returns a training and a validation window of random words, each `(tokens, targets, window)`."""
    window = tf.constant([0, config.bptt, config.bptt], tf.int64)
    shape = (2, 2, config.bptt, config.batch_size)
    texts = np.random.default_rng(config.seed).integers(config.vocabulary_size, size=shape)
    return [(tokens, targets, window) for tokens, targets in tf.constant(texts, tf.int32)]


def search(config: SearchConfig | LanguageSearchConfig, steps: int = 3, say: Callable[[str], None] = silent) -> dict:
    """Times whole search steps, architecture and weights, on random images or on a random text.

    Args:
        config: The settings; method, candidates, network, order, batch size, image size (0 means 32 pixels) or window,
            vocabulary size and dropout, seed and `jit_compile` are used.
        steps: Steps to time after the first one, at least 1.
        say: Called with progress lines.

    Returns:
        The settings, the losses and what `_timed` measures.
    """
    names, sizes, length = ["method", "order", "num_nodes", "batch_size"], {}, 1
    given: tuple
    if isinstance(config, LanguageSearchConfig):
        given, batches, length = (config.vocabulary_size,), random_windows(config), config.bptt
        names += ["num_units", "bptt", "vocabulary_size"]
        about = f"{config.num_units} units, {config.vocabulary_size} words"
    else:
        size = config.image_size or 32
        given, sizes = ((size, size, 3), 10), {"image_size": size}
        batches = random_batches(config, *given)
        names += ["init_channels", "num_cells"]
        about = f"{config.init_channels} channels, {config.num_cells} cells"
    say(f"building the supernet: {about}, order {config.order} ...")
    nets = []

    def build():
        method = methods.make(config)
        nets.append(spaces.get(config.space).supernet(config, method, *given))
        step = SearchStep(nets[0], config, domains.of(config), method=method)
        rate = tf.constant(config.learning_rate, keras.config.floatx())

        def one_step(train, valid, number, rate):
            report = step(train, valid, number, rate)
            names = ("loss", "valid_loss", *reported(config.precision))
            return {name: report[name] for name in names if name in report}  # without steps of the alphas one loss

        return one_step, (*batches, tf.constant(0, tf.int64), rate)

    measured = _timed(build, steps, say, config.jit_compile, length)
    losses = {name: round(float(value), 4) for name, value in measured.pop("outputs").items()}
    settings = {name: getattr(config, name) for name in names} | sizes
    settings |= {"hvp": config.hvp if config.order == "second" else None, "parameters": _size(nets[0])}
    return measured | settings | _run_settings(config) | losses


def train(config: TrainConfig, steps: int = 3, say: Callable[[str], None] = silent) -> dict:
    """Times training steps of a derived network on random images.

    Args:
        config: The settings; genotype, network, batch size, image size (0 means 32 pixels, 224 for the ImageNet
            network), seed and `jit_compile` are used.
        steps: See `search`.
        say: See `search`.

    Returns:
        The settings, the loss and what `_timed` measures; `parameters` and `macs` without the auxiliary head.
    """
    nets = []

    def build():
        nets.append(_derived(config, say))
        step = TrainStep(nets[0], config, domains.of(config))
        batch, _ = random_batches(config, nets[0].image_shape, nets[0].num_classes)
        seeds = tf.constant(0, tf.int64), tf.constant(config.seed, tf.int64)

        def one_step(batch, rate, drop, number, seed):
            report = step(batch, number, rate, drop, seed)
            return {name: report[name] for name in ("loss", *reported(config.precision))}

        dtype = keras.config.floatx()
        return one_step, (batch, tf.constant(config.learning_rate, dtype), tf.constant(config.drop_path, dtype), *seeds)

    measured = _timed(build, steps, say, config.jit_compile)
    loss = round(float(measured.pop("outputs")["loss"]), 4)
    return measured | _derived_settings(config, nets[0]) | {"loss": loss}


def inference(config: TrainConfig, steps: int = 10, say: Callable[[str], None] = silent) -> dict:
    """Times a derived network's inference from a SavedModel with folded batch norms on random images; see `train`."""
    net = _derived(config, say)
    say("folding and saving ...")
    with tempfile.TemporaryDirectory() as folder:
        folded = fold(net)
        module = tf.Module()
        module.variables_of_network = [variable.value for variable in folded.variables]
        spec = tf.TensorSpec((None, *net.image_shape), name="image")
        module.serve = tf.function(lambda image: {"logits": folded(image)}, input_signature=[spec], autograph=False)
        tf.saved_model.save(module, folder, signatures=module.serve)
        (images, _), _ = random_batches(config, net.image_shape, net.num_classes)

        def build():
            loaded = load_saved_model(folder)
            return lambda image: loaded.signatures["serving_default"](image=image), (images,)

        measured = _timed(build, steps, say, config.jit_compile)
    measured.pop("outputs")
    return measured | _derived_settings(config, net)


def _derived(config, say):
    size = config.image_size or (224 if config.network == "imagenet" else 32)
    say(f"building the network: {config.init_channels} channels, {config.num_cells} cells ...")
    return spaces.get(config.space).network(config, (size, size, 3), 1000 if config.network == "imagenet" else 10)


def _derived_settings(config, net):
    settings = {name: getattr(config, name) for name in ("network", "init_channels", "num_cells", "batch_size")}
    settings |= {"image_size": net.image_shape[0]} | _run_settings(config)
    return settings | {"parameters": net.parameters, "macs": net.macs(), "genotype": config.genotype}


def _run_settings(config):
    return {name: getattr(config, name) for name in ("jit_compile", "accumulate", "precision", "recompute")}


def _size(supernet):
    return sum(int(np.prod(variable.shape)) for variable in supernet.weight_variables)


def text(result: dict) -> str:
    """Returns the results of `search` or `gradients` as a table."""
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


def _peak_memory() -> int:
    """Returns the peak resident memory of the process, in MiB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset // 2**20
    import resource  # not available on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def _device_memory() -> int | None:
    """Returns the peak memory of tensors on the GPU, in MiB; None without a GPU."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] // 2**20


def _graph_nodes(concrete: tf.types.experimental.ConcreteFunction) -> int:
    graph = concrete.graph.as_graph_def()
    return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def _executed_ops(call: Callable) -> tuple[int | None, int | None]:
    """Counts the operations that TensorFlow's executor runs in one call, and the kernels that run on a GPU.

    Returns:
        Both counts, None if the profiler records no trace of them.
    """
    try:
        from tensorflow.tsl.profiler.protobuf import xplane_pb2
    except ImportError:  # not part of TensorFlow's public interface
        return None, None
    count = kernels = 0
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
        with tf.profiler.experimental.Profile(folder, options):
            call()
        for path in pathlib.Path(folder).rglob("*.xplane.pb"):
            space = xplane_pb2.XSpace.FromString(path.read_bytes())
            for plane in space.planes:
                if plane.name.startswith("/device:GPU"):
                    streams = [line for line in plane.lines if line.name.startswith("Stream")]
                    kernels += sum(len(line.events) for line in streams)
                if plane.name != "/host:CPU":
                    continue
                # An executed operation is called `node:Type`, and `Type` is its display name.
                ops = {
                    key
                    for key, event in plane.event_metadata.items()
                    if event.display_name and event.name.endswith(f":{event.display_name}")
                }
                count += sum(event.metadata_id in ops for line in plane.lines for event in line.events)
    return count or None, kernels or None
