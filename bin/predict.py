"""Asks an exported model what is in images: `darts-predict --server=localhost:8500 cat.jpg`."""

import json
import sys

from absl import flags

from darts_tf.bin import _main
from darts_tf.errors import UserError


def define_flags(to):
    """Defines the flags of this binary on the flag values `to`."""
    flags.DEFINE_multi_string("image", [], "an image file; may be given without the flag", flag_values=to)
    flags.DEFINE_string("server", "", "host:port for gRPC, http://host:port for REST", flag_values=to)
    flags.DEFINE_string("export_dir", "", "or without a server: where darts-export wrote", flag_values=to)
    flags.DEFINE_string("name", "darts", "the model's name", flag_values=to)
    flags.DEFINE_integer("version", None, "its version; the newest if not given", lower_bound=1, flag_values=to)
    flags.DEFINE_integer("batch_size", 32, "images per request", lower_bound=1, flag_values=to)
    flags.DEFINE_float("timeout", 30, "seconds to wait for the server's answer", lower_bound=0.001, flag_values=to)
    flags.DEFINE_enum("format", "text", ["text", "json"], "json: one object per image", flag_values=to)


def predict(flag_values):
    """Prints each image's label and its probability, as a served or exported model sees it."""
    paths, server, export_dir = (flag_values[name].value for name in ("image", "server", "export_dir"))
    if bool(server) == bool(export_dir):
        raise UserError("Say which model to ask: expected one of --server and --export_dir. Received: both or none.")
    if not paths:
        raise UserError("Say on which images: expected image files. Received: none.")
    from darts_tf import runtime  # here, so that --help waits for nothing

    runtime.configure()
    from darts_tf.export import client

    model = flag_values["name"].value, flag_values["version"].value
    ask = client.connect(server, *model, flag_values["timeout"].value) if server else None
    found = client.predict(ask or client.in_process(export_dir, *model), paths, flag_values["batch_size"].value)
    for prediction in found:
        if flag_values["format"].value == "json":
            print(json.dumps(prediction._asdict()))
        else:
            print(f"{prediction.path}\t{prediction.label}\t{100 * prediction.probability:.2f} %")


def main(argv=None):
    """The console script; returns the exit status."""
    return _main.run("darts-predict", predict, define_flags, argv, positional="image")


if __name__ == "__main__":
    sys.exit(main())
