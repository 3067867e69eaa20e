"""Times search, training or inference, or compares gradients: `darts-benchmark search --init_channels=16`."""

import dataclasses
import json
import sys

from absl import flags

from darts_tf.bin import _main
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.language_config import LanguageSearchConfig

IMAGES = {"batch_size": 16, "learning_rate": 0.025, "learning_rate_min": 0.0}
SEARCH = {**IMAGES, "num_nodes": 4}
# Suite -> its config and the defaults that differ from the config's. Flags that a suite has no field for are left out.
SUITES = {
    "search": (SearchConfig, {**SEARCH, "init_channels": 16, "num_cells": 8}),
    "search_recurrent": (LanguageSearchConfig, {"batch_size": 64, "learning_rate": 20.0, "num_nodes": 8}),
    "gradients": (SearchConfig, {**SEARCH, "init_channels": 8, "num_cells": 5}),
    "train": (TrainConfig, {**IMAGES, "init_channels": 36, "num_cells": 20}),
    "inference": (TrainConfig, {**IMAGES, "init_channels": 36, "num_cells": 20}),
}
COMMON = {"init_channels": None, "num_cells": None, "num_nodes": None, "batch_size": None, "image_size": 0, "seed": 2}
COMMON |= {"num_units": 300, "bptt": 35, "vocabulary_size": 10000, "learning_rate": None, "threads": 0}
COMMON |= {"order": "second", "hvp": "finite_difference", "jit_compile": False, "accumulate": 1}
COMMON |= {"precision": "float32", "recompute": False}
COMMON |= {"genotype": "DARTS_V2", "network": "cifar"}
KINDS = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string, bool: flags.DEFINE_bool}

_say = _main.sayer("darts-benchmark")


def define_flags(to):
    """Defines the flags of this binary on the flag values `to`."""
    help_text = (
        "Cost of a search step, a training step or inference; gradients side by side; gpu: every cost, in one table."
    )
    flags.DEFINE_enum("suite", "search", [*SUITES, "gpu"], help_text, flag_values=to)
    flags.DEFINE_enum("format", "text", ["text", "json"], "json: one object on the last line.", flag_values=to)
    flags.DEFINE_integer("steps", 3, "steps to time after the first.", lower_bound=1, flag_values=to)
    datasets = ["digits", "cifar10", "npz", "folder", "random"]
    flags.DEFINE_enum("dataset", "digits", datasets, "gradients: the images.", flag_values=to)
    flags.DEFINE_string("data_dir", "", "gradients: where the images lie.", flag_values=to)
    flags.DEFINE_list("radii", "0.1,0.01,0.001,1e-4", "gradients: of the finite differences.", flag_values=to)
    flags.register_validator("radii", _are_radii, "expected numbers above 0, comma separated", flag_values=to)
    flags.DEFINE_bool("float64", False, "gradients: compute in float64.", flag_values=to)
    fields = {field.name: field for config, _ in SUITES.values() for field in dataclasses.fields(config)}
    for name, default in COMMON.items():
        sizes = ", ".join(f"{defaults[name]} in {suite}" for suite, (_, defaults) in SUITES.items() if name in defaults)
        help_text = fields[name].metadata["help"] + (f" (default: {sizes})" if sizes else "")
        KINDS[fields[name].type](name, default, help_text, flag_values=to)
        if check := fields[name].metadata["check"]:
            holds = lambda value, check=check: value is None or check.holds(value)  # noqa: E731
            flags.register_validator(name, holds, f"must be {check.expected}", flag_values=to)


def _are_radii(texts):
    try:
        return all(0 < float(text) < float("inf") for text in texts)
    except ValueError:
        return False


def benchmark(flag_values):
    """Times whole steps on noise, or compares first-order, finite-difference and exact gradients of alphas."""
    suite, dataset, steps = (flag_values[name].value for name in ("suite", "dataset", "steps"))
    if suite == "gpu":
        return everything(flag_values)
    config_class, defaults = SUITES[suite]
    known = {field.name for field in dataclasses.fields(config_class)}
    given = {name: flag_values[name].value for name in COMMON if name in known}
    given = defaults | {name: value for name, value in given.items() if value is not None}
    if suite == "gradients" and dataset != "random":
        given |= {"dataset": dataset, "data_dir": flag_values["data_dir"].value}
    config = config_class(**given)
    _say("loading TensorFlow ...")
    from darts_tf import runtime  # here, so that --help waits for nothing

    runtime.configure(config.threads, config.jit_compile)
    from darts_tf import benchmark as library
    from darts_tf import gradient_comparison

    if suite == "gradients":
        radii = [float(radius) for radius in flag_values["radii"].value]
        result = gradient_comparison.compare(config, dataset, radii, flag_values["float64"].value, _say)
    else:
        result = getattr(library, suite)(config, steps, _say)
    _main.show(json.dumps(result) if flag_values["format"].value == "json" else library.text(result))


def everything(flag_values):
    """Times all that is worth timing on a GPU; prints a table for BUILD.md."""
    from darts_tf import gpu_suite

    passed_on = [
        name
        for name in ("steps", *COMMON)
        if name not in ("order", "jit_compile", "precision") and flag_values[name].present
    ]
    result = gpu_suite.run([f"--{name}={flag_values[name].value}" for name in passed_on], _say)
    _main.show(json.dumps(result) if flag_values["format"].value == "json" else gpu_suite.table(result))


def main(argv=None):
    """The console script; returns the exit status."""
    return _main.run("darts-benchmark", benchmark, define_flags, argv, positional="suite")


if __name__ == "__main__":
    sys.exit(main())
