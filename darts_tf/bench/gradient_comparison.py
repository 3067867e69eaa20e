"""Compares the three gradients of the alphas: first order, finite differences, exact."""

from collections.abc import Callable, Sequence

from darts_tf.system.keras_settings import keras, standing, tf
from darts_tf import spaces
from darts_tf.bench.benchmark import random_batches
from darts_tf.bilevel.architect import Architect, VirtualStep
from darts_tf.bilevel.objective import SupernetLoss
from darts_tf.bilevel.optimizers import SGD, global_norm
from darts_tf.bilevel.step import traced
from darts_tf.config import SearchConfig
from darts_tf.data import sources as images
from darts_tf.data.images.split import divide
from darts_tf.data.images.stream import stream
from darts_tf.data.reading import reading
from darts_tf.system.device import device
from darts_tf.system.streams import silent

PAPER_RADIUS = 0.01


def compare(
    config: SearchConfig,
    dataset: str = "",
    radii: Sequence[float] = (0.1, 0.01, 1e-3, 1e-4),
    float64: bool = False,
    say: Callable[[str], None] = silent,
) -> dict:
    """Compares the alpha gradients of one batch: first order, finite differences, exact.

    Args:
        config: The settings; network, data, batch size, learning rate (xi) and seed are used. The weights are
            untrained.
        dataset: `"random"` for noise; otherwise the config's data set is read, without augmentation.
        radii: Radii of the finite differences; the paper's 0.01 is added if missing.
        float64: Whether to compute in float64, where a small radius is not lost in rounding.
        say: Called with progress lines.

    Returns:
        The settings, and `rows`: for each gradient its `name`, `norm` and `loss`, and, against the exact gradient and
        that of the paper's radius, the cosine and the relative distance `|g - other| / |other|`.
    """
    radii = sorted({*radii, PAPER_RADIUS}, reverse=True)
    with standing("float64" if float64 else "float32"):
        say(f"reading the data: {dataset or config.dataset} ...")
        batches, image_shape, num_classes = _batches(config, dataset)
        say(f"building the supernet: {config.init_channels} channels, {config.num_cells} cells ...")
        net = spaces.get(config.space).supernet(config, None, image_shape, num_classes)
        functions = SupernetLoss(net, trace=traced)
        sgd = SGD(functions.weights.pack(net.weight_variables), config.momentum, config.weight_decay)
        virtual_step = VirtualStep(functions, sgd)
        rate = tf.constant(config.learning_rate, keras.config.floatx())
        settings: dict[str, dict] = {"first order": {"order": "first"}}
        settings |= {f"radius {radius:g}": {"radius": radius} for radius in radii}
        settings["exact"] = {"hvp": "exact"}
        found = {}
        for name, setting in settings.items():
            say(f"gradient: {name} ...")
            told, alphas, _ = Architect(functions, virtual_step, None, **setting).gradient(batches[0], batches[1], rate)
            found[name] = float(told.loss), alphas
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
        "device": device(),
    }


def _compared(tensors: Sequence[tf.Tensor], reference: Sequence[tf.Tensor]) -> tuple[float, float]:
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
    data = images.load_for(config)
    found = divide(data, config, ("train the weights", "train the alphas"))
    batches = []
    for number, (split, indices) in enumerate(((data.train, found.train), (found.split, found.held_out))):
        seed = config.seed + number
        batch = stream(split, indices, config.batch_size, seed, mean=data.mean, std=data.std)
        with reading(split):
            pixels, labels = next(iter(batch))
        batches.append((tf.cast(pixels, keras.config.floatx()), labels))
    return batches, data.image_shape, len(data.class_names)
