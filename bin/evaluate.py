"""Evaluates a trained network: `darts-evaluate --workdir=runs/digits_train`."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from darts_tf.bin import _main
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.system.errors import UserError

FLAGS = {
    "workdir": "work directory of a training; or pass --model",
    "model": ".keras file, or folder of a SavedModel that darts-export wrote",
    "dataset": "images: cifar10, digits, folder, npz or imagenet2012; empty = as in the work directory",
    "data_dir": "where the images or the text are; empty = as in the work directory",
    "value_range": "npz: values of black and white as LOW,HIGH; empty = as in the work directory",
    "operations_file": "images: Python file that adds custom operations; it is executed",
}

_say = _main.sayer("darts-evaluate")


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this binary on the flag values `to`."""
    for name, help_text in FLAGS.items():
        flags.DEFINE_string(name, None, help_text, flag_values=to)
    flags.DEFINE_enum(
        "weights",
        None,
        ["best", "last"],
        "of a work directory: best or last; the recommended ones if not given",
        flag_values=to,
    )
    flags.DEFINE_enum(
        "split",
        None,
        ["test", "valid", "train"],
        "train, valid or test data; if not given, test data where there are any",
        flag_values=to,
    )
    flags.DEFINE_integer(
        "max_examples", 0, "evaluate at most this many images or words; 0 = all", lower_bound=0, flag_values=to
    )
    flags.DEFINE_integer(
        "batch_size",
        None,
        "images per batch (96), or rows of a text (as in the run)",
        lower_bound=1,
        flag_values=to,
    )
    flags.DEFINE_bool("bits_per_character", False, "text: report bits per character, too", flag_values=to)
    flags.DEFINE_integer("threads", 0, "CPU threads for TensorFlow; 0 = all cores", lower_bound=0, flag_values=to)
    flags.DEFINE_enum(
        "format", "text", ["text", "json"], "output: text, or json = one object on the last line", flag_values=to
    )


def evaluate(flag_values: flags.FlagValues) -> None:
    """Prints accuracy and loss of a trained network on labelled images, or perplexity on a text, and throughput."""
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
