"""Evaluates a trained network: `darts-evaluate --workdir=runs/digits_train`."""

import json
import sys
from typing import Any

from absl import flags

from darts_tf.bin import _main
from darts_tf.system.errors import UserError

FLAGS = {
    "workdir": "work directory of a training run; or pass --model",
    "model": ".keras file, or folder of a SavedModel that darts-export wrote",
    "dataset": "images: cifar10, digits, folder, npz, imagenet2012 or tfds:NAME; empty = as in the work directory",
    "data_dir": "location of the images or the text; empty = as in the work directory",
    "value_range": "npz: values of black and white as LOW,HIGH; empty = as in the work directory",
    "operations_file": "images: Python file that adds custom operations; it is executed",
}

_say = _main.sayer("darts-evaluate")


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this command on the flag values `to`."""
    for name, help_text in FLAGS.items():
        flags.DEFINE_string(name, None, help_text, flag_values=to)
    flags.DEFINE_enum(
        "weights",
        None,
        ["best", "last"],
        "with --workdir: best or last; the recommended ones if not given",
        flag_values=to,
    )
    flags.DEFINE_enum(
        "split",
        None,
        ["test", "valid", "train"],
        "train, valid or test data; if not given, test data, if any",
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
    flags.DEFINE_bool("bits_per_character", False, "text: also report bits per character", flag_values=to)
    flags.DEFINE_integer("threads", 0, "CPU threads for TensorFlow; 0 = all cores", lower_bound=0, flag_values=to)
    flags.DEFINE_enum(
        "format", "text", ["text", "json"], "output: text, or json = one object on the last line", flag_values=to
    )


def evaluate(flag_values: flags.FlagValues) -> None:
    """Measures a trained network: accuracy and loss on labelled images, or perplexity on a text; and throughput."""
    asked: dict[str, Any] = {name: flag_values[name].value or "" for name in (*FLAGS, "weights", "split")}
    asked |= {name: flag_values[name].value or 0 for name in ("max_examples", "batch_size", "bits_per_character")}
    if bool(asked["workdir"]) == bool(asked["model"]):
        raise UserError("Specify what to evaluate: expected either --workdir or --model. Received: both or neither.")
    if asked["model"] and asked["weights"]:
        raise UserError("--weights selects among the weights of a run. Expected only with --workdir.")
    _say("loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help is instant

    runtime.configure(flag_values.threads)
    from darts_tf.tasks import evaluate as evaluation

    result = evaluation.evaluate(**asked, say=_say)
    _main.show(json.dumps(result) if flag_values.format == "json" else evaluation.text(result))


main = _main.Command("darts-evaluate", evaluate, define_flags, positional="workdir")

if __name__ == "__main__":
    sys.exit(main())
