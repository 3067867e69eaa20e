"""Export of a trained network, from its work directory to a version that a server loads."""

import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.images.augment import normalize
from darts_tf.export import card, language, lowering, samples, signatures, tflite, verify, warmup
from darts_tf.export.publish import Publication
from darts_tf.spaces.conv.folding import fold
from darts_tf.system.errors import UserError
from darts_tf.tasks.language_trained import load_language_model
from darts_tf.tasks.trained import Trained, kind_of, load_trained

FORMATS = ("saved_model", "tflite")


def export(
    workdir: str | os.PathLike,
    export_dir: str | os.PathLike,
    name: str = "darts",
    version: int | None = None,
    keep: int | None = None,
    formats: Sequence[str] = ("saved_model",),
    weights: str | None = None,
    data_dir: str = "",
    operations_file: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> pathlib.Path:
    """Exports the trained network of a work directory as `EXPORT_DIR/NAME/<version>`.

    Args:
        workdir: Of a training run.
        export_dir: Folder of models, see `publish.Publication`.
        name: The model's name.
        version: Its number; None for the next one.
        keep: Number of older versions to keep; None for all.
        formats: `saved_model`, which is always written, and `tflite`.
        weights: `best` or `last`; None for those that the run recommends.
        data_dir: Where the data are; empty for where they were in training.
        operations_file: A Python file with operations of the user's own, see `load_trained`.
        say: Called with lines of progress.

    Returns:
        The published folder.

    Raises:
        UserError: Bad arguments, a missing or damaged network, missing data, a folder that cannot be used, or an
            export whose outputs are not the network's. Nothing has been published then.
    """
    if unknown := [form for form in formats if form not in FORMATS]:
        raise UserError(f"Unknown format: expected some of {', '.join(FORMATS)}. Received: {unknown[0]}.")
    publication = Publication(export_dir, name, version, keep)
    is_language = kind_of(workdir) == LanguageTrainConfig.kind
    if is_language and "tflite" in formats:
        raise UserError("Language models are exported as a SavedModel only. Received: format tflite; leave it out.")
    if is_language and operations_file:
        raise UserError("--operations_file is for image networks, and this is a language model. Leave it out.")
    with publication.building() as folder:
        if is_language:
            language.build(load_language_model(workdir, weights), folder, name, data_dir, say)
        else:
            trained = load_trained(workdir, weights, operations_file)
            weights = weights or trained.summary.get("recommended_weights", "best")
            say(f"reading images of {trained.dataset} ...")
            real = samples.load(trained, data_dir, 512 if "tflite" in formats else samples.CHECKED)
            say("tracing and writing ...")
            build(trained, real, folder, name, weights, "tflite" in formats, say)
        published = publication.publish(folder)
    say(f"published {published}")
    return published


def build(
    trained: Trained,
    real: samples.Samples,
    folder: pathlib.Path,
    name: str,
    weights: str,
    with_tflite: bool,
    say: Callable[[str], None],
) -> None:
    """Writes a model's files into a folder and checks them; arguments and errors as in `export`."""
    fraction = trained.config.get("eval_crop", 1.0)
    logits = network_logits(trained, real.images)
    network, off = folded(trained, real.images[: samples.CHECKED], logits[: samples.CHECKED])
    facts = (trained.image_shape, trained.mean, trained.std, trained.class_names, fraction)
    with signatures.writing(), tempfile.TemporaryDirectory() as temporary:
        labels = pathlib.Path(temporary, "labels.txt")
        labels.write_text("".join(" ".join(label.split()) + "\n" for label in trained.class_names), "utf-8")
        numbers = signatures.save(signatures.trace(network, *facts), folder, labels)
        warmup.write(folder, warmup.image_requests(name, real.images[: samples.CHECKED], real.contents))
        if with_tflite:
            say("converting to TFLite ...")
            lowered = os.path.join(temporary, "lowered")
            signatures.save(signatures.trace(lowering.lower(trained.network), *facts), lowered, labels)
            tflite.convert(lowered, folder, real.calibration)
    say("checking it in a new process ...")
    expected = {"images": real.images, "labels": real.labels, "logits": logits}
    if real.contents:
        decoded = [
            signatures.to_image(tf.constant(content), tf.constant(index), trained.image_shape, fraction).numpy()
            for index, content in enumerate(real.contents)
        ]
        expected["contents"] = np.array(real.contents, dtype=object)
        expected["content_logits"] = network_logits(trained, np.stack(decoded))
    found = verify.in_fresh_process(folder, expected)
    for line in report(found, len(real.images)):
        say(line)
    checks = {"batch_norms_folded": network is not trained.network, "folding_changes_logits_by": off, **found}
    card.write(folder, trained, card.card(trained, name, weights, numbers, checks))


def report(found: dict, count: int) -> list[str]:
    """Returns what `verify.check` found, on `count` images, as lines to read."""
    saved = found["saved_model"]
    lines = [
        f"equal to the network on real images at batch {' and '.join(map(str, verify.BATCHES))}: logits within "
        f"{saved['logits']:.1g}, probabilities within {saved['probabilities']:.1g}; {saved['warmup_requests']} warm-up "
        "requests run"
    ]
    for kind, result in found.get("tflite", {}).items():
        lines.append(
            f"tflite {kind:8}{result['bytes'] / 1e6:6.2f} MB  accuracy {100 * result['accuracy']:.2f} % on {count} "
            f"images, {100 * result['accuracy_difference']:+.2f} points from the network's"
        )
    return lines


def network_logits(trained: Trained, images: np.ndarray) -> np.ndarray:
    """Returns the network's logits of images `(n, H, W, C)`, float32 in 0..255, computed on a CPU."""
    with tf.device("CPU:0"):
        parts = [
            trained.network(normalize(images[start : start + 64], trained.mean, trained.std), training=False)
            for start in range(0, len(images), 64)
        ]
        return tf.cast(tf.concat(parts, 0), tf.float32).numpy()


def folded(trained: Trained, images: np.ndarray, logits: np.ndarray) -> tuple:
    """Folds the batch norms if that preserves the outputs.

    Returns:
        `(network, largest difference of the logits)`: the folded network, or the network itself where its logits
        would change by more than `verify.tolerance`.
    """
    network = fold(trained.network)
    off = float(np.abs(network_logits(trained._replace(network=network), images) - logits).max())
    return (network if off <= verify.tolerance(logits) else trained.network), off
