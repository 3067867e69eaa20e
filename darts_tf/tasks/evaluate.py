"""Evaluation of a trained network, from a work directory or exported, on labelled images or on a text."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from darts_tf.config import TrainConfig
from darts_tf.config.fields import joined
from darts_tf.data import sources as images
from darts_tf.data.arrays import memory as arrays
from darts_tf.data.given import NAME
from darts_tf.data.images.split import load_split, sample
from darts_tf.data.images.stream import evaluation_batches
from darts_tf.data.reading import reading
from darts_tf.data.text import windows
from darts_tf.data.text.corpus import unknown_share
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path
from darts_tf.system.streams import silent
from darts_tf.tasks.evaluators import Evaluator, LanguageEvaluator, bits_per_character, language_forward
from darts_tf.tasks.exported import newest_version, of_images, of_text
from darts_tf.tasks.image_facts import PARTS, check_same_part, load_data_facts
from darts_tf.tasks.language_data import VOCABULARY, load_again, unknown_lines
from darts_tf.tasks.trained import ImageFacts, TextFacts, Trained, load, load_network


class Asked(NamedTuple):
    """The request for an evaluation.

    Attributes:
        dataset: Image data set, see `images.load`; empty for that of the work directory.
        data_dir: See `images.load` and `text.load_folder`; empty for that of the run.
        split: `test`; `valid`, the validation data, or those that the work directory's run held out; `train`, the data
            that the run trained on, or all training data of other data sets; empty for the test data, or if there are
            none the validation images of the data.
        max_examples: At most this many images, with the classes in proportion, or words from the start; 0 for all.
        batch_size: Images per batch, 0 for 96; or rows in which a text is read, 0 for those of the run (10 to validate
            and 1 to test in the original), or fewer if the text is short, see `windows.evaluation_rows`.
        operations_file: For images: a Python file with custom operations, see `trained.load`.
        value_range: For images, see `images.load`; empty for that of the work directory.
        bits_per_character: For a text: whether to measure these, too.
        data: Data passed from Python code instead of a data set: labelled images, or a text.
    """

    dataset: str = ""
    data_dir: str = ""
    split: str = ""
    max_examples: int = 0
    batch_size: int = 0
    operations_file: str = ""
    value_range: str = ""
    bits_per_character: bool = False
    data: Any = None


def evaluate(
    workdir: str = "",
    model: str = "",
    weights: str | None = None,
    say: Callable[[str], None] = silent,
    **asked: Any,
) -> dict[str, Any]:
    """Evaluates a trained network.

    Args:
        workdir: Work directory of a training run; or
        model: A `.keras` file of a network on images, or the folder of a SavedModel (or of its versions) that
            `darts-export` wrote.
        weights: For a work directory: `best` or `last`; empty for those that its summary recommends.
        say: Called with progress lines.
        **asked: Fields of `Asked`.

    Returns:
        `dataset`, `split`, `source`, and the results of `Evaluator` or `LanguageEvaluator`; for a text also
        `unknown_words`, the fraction of `<unk>` among the evaluated words, and on request `bits_per_character`.

    Raises:
        UserError: There is no such model or data, the two do not fit together, or the network's data do not have the
            requested part.
    """
    if bool(workdir) == bool(model):
        raise UserError("Specify what to evaluate: expected either workdir or model. Received: both or neither.")
    wanted, source = Asked(**asked), user_path(workdir, "workdir") if workdir else newest_version(model)
    if model and source.is_file() and source.suffix != ".keras":  # a TFLite file, a saved_model.pb
        raise UserError(f"model must be a .keras file, or the folder of a SavedModel. Received: the file {source}.")
    say(f"loading {source} ...")
    trained = load(source, weights or None, wanted.operations_file) if workdir else None
    is_text = isinstance(trained.facts, TextFacts) if trained else (source / "assets" / VOCABULARY).is_file()
    for name, reason in (_NOT_OF_TEXT if is_text else _NOT_OF_IMAGES).items():
        if getattr(wanted, name):
            raise UserError(f"{name} is {reason}")
    dataset, split, found = (_of_text if is_text else _of_images)(trained, source, wanted, say)
    return {"dataset": dataset, "split": split, "source": str(source)} | found


_NOT_OF_IMAGES = {"bits_per_character": "for texts, but this is a network on images. Leave it out."}
_NOT_OF_TEXT = {
    "dataset": "for images. Pass a text as data_dir, or leave it out for the run's text.",
    "value_range": "for images. Leave it out.",
    "operations_file": "for networks on images, but this is a language model. Leave it out.",
}


def _of_images(
    trained: Trained[ImageFacts] | None, source: pathlib.Path, asked: Asked, say: Callable[[str], None]
) -> tuple[str, str, dict]:
    """Evaluates a network on images; returns `(dataset, split, results)`."""
    config, facts, names, mean = trained.config if trained else TrainConfig().to_json(), {}, None, None
    classes_known = None
    if source.is_dir() and not trained:
        forward, shape, classes, classes_known = of_images(source)
        names = classes_known.names if classes_known else None
        mean, std = (0.0,) * shape[-1], (1 / 255,) * shape[-1]  # it includes the normalisation
    else:
        if not trained:
            add_operations(asked.operations_file)
        network = trained.network if trained else load_network(source, ImageFacts)
        shape, classes = tuple(network.image_shape), network.num_classes
        if trained or (source.parent / "data.json").exists():
            known = trained.facts if trained else ImageFacts.read(source.parent)
            names, mean, std, classes_known = known.class_names, known.mean, known.std, known.classes

        def forward(batch):
            return network(batch, training=False)

    dataset, data_dir, split = asked.dataset, asked.data_dir, asked.split
    given = None
    if asked.data is not None:
        if dataset or data_dir or split:
            raise UserError(
                "data is evaluated as given: expected no dataset, data_dir or split with it. Received: "
                f"dataset={dataset!r}, data_dir={data_dir!r}, split={split!r}."
            )
        dataset, split, given = NAME, "train", arrays.as_one(asked.data)
    elif trained and dataset in ("", config["dataset"]):
        # The indices in the run's split.json refer to the images as the run had them.
        facts = load_data_facts(source) if not data_dir or split == "valid" else {}
        dataset, data_dir = config["dataset"], data_dir or config["data_dir"]
    if not dataset:
        raise UserError("Specify the images: expected dataset with model. Received: none.")
    say(f"reading {dataset} ...")
    saved = source / "split.json" if facts and split in ("train", "valid") else None
    data = images.load(
        dataset,
        data_dir,
        shape[0] if shape[0] == shape[1] else 0,
        config["max_train_examples"] if saved else 0,
        shape[-1],
        config["seed"],
        config["eval_crop"],
        joined(asked.value_range) or config["value_range"],
        config["split"],
        given,
        known=classes_known,
    )
    if data.image_shape != shape or len(data.class_names) != classes:
        raise UserError(
            f"The data do not fit the network: expected {classes} classes of {'x'.join(map(str, shape))} images. "
            f"Received: {len(data.class_names)} classes of {'x'.join(map(str, data.image_shape))} in {dataset}."
        )
    _check_classes(names, data.class_names, dataset, say)
    for line in data.notes:
        say(line)
    split, part, indices = _part(data, split, saved, facts, config["max_train_examples"])
    split = split if given is None else "data"
    indices = sample(part.labels, indices, asked.max_examples, config["seed"])
    if mean is None:
        say("normalising with this data set's own mean and standard deviation: the file does not say which were used")
        mean, std = data.mean, data.std
    say(f"evaluating {len(indices)} images ...")
    batches = evaluation_batches(part, indices, asked.batch_size or 96, mean=mean, std=std)
    with reading(part):
        return dataset, split, Evaluator(forward)(batches)


def _of_text(
    trained: Trained[TextFacts] | None, source: pathlib.Path, asked: Asked, say: Callable[[str], None]
) -> tuple[str, str, dict]:
    """Evaluates a language model on a text; returns `(dataset, split, results)`."""
    if trained:
        config, vocabulary, network = trained.config, trained.facts.vocabulary, trained.network
        evaluator = LanguageEvaluator(language_forward(network), network.initial_state)
    else:
        config, vocabulary, *run = of_text(source)
        evaluator = LanguageEvaluator(*run)
    split = asked.split or "test"
    corpus = load_again(config, vocabulary, asked.data_dir, say, asked.data)
    words = getattr(corpus, split)[: asked.max_examples or None]
    usual = config["test_batch_size" if split == "test" else "valid_batch_size"]
    long = 1 if asked.batch_size else config["bptt"]  # requested rows may be short
    rows = windows.evaluation_rows(words, asked.batch_size or usual, long, f"the {PARTS[split]} text")
    share = unknown_share(rows, vocabulary)
    for line in unknown_lines(corpus, config["vocabulary_size"], **{split: share}):
        say(line)
    say(f"evaluating {rows.size:,} words in {rows.shape[1]} row{'s' * (rows.shape[1] > 1)} ...")
    found = evaluator(rows, config["bptt"], say) | {"unknown_words": share}
    if asked.bits_per_character or config["bits_per_character"]:
        found["bits_per_character"] = bits_per_character(found["loss"], rows, vocabulary)
    return corpus.name, split if asked.data is None else "data", found


def _part(data, split, saved, facts, limited):
    """Returns `(name, Split, indices)` of the requested images; `saved` is the path of a run's `split.json`."""
    if not split:
        split = "test" if data.test is not None or data.valid is None else "valid"
    if saved is not None and saved.exists():
        if "parts" not in facts and limited:
            raise UserError(
                f"{saved.parent} was made by version 0.1, which selected other images for max_train_examples: "
                f"expected a run of this version for split={split}. Train again, or use split=test."
            )
        found = load_split(saved)
        check_same_part(saved.parent, facts, data, "train", "valid")
        of, indices = ("train", found.train_indices) if split == "train" else (found.valid_of, found.valid_indices)
        return split, getattr(data, of), indices
    part = getattr(data, split)
    if part is None:
        raise UserError(
            f"{data.name} has no {PARTS[split]} images. Expected another split, or data with a folder {split}/, or "
            f"with arrays x_{split} and y_{split}."
        )
    return split, part, np.arange(len(part))


def _check_classes(names: Sequence[str] | None, found: Sequence[str], dataset: str, say: Callable) -> None:
    """Refuses data whose class names differ from the network's; numbers may replace names."""
    if names is None:
        return
    names, found = ([" ".join(name.split()) for name in side] for side in (names, found))  # as in `labels.txt`
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


def text(result: dict) -> str:
    """Returns the results of `evaluate` as a table."""
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
