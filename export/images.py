"""An image network as it is served: what its export contains, how it is checked, and its model card."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.export import lowering, samples, signatures
from darts_tf.export.saving import Served
from darts_tf.export.verify import Case, tolerance
from darts_tf.genotypes.selection import softmax
from darts_tf.tasks.trained import ImageFacts, Trained


def served(
    trained: Trained[ImageFacts], data_dir: str, with_tflite: bool, say: Callable[[str], None], data: Any = None
) -> Served:
    """Returns what is needed to serve an image network.

    Args:
        trained: The network and the facts about it.
        data_dir: Location of the images; empty for their location in training.
        with_tflite: Whether TFLite files are written.
        say: Called with progress lines.
        data: The images, if they were passed from Python code.

    Raises:
        UserError: The images are missing or do not fit.
    """
    facts, summary, network = trained.facts, trained.summary, trained.network
    fraction, few = trained.config.get("eval_crop", 1.0), slice(samples.CHECKED)
    say(f"reading images of {facts.dataset} ...")
    real = samples.load(trained, data_dir, 512 if with_tflite else samples.CHECKED, data=data)
    cases, files = [_case(trained, "serving_default", "image", real.images, real.images)], ""
    if real.contents:
        decoded = [
            signatures.to_image(tf.constant(content), tf.constant(index), facts.image_shape, fraction).numpy()
            for index, content in enumerate(real.contents)
        ]
        contents = np.array(real.contents, dtype=object)
        cases.append(_case(trained, "serving_bytes", "image_bytes", contents, np.stack(decoded)))
        files = "; serving_bytes: image_bytes, JPEG, PNG, WebP, GIF or BMP files"
    written, off = folded(trained, real.images[few], cases[0].outputs["logits"][few])
    known = facts.image_shape, facts.mean, facts.std, facts.class_names, fraction
    tflite: dict[str, Any] = {"labels": real.labels, "calibration": real.calibration}
    tflite["lowered"] = lambda: signatures.trace(lowering.lower(network), *known)
    return Served(
        endpoints=lambda: signatures.trace(written, *known),
        asset="labels.txt",
        asset_text="".join(" ".join(label.split()) + "\n" for label in facts.class_names),
        cases=cases,
        requests=[(case.signature, {name: values[few] for name, values in case.inputs.items()}) for case in cases],
        data="images",
        card={
            "classes": len(facts.class_names),
            "label_values": facts.classes.values.tolist(),
            "image_shape": list(facts.image_shape),
            "input": f"serving_default: image, float32 in 0..255{files}",
            "normalisation": {"of": "x / 255, inside the graph", "mean": list(facts.mean), "std": list(facts.std)},
            "weights": trained.weights,
            "accuracy": {"accuracy_on": summary.get("selected_on"), **summary.get(trained.weights, {})},
            "parameters": summary.get("parameters", network.parameters),
            "parameters_note": "without the auxiliary head, with batch norms; stored_numbers counts what the file "
            "holds",
            "stored_numbers": None,
            "macs": summary.get("macs", network.macs()),
        },
        checks=lambda found: {"batch_norms_folded": written is not network, "folding_changes_logits_by": off, **found},
        **(tflite if with_tflite else {}),
    )


def _case(trained: Trained[ImageFacts], signature: str, name: str, inputs: np.ndarray, images: np.ndarray) -> Case:
    logits = network_logits(trained.network, trained.facts, images)
    return Case(signature, {name: inputs}, {"logits": logits, "probabilities": softmax(logits, logits.dtype)})


def network_logits(network: Callable, facts: ImageFacts, images: np.ndarray) -> np.ndarray:
    """Returns a network's logits for images `(n, H, W, C)`, float32 in 0..255, computed on a CPU."""
    with tf.device("CPU:0"):
        return facts.logits(network, images)


def folded(trained: Trained[ImageFacts], images: np.ndarray, logits: np.ndarray) -> tuple:
    """Folds the batch norms if the network's space supports that and the outputs are preserved.

    Returns:
        `(network, largest difference of the logits)`: the folded network, or the network itself if its logits would
        change by more than `verify.tolerance`, or if there is no folded form.
    """
    if not hasattr(trained.network, "folded"):
        return trained.network, 0.0
    network = trained.network.folded()
    off = float(np.abs(network_logits(network, trained.facts, images) - logits).max())
    return (network if off <= tolerance(logits) else trained.network), off
