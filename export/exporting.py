"""Export of a trained network, from its work directory to a version that a server loads."""

import datetime
import json
import os
import pathlib
import platform
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from darts_tf import genotypes
from darts_tf.export import images, language, onnx_model, saving, tflite, verify, warmup
from darts_tf.export.card import markdown
from darts_tf.export.publish import Publication
from darts_tf.system.errors import UserError
from darts_tf.system.version import __version__
from darts_tf.tasks.trained import ImageFacts, TextFacts, Trained, load

FORMATS = ("saved_model", "tflite", "onnx")
# By the facts about the data.
_SERVED: dict[type, Callable[..., saving.Served]] = {ImageFacts: images.served, TextFacts: language.served}


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
    data: Any = None,
) -> pathlib.Path:
    """Exports the trained network of a work directory as `EXPORT_DIR/NAME/<version>`.

    Args:
        workdir: Work directory of a training run.
        export_dir: Folder of models, see `publish.Publication`.
        name: The model's name.
        version: Its number; None for the next one.
        keep: Number of older versions to keep; None for all.
        formats: `saved_model`, which is always written, and for image networks `tflite` and `onnx`.
        weights: `best` or `last`; None for those that the run recommends.
        data_dir: Location of the data; empty for their location in training.
        operations_file: A Python file with custom operations, see `trained.load`.
        say: Called with progress lines.
        data: The training data, if they were passed from Python code.

    Returns:
        The published folder.

    Raises:
        UserError: Bad arguments, a missing or damaged network, missing data, a folder that cannot be used, or an export
            whose outputs differ from the network's. In that case nothing has been published.
    """
    if unknown := [form for form in formats if form not in FORMATS]:
        raise UserError(f"Unknown format: expected some of {', '.join(FORMATS)}. Received: {unknown[0]}.")
    if "onnx" in formats:
        onnx_model.require()
    publication = Publication(export_dir, name, version, keep)
    with publication.building() as folder:
        trained = load(workdir, weights, operations_file)
        others = [form for form in formats if form != "saved_model"]
        if others and isinstance(trained.facts, TextFacts):
            raise UserError(
                f"Language models are exported as a SavedModel only. Received: format {others[0]}; leave it out."
            )
        served = _SERVED[type(trained.facts)](trained, data_dir, "tflite" in formats, say, data)
        build(trained, served, folder, name, say, "onnx" in formats)
        published = publication.publish(folder)
    say(f"published {published}")
    return published


def build(
    trained: Trained,
    served: saving.Served,
    folder: pathlib.Path,
    name: str,
    say: Callable[[str], None],
    with_onnx: bool = False,
) -> None:
    """Writes a model's files into a new folder and checks them; arguments and errors as in `export`."""
    say("tracing and writing ...")
    with saving.writing(), tempfile.TemporaryDirectory() as temporary:
        asset = pathlib.Path(temporary, served.asset)
        asset.write_text(served.asset_text, "utf-8")
        numbers = saving.save(served.endpoints(), folder, asset)
        warmup.write(folder, name, served.requests)
        if served.lowered is not None:
            say("converting to TFLite ...")
            lowered = os.path.join(temporary, "lowered")
            saving.save(served.lowered(), lowered, asset)
            tflite.convert(lowered, folder, served.calibration)
    say("checking it in a new process ...")
    found = verify.in_fresh_process(folder, served.cases, served.labels)
    if with_onnx:
        say("converting to ONNX ...")
        found["onnx"] = onnx_model.check(onnx_model.write(folder), served.cases[0])
    for line in report(found, served):
        say(line)
    genotypes.save(trained.genotype, folder / "assets" / "genotype.json")
    card = _card(trained, name, served.card | {"stored_numbers": numbers}, served.checks(found))
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (folder / "assets" / "model_card.json").write_text(text, "utf-8")
    (folder / "assets" / "model_card.md").write_text(markdown(card), "utf-8")


def report(found: dict, served: saving.Served) -> list[str]:
    """Returns the results of `verify.check` as lines of text."""
    off = dict(found["saved_model"])
    requests = off.pop("warmup_requests")
    words = [f"{name.replace('_', ' ')}{'s' * (name[-1] != 's')} within {value:.1g}" for name, value in off.items()]
    lines = [
        f"equal to the network on real {served.data} at batch {' and '.join(map(str, verify.BATCHES))}: "
        f"{', '.join(words)}; ran {requests} warm-up requests"
    ]
    for kind, result in found.get("tflite", {}).items():
        lines.append(
            f"tflite {kind:8}{result['bytes'] / 1e6:6.2f} MB  accuracy {100 * result['accuracy']:.2f} % on "
            f"{len(served.labels)} images, {100 * result['accuracy_difference']:+.2f} points from the network's"
        )
    if onnx := found.get("onnx"):
        size, off = onnx["bytes"] / 1e6, onnx["probabilities"]
        lines.append(f"onnx {size:.2f} MB  probabilities within {off:.1g} of the network's, by ONNX Runtime")
    return lines


def _card(trained: Trained, name: str, own: dict[str, Any], checks: dict[str, Any]) -> dict[str, Any]:
    """Returns what a user of an exported model should know about it."""
    return {
        "name": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dataset": trained.facts.dataset,
        **own,
        "genotype": trained.genotype.to_json(),
        "training_config": trained.config,
        "checks": checks,
        "versions": {"darts_tf": __version__, "python": platform.python_version()}
        | {package: metadata.version(package) for package in ("tensorflow", "keras", "numpy")},
    }
