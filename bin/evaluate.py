"""Tests a trained network: `darts-evaluate --workdir=runs/digits_train`."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from darts_tf.bin import _main
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.system.errors import UserError

FLAGS = {
    "workdir": "a training's work directory; or say --model",
    "model": "a .keras file, or the folder of a SavedModel that darts-export wrote",
    "dataset": "of images: cifar10, digits, folder, npz or imagenet2012; that of the work directory if not given",
    "data_dir": "where the images or the text lie; that of the work directory if not given",
    "value_range": "of npz: the values that are black and white, LOW,HIGH; those of the work directory if not given",
    "operations_file": "of images: a Python file that adds operations of your own; it is executed",
}

_say = _main.sayer("darts-evaluate")


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this binary on the flag values `to`."""
    for name, help_text in FLAGS.items():
        flags.DEFINE_string(name, None, help_text, flag_values=to)
    flags.DEFINE_enum(
        "weights", None, ["best", "last"], "of a work directory; else what its run advises", flag_values=to
    )
    flags.DEFINE_enum(
        "split", None, ["test", "valid", "train"], "which part of the data; test if there is one", flag_values=to
    )
    flags.DEFINE_integer(
        "max_examples", 0, "at most so many images, or the first so many words; 0 = all", lower_bound=0, flag_values=to
    )
    flags.DEFINE_integer(
        "batch_size", None, "images at a time (96), or rows of a text (those of the run)", lower_bound=1, flag_values=to
    )
    flags.DEFINE_bool("bits_per_character", False, "of a text: tell these, too", flag_values=to)
    flags.DEFINE_integer("threads", 0, "CPU threads; 0 = all cores", lower_bound=0, flag_values=to)
    flags.DEFINE_enum("format", "text", ["text", "json"], "json: one object on the last line", flag_values=to)


def evaluate(flag_values: flags.FlagValues) -> None:
    """Prints how good a trained network is: accuracy and loss on labelled images, perplexity on a text; throughput."""
    asked: dict[str, Any] = {name: flag_values[name].value or "" for name in FLAGS}
    if bool(asked["workdir"]) == bool(asked["model"]):
        raise UserError("Say what to evaluate: expected one of --workdir and --model. Received: both or none.")
    if asked["model"] and flag_values.weights:
        raise UserError("--weights chooses among those of a run. Expected it with --workdir only.")
    _say("loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help waits for nothing

    runtime.configure(flag_values.threads)
    from darts_tf.tasks import evaluation, language_evaluation, trained

    asked |= {name: flag_values[name].value for name in ("weights", "split", "batch_size")}
    limit, bits = flag_values.max_examples, flag_values.bits_per_character
    if asked["model"]:
        path = evaluation.newest_version(asked["model"])
        if path.is_file() and path.suffix != ".keras":  # a TFLite file, a saved_model.pb
            raise UserError(f"--model must be a .keras file, or the folder of a SavedModel. Received: the file {path}.")
        asked["model"] = str(path)
        is_language = language_evaluation.is_language_model(asked["model"])
    else:
        is_language = trained.kind_of(asked["workdir"]) == LanguageTrainConfig.kind
    if is_language:
        if asked.pop("dataset"):
            raise UserError("--dataset is of images. A text is named by --data_dir, or is that of the run.")
        if asked.pop("value_range"):
            raise UserError("--value_range is of images. Leave it out.")
        if asked.pop("operations_file"):
            raise UserError("--operations_file is of networks on images, and this is a language model. Leave it out.")
        asked["split"] = asked["split"] or "test"
        result = language_evaluation.evaluate(**asked, max_words=limit, with_bits=bits, say=_say)
    else:
        if bits:
            raise UserError("--bits_per_character is of a text, and this is a network on images. Leave it out.")
        asked |= {"batch_size": asked["batch_size"] or 96, "split": asked["split"] or ""}
        result = evaluation.evaluate(**asked, max_examples=limit, say=_say)
    _main.show(json.dumps(result) if flag_values.format == "json" else evaluation.text(result))


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    return _main.run("darts-evaluate", evaluate, define_flags, argv, positional="workdir")


if __name__ == "__main__":
    sys.exit(main())
