"""Queries an exported model: `darts-predict --server=localhost:8500 cat.jpg`, `darts-predict --text="the" ...`."""

import json
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from darts_tf.bin import _main
from darts_tf.system.errors import UserError


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this command on the flag values `to`."""
    flags.DEFINE_multi_string(
        "image",
        [],
        "image file, or .npy or .npz file of images; may be given without the flag",
        flag_values=to,
    )
    flags.DEFINE_string(
        "value_range",
        "",
        "arrays: values of black and white as LOW,HIGH; empty = as in training, or uint8 for a server",
        flag_values=to,
    )
    flags.DEFINE_string("server", "", "host:port for gRPC, http://host:port for REST", flag_values=to)
    flags.DEFINE_string("export_dir", "", "without a server: folder that darts-export wrote to", flag_values=to)
    flags.DEFINE_string("name", "darts", "name of the model", flag_values=to)
    flags.DEFINE_integer(
        "version", None, "version of the model; the newest if not given", lower_bound=1, flag_values=to
    )
    flags.DEFINE_integer("batch_size", 32, "images per request", lower_bound=1, flag_values=to)
    flags.DEFINE_float("timeout", 30, "seconds to wait for the server's answer", lower_bound=0.001, flag_values=to)
    flags.DEFINE_string("text", None, "language model: prompt to continue", flag_values=to)
    flags.DEFINE_integer("words", 30, "text: number of words to generate", lower_bound=1, flag_values=to)
    flags.DEFINE_integer(
        "top_k", 0, "text: sample from this many most probable words; 0 = all", lower_bound=0, flag_values=to
    )
    flags.DEFINE_float(
        "temperature",
        1.0,
        "text: divides the logits; 0 = always the most probable word",
        lower_bound=0.0,
        flag_values=to,
    )
    flags.register_validator("temperature", math.isfinite, "expected a finite number", flag_values=to)
    flags.DEFINE_integer("seed", 0, "text: seed for sampling", lower_bound=0, flag_values=to)
    flags.DEFINE_string(
        "vocabulary_dir", "", "text, with a server: folder that darts-export wrote the served model to", flag_values=to
    )
    flags.DEFINE_enum(
        "format",
        "text",
        ["text", "json"],
        "output: text, or json = one object per image, or per text",
        flag_values=to,
    )


def predict(flag_values: flags.FlagValues) -> None:
    """Prints the label and probability that a served or exported model assigns to each image, or continues a text."""
    paths, server, export_dir = flag_values.image, flag_values.server, flag_values.export_dir
    if bool(server) == bool(export_dir):
        raise UserError(
            "Specify which model to query: expected either --server or --export_dir. Received: both or neither."
        )
    is_text = flag_values.text is not None
    if is_text == bool(paths):
        raise UserError("Specify what to predict: expected either image files or --text. Received: both or neither.")
    if is_text and server and not flag_values.vocabulary_dir:
        raise UserError(
            "A server has no vocabulary: expected --vocabulary_dir, the folder to which darts-export wrote its model."
        )
    if export_dir and flag_values.vocabulary_dir:
        raise UserError(
            "An exported model has its own vocabulary: expected --vocabulary_dir with --server only. Leave it out."
        )
    from darts_tf.system import runtime  # here, so that --help is instant

    runtime.configure()
    from darts_tf.data.files import headers
    from darts_tf.export import client

    model = flag_values.name, flag_values.version
    ask = client.connect(server, *model, flag_values.timeout) if server else None
    ask = ask or client.in_process(export_dir, *model)
    if is_text:
        write(flag_values, ask, client.version_folder(flag_values.vocabulary_dir or export_dir, *model))
        return
    facts = client.facts_of(client.version_folder(export_dir, *model)) if export_dir else client.inputs.UNKNOWN
    facts = facts._replace(value_range=flag_values.value_range or facts.value_range)
    found = client.predict(ask, paths, flag_values.batch_size, facts)
    for prediction in found:
        if flag_values.format == "json":
            _main.show(json.dumps(prediction._asdict()))
        else:
            _main.show(f"{headers.shown(prediction.path)}\t{prediction.label}\t{100 * prediction.probability:.2f} %")


def write(flag_values: flags.FlagValues, ask: Callable, folder: pathlib.Path) -> None:
    """Prints a prompt and its continuation, word by word; or one JSON object."""
    from darts_tf.export import writing
    from darts_tf.tasks.language_data import load_vocabulary

    units, vocabulary = writing.units_of(folder), load_vocabulary(folder / "assets")
    prompt, count = flag_values.text, flag_values.words
    options: dict[str, Any] = {name: flag_values[name].value for name in ("top_k", "temperature", "seed")}
    words = writing.continued(ask, vocabulary, units, prompt, count, **options, say=_main.sayer("darts-predict"))
    if flag_values.format == "json":
        _main.show(json.dumps({"prompt": prompt, "words": list(words)}))
        return
    for piece in writing.spaced(prompt, words):
        _main.show(piece, end="")
    _main.show("")


main = _main.Command("darts-predict", predict, define_flags, positional="image")

if __name__ == "__main__":
    sys.exit(main())
