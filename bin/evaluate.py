"""Tests a trained network: `darts-evaluate --workdir=runs/digits_train`."""

import json
import sys

from absl import flags

from darts_tf.bin import _main

FLAGS = {
    "workdir": "a training's work directory; or say --model",
    "model": "a .keras file, or the folder of a SavedModel that darts-export wrote",
    "dataset": "cifar10, digits, folder, npz or imagenet2012; that of the work directory if not given",
    "data_dir": "where the images lie; that of the work directory if not given",
}

_say = _main.sayer("darts-evaluate")


def define_flags(to):
    """Defines the flags of this binary on the flag values `to`."""
    for name, help_text in FLAGS.items():
        flags.DEFINE_string(name, "", help_text, flag_values=to)
    flags.DEFINE_enum(
        "weights", None, ["best", "last"], "of a work directory; else what its run advises", flag_values=to
    )
    flags.DEFINE_enum("split", "test", ["test", "valid", "train"], "which of the images", flag_values=to)
    flags.DEFINE_integer("max_examples", 0, "the first so many; 0 = all", lower_bound=0, flag_values=to)
    flags.DEFINE_integer("batch_size", 96, "images at a time", lower_bound=1, flag_values=to)
    flags.DEFINE_integer("threads", 0, "CPU threads; 0 = all cores", lower_bound=0, flag_values=to)
    flags.DEFINE_enum("format", "text", ["text", "json"], "json: one object on the last line", flag_values=to)


def evaluate(flag_values):
    """Prints accuracy, loss and throughput of a trained network on labelled images."""
    asked = {name: flag_values[name].value for name in (*FLAGS, "weights", "split", "max_examples", "batch_size")}
    _say("loading TensorFlow ...")
    from darts_tf import runtime  # here, so that --help waits for nothing

    runtime.configure(flag_values["threads"].value)
    from darts_tf.training import evaluation

    result = evaluation.evaluate(**asked, say=_say)
    print(json.dumps(result) if flag_values["format"].value == "json" else evaluation.text(result))


def main(argv=None):
    """The console script; returns the exit status."""
    return _main.run("darts-evaluate", evaluate, define_flags, argv, positional="workdir")


if __name__ == "__main__":
    sys.exit(main())
