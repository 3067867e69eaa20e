"""A trained network in its work directory: writing and loading."""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np

from darts_tf.system.keras_settings import keras, tf
from darts_tf import genotypes
from darts_tf.config import Config, TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.data.arrays.class_labels import Classes
from darts_tf.data.images.augment import normalize
from darts_tf.data.text.corpus import Vocabulary
from darts_tf.runs.workdir import WorkDir
from darts_tf.spaces.conv.own_operations import add_operations_of
from darts_tf.system.errors import UserError
from darts_tf.system.files import sync_directory, sync_file, temporaries_in, user_path
from darts_tf.tasks.image_facts import load_data_facts, read_json
from darts_tf.tasks.language_data import load_facts, load_vocabulary

WEIGHTS = ("best", "last")


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What inference needs to know about the images that a network was trained on.

    Attributes:
        dataset: Name of the data set.
        class_names: One name per class.
        image_shape: (height, width, channels).
        mean: Mean of `x / 255` per channel, which is subtracted from images.
        std: Standard deviation of `x / 255` per channel, by which they are divided.
        label_values: See `images.dataset.Parts`.
    """

    network: ClassVar[str] = "network on images"
    offers: ClassVar[tuple[str, ...]] = ("genotype", "image_shape", "num_classes")  # attributes of such a network

    dataset: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label_values: tuple[int, ...] = ()

    @property
    def classes(self) -> Classes:
        """The classes, with the numbers that they had in the training data."""
        return Classes(np.array(self.label_values or range(len(self.class_names))), self.class_names)

    @classmethod
    def read(cls, directory: pathlib.Path) -> Self:
        """Reads the facts of a work directory. Raises UserError where they are missing or damaged."""
        facts, names = load_data_facts(directory), ("class_names", "image_shape", "mean", "std")
        values = tuple(facts.get("label_values", ()))
        return cls(**{name: tuple(facts[name]) for name in names}, dataset=facts["dataset"], label_values=values)

    def logits(self, network: Callable, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
        """Returns a network's logits `(n, classes)`, float32, for images `(n, H, W, C)`, numbers in 0..255."""
        parts = [
            network(normalize(images[start : start + batch_size], self.mean, self.std), training=False)
            for start in range(0, len(images), batch_size)
        ]
        return tf.cast(tf.concat(parts, 0), tf.float32).numpy()

    def check(self, network: Any, file: pathlib.Path) -> None:
        """Checks that a network, read from a file, is for such images. Raises UserError."""
        if network.num_classes != len(self.class_names) or tuple(network.image_shape) != self.image_shape:
            raise UserError(
                f"{file} has {network.num_classes} classes of {'x'.join(map(str, network.image_shape))} images, but "
                f"data.json has {len(self.class_names)} of {'x'.join(map(str, self.image_shape))}. Expected the same."
            )


@dataclasses.dataclass(frozen=True)
class TextFacts:
    """What inference needs to know about the text that a language model was trained on.

    Attributes:
        dataset: Name of the text.
        vocabulary: Its words.
    """

    network: ClassVar[str] = "language model"
    offers: ClassVar[tuple[str, ...]] = ("genotype", "vocabulary_size", "units")

    dataset: str
    vocabulary: Vocabulary

    @classmethod
    def read(cls, directory: pathlib.Path) -> Self:
        """Reads the facts of a work directory. Raises UserError where they are missing or damaged."""
        return cls(load_facts(directory).get("dataset", ""), load_vocabulary(directory))

    def check(self, network: Any, file: pathlib.Path) -> None:
        """Checks that a network, read from a file, has these words. Raises UserError."""
        if network.vocabulary_size != len(self.vocabulary):
            raise UserError(
                f"{file} has {network.vocabulary_size} words, but vocabulary.txt has {len(self.vocabulary)}. Expected "
                "the same; restore the file."
            )


_KINDS: dict[str, tuple[type[Config], type[ImageFacts] | type[TextFacts]]] = {
    TrainConfig.kind: (TrainConfig, ImageFacts),
    LanguageTrainConfig.kind: (LanguageTrainConfig, TextFacts),
}


Facts = TypeVar("Facts", ImageFacts, TextFacts)


class Trained(NamedTuple, Generic[Facts]):
    """A trained network and the facts about it.

    Attributes:
        network: An image network maps normalised images `(N, H, W, C)` to logits `(N, classes)`; a language model maps
            tokens `(steps, batch)` and a state `(batch, units)` to logits and states.
        genotype: Its cells.
        facts: What inference needs to know about its data.
        config: The run's settings.
        summary: The results of the run, including `parameters` and scores; empty until it has ended.
        path: The work directory.
        weights: `best` or `last`.
    """

    network: Any
    genotype: Any
    facts: Facts
    config: dict[str, Any]
    summary: dict[str, Any]
    path: pathlib.Path
    weights: str


def load(workdir: str | os.PathLike, weights: str | None = None, operations_file: str = "") -> Trained:
    """Loads the trained network of a work directory, for images or text.

    Args:
        workdir: Work directory of a training run, which may still be in progress.
        weights: `best` or `last`; None for those that the run's summary recommends (`best` while there is none).
        operations_file: A Python file with custom operations, which is run; the one that the run's settings name is
            not.

    Raises:
        UserError: There is no trained network, a file is damaged, the network does not fit its data, or it has custom
            operations and no file of them is named.
    """
    if (kind := kind_of(workdir)) not in _KINDS:
        raise UserError(
            f"{workdir} holds a run of another kind. Expected one of darts-train ({' or '.join(_KINDS)}). "
            f"Received: {kind if kind.isidentifier() else repr(kind)[:80]}."
        )
    path, (config_class, facts_of) = user_path(workdir, "workdir"), _KINDS[kind]
    config = (WorkDir(path).read_config(config_class) or config_class()).to_json()
    if operations_file and "operations_file" not in config:
        raise UserError(f"operations_file is for networks on images, but this is a {facts_of.network}. Leave it out.")
    summary = read_json(path / "summary.json") if (path / "summary.json").exists() else {}
    if wrong := [name for name in WEIGHTS if not isinstance(summary.get(name, {}), dict)]:
        raise UserError(f"{path / 'summary.json'} is damaged: {wrong[0]} is not an object. Restore the file.")
    weights = summary.get("recommended_weights", "best") if weights is None else weights
    if weights not in WEIGHTS:
        raise UserError(f"weights must be one of {', '.join(WEIGHTS)}. Received: weights={str(weights)[:80]!r}.")
    file = path / f"{weights}.keras"
    if not file.exists():
        epoch = "last" if weights == "last" else "first"
        raise UserError(
            f"There is no {file}: the {epoch} epoch has not ended yet. Resume with the same darts-train command."
        )
    facts = facts_of.read(path)
    add_operations_of(path, config.get("operations_file", ""), operations_file)
    network = load_network(file, facts_of)
    facts.check(network, file)
    genotype = genotypes.load(path / "genotype.json")
    return Trained(network, genotype, facts, config, summary, path, weights)


def kind_of(workdir: str | os.PathLike) -> str:
    """Returns the kind of run that a work directory holds, see `config.fields.Config`.

    Raises:
        UserError: There is no such directory, or it holds no run.
    """
    path = user_path(workdir, "workdir")
    if not path.is_dir():
        raise UserError(f"There is no work directory {path}. Expected one that darts-train made.")
    return str(read_json(path / "config.json").get("kind", "search"))


def load_network(path: str | os.PathLike, kind: type[ImageFacts] | type[TextFacts] | None = None) -> Any:
    """Reads a `.keras` file of a derived network.

    Args:
        path: The file.
        kind: Which data the network must be for; None for any.

    Raises:
        UserError: The file is missing, damaged, or holds something else.
    """
    path = user_path(path, "model")
    if not path.is_file():
        raise UserError(f"There is no file {path}. Expected a .keras file that darts-train wrote.")
    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras passes on whatever its archive, its JSON or our constructors raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"Cannot read {path}: {reason[:200].rstrip('.')}. Expected a whole .keras file that darts-train wrote."
        ) from error
    if not all(hasattr(network, name) for name in (kind.offers if kind else ["genotype"])):
        raise UserError(
            f"{path} holds another kind of model. Expected a {kind.network if kind else 'derived network'} that "
            f"darts-train wrote. Received: a {type(network).__name__}; name its work directory instead."
        )
    return network


def save_network(network: Any, path: str | os.PathLike) -> None:
    """Writes a `.keras` file; after a crash the file is the old one or the new one.

    Raises:
        UserError: It cannot be written.
    """
    path = pathlib.Path(path)
    scratch = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        scratch.mkdir()
        with temporaries_in(scratch):  # Keras creates a folder, and leaves it if saving fails
            network.save(scratch / path.name)
        with open(scratch / path.name, "r+b") as file:  # Windows only syncs files opened for writing
            sync_file(file.fileno())
        os.replace(scratch / path.name, path)
        sync_directory(path.parent)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}. The earlier file is unchanged.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
