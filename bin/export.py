"""Exports a trained network: `darts-export --workdir=runs/digits_train --export_dir=exports`."""

import sys
from typing import Any

from absl import flags

from darts_tf.bin import _main
from darts_tf.system import streams

_say = _main.sayer("darts-export")


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this command on the flag values `to`."""
    flags.DEFINE_string("workdir", None, "work directory of a training run", flag_values=to)
    flags.DEFINE_string("export_dir", "exports", "folder for models; created if missing", flag_values=to)
    flags.DEFINE_string("name", "darts", "name of the model, by which clients request it", flag_values=to)
    flags.DEFINE_integer("version", None, "version number; the next one if not given", lower_bound=1, flag_values=to)
    flags.DEFINE_integer(
        "keep", None, "number of older versions to keep; all if not given", lower_bound=0, flag_values=to
    )
    flags.DEFINE_list(
        "format",
        "saved_model",
        "some of saved_model,tflite,onnx; a SavedModel is always written",
        flag_values=to,
    )
    flags.DEFINE_enum(
        "weights", None, ["best", "last"], "best or last; the recommended ones if not given", flag_values=to
    )
    flags.DEFINE_string("data_dir", "", "location of the images; empty = as in the run", flag_values=to)
    flags.DEFINE_string(
        "operations_file", "", "Python file that adds custom operations; it is executed", flag_values=to
    )
    flags.DEFINE_integer("threads", 0, "CPU threads for TensorFlow; 0 = all cores", lower_bound=0, flag_values=to)


def export(flag_values: flags.FlagValues) -> None:
    """Writes EXPORT_DIR/NAME/VERSION for TensorFlow Serving, with TFLite files on request, and checks it."""
    asked: dict[str, Any] = {
        name: flag_values[name].value
        for name in ("workdir", "export_dir", "name", "version", "keep", "weights", "data_dir", "operations_file")
    }
    if asked["workdir"] is None:
        raise flags.ValidationError("expected the work directory of a training run in --workdir")
    _say("loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help is instant

    runtime.configure(flag_values.threads)
    from darts_tf.export import exporting

    streams.out(str(exporting.export(**asked, formats=flag_values.format, say=_say)))


main = _main.Command("darts-export", export, define_flags, positional="workdir")

if __name__ == "__main__":
    sys.exit(main())
