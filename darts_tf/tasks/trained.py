"""A trained network in its work directory: how it is written, and how it is found again."""

import os
import pathlib
import shutil
from typing import Any, NamedTuple

from darts_tf.system.keras_settings import keras
from darts_tf import genotypes
from darts_tf.config import Config, TrainConfig
from darts_tf.runs.workdir import WorkDir
from darts_tf.spaces.conv.derived import DerivedNetwork
from darts_tf.spaces.conv.own_operations import add_operations_of
from darts_tf.system.errors import UserError
from darts_tf.system.files import sync_directory, sync_file, temporaries_in, user_path
from darts_tf.tasks.image_facts import load_data_facts, read_json

WEIGHTS = ("best", "last")


class Trained(NamedTuple):
    """A trained network and what is known of it.

    Attributes:
        network: Maps normalised images `(N, H, W, C)` to logits `(N, classes)`.
        genotype: Its cells.
        dataset: Name of the data it was trained on.
        class_names: One for each class.
        image_shape: (height, width, channels).
        mean: Of `x / 255` per channel, which is subtracted from images.
        std: Of `x / 255` per channel, which they are divided by.
        config: The run's settings.
        summary: What the run found: `parameters`, `macs`, accuracies.
        path: The work directory.
    """

    network: Any
    genotype: Any
    dataset: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    config: dict
    summary: dict
    path: pathlib.Path


def save_network(network, path: str | os.PathLike) -> None:
    """Writes a `.keras` file; after a crash the file is the old one or the new one.

    Raises:
        UserError: It cannot be written.
    """
    path = pathlib.Path(path)
    scratch = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        scratch.mkdir()
        with temporaries_in(scratch):  # Keras makes a folder, and leaves it where saving fails
            network.save(scratch / path.name)
        with open(scratch / path.name, "r+b") as file:  # Windows syncs what may be written only
            sync_file(file.fileno())
        os.replace(scratch / path.name, path)
        sync_directory(path.parent)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}. The earlier file is as it was.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load_network(path: str | os.PathLike, kind: type = DerivedNetwork):
    """Reads a `.keras` file of a derived network.

    Args:
        path: The file.
        kind: The class that the network must be of; `recurrent.networks.RecurrentNetwork` for language models.

    Raises:
        UserError: There is none, it is damaged, or it holds something else.
    """
    path = user_path(path, "model")
    if not path.is_file():
        raise UserError(f"There is no file {path}. Expected a .keras file that darts-train wrote.")
    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras lets through whatever its archive, its JSON or our constructors raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"Cannot read {path}: {reason[:200].rstrip('.')}. Expected a whole .keras file that darts-train wrote."
        ) from error
    if not isinstance(network, kind):
        raise UserError(
            f"{path} holds another kind of model. Expected a {kind.__name__} that darts-train wrote. Received: a "
            f"{type(network).__name__}; name its work directory instead."
        )
    return network


class Found(NamedTuple):
    """What `find` finds.

    Attributes:
        path: The work directory.
        config: The run's settings.
        summary: What the run found; empty while it goes on.
        file: The `.keras` file with the weights that were asked for.
    """

    path: pathlib.Path
    config: dict
    summary: dict
    file: pathlib.Path


def kind_of(workdir: str | os.PathLike) -> str:
    """Returns the kind of run that a work directory holds, see `config_fields.Config`.

    Raises:
        UserError: There is no such directory, or it holds no run.
    """
    path = user_path(workdir, "workdir")
    if not path.is_dir():
        raise UserError(f"There is no work directory {path}. Expected one that darts-train made.")
    return str(read_json(path / "config.json").get("kind", "search"))


def find(workdir: str | os.PathLike, config_class: type[Config], weights: str | None = None) -> Found:
    """Finds the files of a training run of one kind; arguments and errors as in `load_trained`."""
    if (other := kind_of(workdir)) != config_class.kind:
        raise UserError(
            f"{workdir} holds a run of another kind. Expected one of darts-train ({config_class.kind}). "
            f"Received: {other if other.isidentifier() else repr(other)[:80]}."
        )
    path = user_path(workdir, "workdir")
    config = WorkDir(path).read_config(config_class).to_json()
    summary = read_json(path / "summary.json") if (path / "summary.json").exists() else {}
    if wrong := [name for name in WEIGHTS if not isinstance(summary.get(name, {}), dict)]:
        raise UserError(f"{path / 'summary.json'} is damaged: {wrong[0]} is no object. Restore the file.")
    if weights is None:
        weights = summary.get("recommended_weights", "best")
    if weights not in WEIGHTS:
        raise UserError(f"weights must be one of {', '.join(WEIGHTS)}. Received: weights={str(weights)[:80]!r}.")
    file = path / f"{weights}.keras"
    if not file.exists():
        other = "last epoch has not ended" if weights == "last" else "first epoch has not ended"
        raise UserError(f"There is no {file}: the {other} yet. Go on with the same darts-train command.")
    return Found(path, config, summary, file)


def load_trained(workdir: str | os.PathLike, weights: str | None = None, operations_file: str = "") -> Trained:
    """Finds the trained network of a work directory.

    Args:
        workdir: Of a training run, which may still go on.
        weights: `best` or `last`; None for those that the run's summary recommends (`best` while there is none).
        operations_file: A Python file with operations of the user's own, which is run; the one that the run's settings
            name is not.

    Returns:
        The network with what is known of it.

    Raises:
        UserError: There is no trained network, a file is damaged, its classes are not those of the data, or it has
            operations of its own and no file of them is named.
    """
    found = find(workdir, TrainConfig, weights)
    path, config, file, facts = found.path, found.config, found.file, load_data_facts(found.path)
    add_operations_of(path, config.get("operations_file", ""), operations_file)
    network = load_network(file)
    if network.num_classes != len(facts["class_names"]) or list(network.image_shape) != facts["image_shape"]:
        raise UserError(
            f"{file} has {network.num_classes} classes of {'x'.join(map(str, network.image_shape))} images, and "
            f"data.json {len(facts['class_names'])} of {'x'.join(map(str, facts['image_shape']))}. Expected the same."
        )
    return Trained(
        network,
        genotypes.load(path / "genotype.json", "conv"),
        facts["dataset"],
        tuple(facts["class_names"]),
        tuple(facts["image_shape"]),
        tuple(facts["mean"]),
        tuple(facts["std"]),
        config,
        found.summary,
        path,
    )
