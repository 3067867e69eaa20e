"""How good a network is on held-out images: loss, top-1 and top-5 accuracy, throughput."""

import pathlib
import time
from collections.abc import Callable

import tensorflow as tf

from darts_tf.architect import cross_entropy
from darts_tf.data import images
from darts_tf.data.reading import reading
from darts_tf.errors import UserError
from darts_tf.training.own_operations import add_operations
from darts_tf.training.step import count_correct
from darts_tf.training.trained import load_data_facts, load_network, load_trained

TOP = 5


class Evaluator:
    """Runs a network over batches and adds up.

    Args:
        forward: `(images) -> logits`; traced once for each batch size.
    """

    def __init__(self, forward: Callable):
        self.forward = forward
        self._count = tf.function(self._counts, autograph=False, reduce_retracing=True)

    def _counts(self, batch, labels):
        logits = self.forward(batch)
        top = tf.math.in_top_k(labels, tf.cast(logits, tf.float32), min(TOP, logits.shape[-1]))
        return count_correct(logits, labels), tf.reduce_sum(tf.cast(top, tf.int32)), cross_entropy(logits, labels)

    def __call__(self, batches) -> dict[str, float]:
        """Evaluates.

        Args:
            batches: Of `(images, labels (N,))`; the last may be smaller.

        Returns:
            `loss` (nats), `accuracy`, `top5_accuracy` (0 to 1), `examples`, and `images_per_second` without the first
            batch, which builds the graph (None if there is one batch only).
        """
        hits = top = count = 0
        loss, timed, start = 0.0, 0, None
        for batch, labels in batches:
            a, b, mean = self._count(batch, labels)
            hits, top, loss = hits + int(a), top + int(b), loss + float(mean) * len(labels)
            count += len(labels)
            if start is None:
                start = time.monotonic()
            else:
                timed += len(labels)
        rate = timed / max(time.monotonic() - start, 1e-9) if timed else None
        measured = {"loss": loss / count, "accuracy": hits / count, "top5_accuracy": top / count}
        return measured | {"examples": count, "images_per_second": rate}


def evaluate(
    workdir: str = "",
    model: str = "",
    weights: str = "",
    dataset: str = "",
    data_dir: str = "",
    split: str = "test",
    max_examples: int = 0,
    batch_size: int = 96,
    operations_file: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Evaluates a trained network on labelled images.

    Args:
        workdir: Work directory of a training run; or
        model: A `.keras` file, or the folder of a SavedModel (or of its versions) that `darts-export` wrote.
        weights: Of a work directory: `best` or `last`; empty for those that its summary recommends.
        dataset: See `images.load`; empty for that of the work directory.
        data_dir: See `images.load`; empty for that of the work directory.
        split: `test`; `train`; or `valid`, the part of the training images that a run held out.
        max_examples: The first so many; 0 for all.
        batch_size: Images at a time.
        operations_file: A Python file with operations of the user's own, see `load_trained`.
        say: Is told what is going on.

    Returns:
        What `Evaluator` returns, and `dataset`, `split`, `source`.

    Raises:
        UserError: No such model or data, or the two do not fit together.
    """
    if bool(workdir) == bool(model):
        raise UserError("Say what to evaluate: expected one of --workdir and --model. Received: both or none.")
    say(f"loading {workdir or model} ...")
    config, indices = {}, None
    if workdir:
        trained = load_trained(workdir, weights or None, operations_file)
        config, shape = trained.config, trained.image_shape
        forward, classes = _inference(trained.network), len(trained.class_names)
        mean, std = trained.mean, trained.std
        same = not dataset or dataset == config["dataset"]
        dataset, data_dir = dataset or config["dataset"], data_dir or (config["data_dir"] if same else "")
    elif pathlib.Path(model).is_dir():
        forward, shape, classes = _saved_model(model)
        mean, std = (0.0,) * shape[-1], (1 / 255,) * shape[-1]  # it normalises by itself
    else:
        add_operations(operations_file)
        network = load_network(model)
        forward, shape, classes = _inference(network), network.image_shape, network.num_classes
        facts = load_data_facts(pathlib.Path(model).parent, missing_ok=True)
        mean, std = (facts["mean"], facts["std"]) if facts else (None, None)
    if not dataset:
        raise UserError("Say on which images: expected --dataset beside --model. Received: none.")
    say(f"reading {dataset} ...")
    size = shape[0] if shape[0] == shape[1] else 0
    fraction = config.get("eval_crop", 1.0)
    # The indices of a validation part count what the run had kept of the training images.
    limit = config.get("max_train_examples", 0) if split == "valid" else 0
    data = images.load(dataset, data_dir, size, limit, shape[-1], config.get("seed", 0), center_fraction=fraction)
    if data.image_shape != tuple(shape) or len(data.class_names) != classes:
        raise UserError(
            f"The data do not fit the network: expected {classes} classes of {'x'.join(map(str, shape))} images. "
            f"Received: {len(data.class_names)} classes of {'x'.join(map(str, data.image_shape))} in {dataset}."
        )
    if split == "valid":
        if not workdir or not (pathlib.Path(workdir) / "split.json").exists() or dataset != config["dataset"]:
            raise UserError("Only a work directory whose run held images out has a validation split. Use --split=test.")
        indices = images.load_split(pathlib.Path(workdir) / "split.json")[1]
    part = data.test if split == "test" else data.train
    if part is None:
        raise UserError(f"{dataset} has no test images. Use --split=train, or add a folder test/ or x_test, y_test.")
    indices = range(len(part)) if indices is None else indices
    indices = tf.constant(list(indices)[: max_examples or None]).numpy()
    if mean is None:
        say("normalising by this data set's own mean and standard deviation: the file does not say which were used")
        mean, std = data.mean, data.std
    say(f"evaluating {len(indices)} images ...")
    with reading(part):
        result = Evaluator(forward)(images.evaluation_batches(part, indices, batch_size, mean=mean, std=std))
    if classes <= TOP:
        del result["top5_accuracy"]
    return {"dataset": dataset, "split": split, "source": workdir or model} | result


def _inference(network):
    return lambda batch: network(batch, training=False)


def newest_version(folder: str) -> pathlib.Path:
    """Returns the folder of the newest version of an exported model; a version's folder, and a file, as they are."""
    path = pathlib.Path(folder)
    if not path.is_dir() or (path / "saved_model.pb").exists():
        return path
    versions = sorted((p for p in path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    return versions[-1] if versions else path


def _saved_model(folder):
    """Returns `(forward, image shape, number of classes)` of an exported model; of several versions the newest."""
    path = newest_version(folder)
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
        shape = tuple(signature.structured_input_signature[1]["image"].shape[1:])
        classes = signature.structured_outputs["logits"].shape[-1]
    except (OSError, LookupError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"{folder} is no exported model: expected a folder that darts-export wrote, with saved_model.pb. "
            f"Received: {type(error).__name__}."
        ) from error
    return (lambda batch, keep=loaded: signature(image=batch)["logits"]), shape, classes


def text(result: dict) -> str:
    """Returns what `evaluate` found as a table."""
    shown = {name: value for name, value in result.items() if value is not None}
    for name in ("accuracy", "top5_accuracy"):
        if name in shown:
            shown[name] = f"{100 * shown[name]:.2f} %"
    width = max(map(len, shown))
    for name in ("images_per_second", "words_per_second"):
        if name in shown:
            shown[name] = f"{shown[name]:,.0f}" if shown[name] >= 100 else f"{shown[name]:.3g}"
    plain = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in shown.items()}
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in plain.items())
