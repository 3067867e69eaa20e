"""Exports a trained network: `darts-export --workdir=runs/digits_train --export_dir=exports`."""

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from darts_tf.bin import _main
from darts_tf.system import streams

_say = _main.sayer("darts-export")


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this binary on the flag values `to`."""
    flags.DEFINE_string("workdir", None, "a training's work directory", flag_values=to)
    flags.DEFINE_string("export_dir", "exports", "folder of models; made if missing", flag_values=to)
    flags.DEFINE_string("name", "darts", "the model's name, as clients ask for it", flag_values=to)
    flags.DEFINE_integer("version", None, "the version; the next one if not given", lower_bound=1, flag_values=to)
    flags.DEFINE_integer("keep", None, "older versions that stay; all if not given", lower_bound=0, flag_values=to)
    flags.DEFINE_list("format", "saved_model", "saved_model,tflite: a SavedModel is always written", flag_values=to)
    flags.DEFINE_enum("weights", None, ["best", "last"], "else what the run advises", flag_values=to)
    flags.DEFINE_string("data_dir", "", "where the images lie; that of the run if not given", flag_values=to)
    flags.DEFINE_string(
        "operations_file", "", "a Python file that adds operations of your own; it is executed", flag_values=to
    )
    flags.DEFINE_integer("threads", 0, "CPU threads; 0 = all cores", lower_bound=0, flag_values=to)


def export(flag_values: flags.FlagValues) -> None:
    """Writes EXPORT_DIR/NAME/VERSION for TensorFlow Serving, checked in a new process, and with it TFLite files."""
    asked: dict[str, Any] = {
        name: flag_values[name].value
        for name in ("workdir", "export_dir", "name", "version", "keep", "weights", "data_dir", "operations_file")
    }
    if asked["workdir"] is None:
        raise flags.ValidationError("expected a training's work directory in --workdir")
    _say("loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help waits for nothing

    runtime.configure(flag_values.threads)
    from darts_tf.export import exporting

    streams.out(str(exporting.export(**asked, formats=flag_values.format, say=_say)))


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit status."""
    return _main.run("darts-export", export, define_flags, argv, positional="workdir")


if __name__ == "__main__":
    sys.exit(main())
