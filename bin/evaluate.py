"""Tests a trained network: `darts-evaluate --workdir=runs/digits_train`."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from darts_tf.bin import _main
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
    asked: dict[str, Any] = {name: flag_values[name].value or "" for name in (*FLAGS, "weights", "split")}
    asked |= {name: flag_values[name].value or 0 for name in ("max_examples", "batch_size", "bits_per_character")}
    if bool(asked["workdir"]) == bool(asked["model"]):
        raise UserError("Say what to evaluate: expected one of --workdir and --model. Received: both or none.")
    if asked["model"] and asked["weights"]:
        raise UserError("--weights chooses among those of a run. Expected it with --workdir only.")
    _say("loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help waits for nothing

    runtime.configure(flag_values.threads)
    from darts_tf.tasks import evaluate as evaluation

    result = evaluation.evaluate(**asked, say=_say)
    _main.show(json.dumps(result) if flag_values.format == "json" else evaluation.text(result))


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    return _main.run("darts-evaluate", evaluate, define_flags, argv, positional="workdir")


if __name__ == "__main__":
    sys.exit(main())
