"""Times the search step, or compares its gradients: `darts-benchmark search --init_channels=16`."""

import dataclasses
import json
import sys

from absl import flags

from darts_tf.bin import _main
from darts_tf.config import SearchConfig

COMMON = {"init_channels": None, "num_cells": None, "num_nodes": 4, "batch_size": 16, "image_size": 0, "seed": 2}
COMMON |= {"learning_rate": 0.025, "threads": 0, "order": "second", "hvp": "finite_difference", "jit_compile": False}
SIZES = {"search": {"init_channels": 16, "num_cells": 8}, "gradients": {"init_channels": 8, "num_cells": 5}}
KINDS = {int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string, bool: flags.DEFINE_bool}


def define_flags(to):
    """Defines the flags of this binary on the flag values `to`."""
    flags.DEFINE_enum("suite", "search", list(SIZES), "Cost of a step, or gradients side by side.", flag_values=to)
    flags.DEFINE_enum("format", "text", ["text", "json"], "json: one object on the last line.", flag_values=to)
    flags.DEFINE_integer("steps", 3, "search: steps after the first.", lower_bound=1, flag_values=to)
    datasets = ["digits", "cifar10", "npz", "folder", "random"]
    flags.DEFINE_enum("dataset", "digits", datasets, "gradients: the images.", flag_values=to)
    flags.DEFINE_string("data_dir", "", "gradients: where the images lie.", flag_values=to)
    flags.DEFINE_list("radii", "0.1,0.01,0.001,1e-4", "gradients: of the finite differences.", flag_values=to)
    flags.register_validator("radii", _are_radii, "expected numbers above 0, comma separated", flag_values=to)
    flags.DEFINE_bool("float64", False, "gradients: compute in float64.", flag_values=to)
    for field in dataclasses.fields(SearchConfig):
        if field.name in COMMON:
            sizes = ", ".join(f"{size[field.name]} in {suite}" for suite, size in SIZES.items() if field.name in size)
            help_text = field.metadata["help"] + (f" (default: {sizes})" if sizes else "")
            KINDS[field.type](field.name, COMMON[field.name], help_text, flag_values=to)
            if check := field.metadata["check"]:
                holds = lambda value, check=check: value is None or check.holds(value)  # noqa: E731
                flags.register_validator(field.name, holds, f"must be {check.expected}", flag_values=to)


def _are_radii(texts):
    try:
        return all(0 < float(text) < float("inf") for text in texts)
    except ValueError:
        return False


def benchmark(flag_values):
    """Times whole search steps on noise, or compares first-order, finite-difference and exact gradients of alphas."""
    suite, dataset = flag_values["suite"].value, flag_values["dataset"].value
    given = {name: value for name in COMMON if (value := flag_values[name].value) is not None}
    if suite == "gradients" and dataset != "random":
        given |= {"dataset": dataset, "data_dir": flag_values["data_dir"].value}
    config = SearchConfig(**{**SIZES[suite], **given, "learning_rate_min": 0.0})
    _say("loading TensorFlow ...")
    from darts_tf import runtime  # here, so that --help waits for nothing

    runtime.configure(config.threads, config.jit_compile)
    from darts_tf import benchmark as library

    if suite == "search":
        result = library.search(config, flag_values["steps"].value, _say)
    else:
        radii = [float(radius) for radius in flag_values["radii"].value]
        result = library.gradients(config, dataset, radii, flag_values["float64"].value, _say)
    print(json.dumps(result) if flag_values["format"].value == "json" else library.text(result))


def _say(line):
    print(f"darts-benchmark: {line}", file=sys.stderr, flush=True)


def main(argv=None):
    """The console script; returns the exit status."""
    return _main.run("darts-benchmark", benchmark, define_flags, argv, positional="suite")


if __name__ == "__main__":
    sys.exit(main())
