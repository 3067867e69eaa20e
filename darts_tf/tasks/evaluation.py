"""How good a network is on held-out images: loss, top-1 and top-5 accuracy, throughput."""

import pathlib
import time
from collections.abc import Callable

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel.objective import count_correct, cross_entropy
from darts_tf.data import sources as images
from darts_tf.data.reading import reading
from darts_tf.runs.saved_model import load_saved_model, signature_of
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path
from darts_tf.tasks.image_facts import PARTS, check_same_part, load_data_facts
from darts_tf.tasks.trained import load_network, load_trained

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
    split: str = "",
    max_examples: int = 0,
    batch_size: int = 96,
    operations_file: str = "",
    value_range: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Evaluates a trained network on labelled images.

    Args:
        workdir: Work directory of a training run; or
        model: A `.keras` file, or the folder of a SavedModel (or of its versions) that `darts-export` wrote.
        weights: Of a work directory: `best` or `last`; empty for those that its summary recommends.
        dataset: See `images.load`; empty for that of the work directory.
        data_dir: See `images.load`; empty for that of the work directory.
        split: `test`; `valid`, the validation images that the data bring or that the run of a work directory held out;
            `train`, those that the run trained on, or all training images of other data; empty for the test images,
            or where there are none the validation images that the data bring.
        max_examples: At most so many, with the classes in proportion; 0 for all.
        batch_size: Images at a time.
        operations_file: A Python file with operations of the user's own, see `load_trained`.
        value_range: See `images.load`; empty for that of the work directory.
        say: Is told what is going on.

    Returns:
        What `Evaluator` returns, and `dataset`, `split`, `source`.

    Raises:
        UserError: No such model or data, or the two do not fit together.
    """
    if bool(workdir) == bool(model):
        raise UserError("Say what to evaluate: expected one of --workdir and --model. Received: both or none.")
    workdir, model = workdir and str(user_path(workdir, "workdir")), model and str(user_path(model, "model"))
    say(f"loading {workdir or model} ...")
    config, facts, names = {}, {}, None
    if workdir:
        trained = load_trained(workdir, weights or None, operations_file)
        config, shape = trained.config, trained.image_shape
        forward, names = _inference(trained.network), trained.class_names
        classes, mean, std = len(names), trained.mean, trained.std
        if not dataset or dataset == config["dataset"]:
            # What the run's split.json counts: the images as the run had them.
            facts = load_data_facts(trained.path) if not data_dir or split == "valid" else {}
            dataset, data_dir = config["dataset"], data_dir or config["data_dir"]
    elif pathlib.Path(model).is_dir():
        forward, shape, classes, names = _saved_model(model)
        mean, std = (0.0,) * shape[-1], (1 / 255,) * shape[-1]  # it normalises by itself
    else:
        add_operations(operations_file)
        network = load_network(model)
        forward, shape, classes = _inference(network), network.image_shape, network.num_classes
        beside = load_data_facts(pathlib.Path(model).parent, missing_ok=True)
        mean, std, names = (beside["mean"], beside["std"], beside["class_names"]) if beside else (None, None, None)
    if not dataset:
        raise UserError("Say on which images: expected --dataset beside --model. Received: none.")
    say(f"reading {dataset} ...")
    saved = pathlib.Path(workdir) / "split.json" if facts and split in ("train", "valid") else None
    data = images.load(
        dataset,
        data_dir,
        shape[0] if shape[0] == shape[1] else 0,
        config.get("max_train_examples", 0) if saved else 0,
        shape[-1],
        config.get("seed", 0),
        config.get("eval_crop", 1.0),
        value_range or config.get("value_range", "auto"),
        config.get("split", "auto"),
    )
    if data.image_shape != tuple(shape) or len(data.class_names) != classes:
        raise UserError(
            f"The data do not fit the network: expected {classes} classes of {'x'.join(map(str, shape))} images. "
            f"Received: {len(data.class_names)} classes of {'x'.join(map(str, data.image_shape))} in {dataset}."
        )
    _check_classes(names, data.class_names, dataset, say)
    for line in data.notes:
        say(line)
    split, part, indices = _part(data, split, saved, workdir, facts, config.get("max_train_examples", 0))
    indices = images.sample(part.labels, indices, max_examples, config.get("seed", 0))
    if mean is None:
        say("normalising by this data set's own mean and standard deviation: the file does not say which were used")
        mean, std = data.mean, data.std
    say(f"evaluating {len(indices)} images ...")
    with reading(part):
        result = Evaluator(forward)(images.evaluation_batches(part, indices, batch_size, mean=mean, std=std))
    if classes <= TOP:
        del result["top5_accuracy"]
    return {"dataset": dataset, "split": split, "source": workdir or model} | result


def _part(data, split, saved, workdir, facts, limited):
    """Returns `(name, Split, indices)` of the images that are asked for; `saved` is where a run's `split.json` is."""
    if not split:
        split = "test" if data.test is not None or data.valid is None else "valid"
    if saved is not None and saved.exists():
        if "parts" not in facts and limited:
            raise UserError(
                f"{workdir} was made by version 0.1, which kept other images for its max_train_examples: expected a "
                f"run of this version for --split={split}. Train again, or use --split=test."
            )
        found = images.load_split(saved)
        check_same_part(workdir, facts, data, "train", "valid")
        of, indices = ("train", found.train_indices) if split == "train" else (found.valid_of, found.valid_indices)
        return split, getattr(data, of), indices
    part = getattr(data, split)
    if part is None:
        raise UserError(
            f"{data.name} has no {PARTS[split]} images. Expected another --split, or data with a folder {split}/, or "
            f"with arrays x_{split} and y_{split}."
        )
    return split, part, np.arange(len(part))


def _check_classes(names, found, dataset, say) -> None:
    """Refuses data whose classes have other names than the network's; numbers may stand for names."""
    if names is None:
        return
    names, found = ([" ".join(name.split()) for name in side] for side in (names, found))  # as `labels.txt` has them
    if names == found:
        return
    numbers = [str(label) for label in range(len(found))]
    if numbers in (names, found):
        say(
            f"the classes are matched by their numbers, since one side has no names: 0 is {names[0]!r} and {found[0]!r}"
        )
        return
    place = next(i for i, (a, b) in enumerate(zip(names, found, strict=True)) if a != b)
    raise UserError(
        f"The classes of {dataset} are not those of the network: expected {names[place]!r} as class {place}. "
        f"Received: {found[place]!r}. Name the class folders as in the training data."
    )


def _inference(network):
    return lambda batch: network(batch, training=False)


def newest_version(folder: str) -> pathlib.Path:
    """Returns the folder of the newest version of an exported model; a version's folder, and a file, as they are."""
    path = user_path(folder, "model")
    if not path.is_dir() or (path / "saved_model.pb").exists():
        return path
    versions = sorted((p for p in path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    return versions[-1] if versions else path


def _saved_model(folder):
    """Returns `(forward, image shape, classes, their names or None)` of an exported model; of several the newest."""
    path = newest_version(folder)
    loaded = load_saved_model(path)
    signature = signature_of(loaded, path, "serving_default", ["image"], ["logits"])
    images, logits = (
        signature.structured_input_signature[1]["image"].shape,
        signature.structured_outputs["logits"].shape,
    )
    if images.rank != 4 or not images[1:].is_fully_defined() or logits.rank != 2 or logits[1] is None:
        raise UserError(
            f"{path} is no exported model: expected images of a known size and logits of a known number of classes, as "
            f"darts-export writes them. Received: images of shape {images}, logits of shape {logits}."
        )
    shape, classes, labels = tuple(images[1:]), logits[1], path / "assets" / "labels.txt"
    names = labels.read_text("utf-8").splitlines() if labels.is_file() else None
    names = names if names and len(names) == classes else None
    return (lambda batch, keep=loaded: signature(image=batch)["logits"]), shape, classes, names


def text(result: dict) -> str:
    """Returns what `evaluate` found as a table."""
    shown = {name: value for name, value in result.items() if value is not None}
    for name in ("accuracy", "top5_accuracy", "unknown_words"):
        if name in shown:
            shown[name] = f"{100 * shown[name]:.2f} %"
    width = max(map(len, shown))
    for name in ("images_per_second", "words_per_second"):
        if name in shown:
            shown[name] = f"{shown[name]:,.0f}" if shown[name] >= 100 else f"{shown[name]:.3g}"
    plain = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in shown.items()}
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in plain.items())
