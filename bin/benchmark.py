"""Times search, training or inference, or compares gradients: `darts-benchmark search --init_channels=16`."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

from absl import flags

from darts_tf import genotypes
from darts_tf.bench import gpu_suite
from darts_tf.bin import _flags, _help, _main
from darts_tf.config import Run, SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.system.errors import some_of

IMAGES = {"batch_size": 16, "learning_rate_min": 0.0}
# Suite -> its config and the defaults that differ from the config's.
SUITES: dict[str, tuple[type[Run], dict[str, Any]]] = {
    "search": (SearchConfig, IMAGES),
    "search_recurrent": (LanguageSearchConfig, {"batch_size": 64, "seed": 2, "vocabulary_size": 10_000}),
    "gradients": (SearchConfig, {**IMAGES, "init_channels": 8, "num_cells": 5}),
    "train": (TrainConfig, {**IMAGES, "seed": 2}),
    "inference": (TrainConfig, {"batch_size": 16, "seed": 2}),
    "operations": (SearchConfig, {"batch_size": 1}),
}
ABOUT = {
    "search": "one step of a search for convolutional cells, and the time to the first step",
    "search_recurrent": "the same for recurrent cells",
    "gradients": "the alphas' gradient: first order, finite differences and exact, side by side",
    "train": "a training step of a derived network",
    "inference": "inference with a derived network",
    "operations": "every candidate operation of a network as served: the cost_table of darts-search",
    "gpu": "everything worth timing on a GPU, in one table",
}
OWN = ("steps", "dataset", "data_dir", "radii", "float64", "check", "image_channels")  # flags that are not settings
ROUNDS = 60  # of the suite operations, if no steps are given
ALWAYS = {"suite", "format", "threads"}
RUN = {"steps", "batch_size", "seed", "learning_rate", "jit_compile", "accumulate", "precision", "recompute"}
SUPERNET = {"init_channels", "num_cells", "num_nodes", "image_size"}
DERIVED = {"genotype", "network", "init_channels", "num_cells", "image_size"}
# Suite -> the flags that it reads; any other is refused, since it would have no effect.
READS = {
    "search": RUN | SUPERNET | {"method", "primitives", "order", "hvp"},
    "search_recurrent": RUN | {"method", "num_nodes", "num_units", "bptt", "vocabulary_size", "order", "hvp"},
    "gradients": SUPERNET
    | {"batch_size", "seed", "learning_rate", "radii", "float64"}
    | {"dataset", "data_dir", "value_range"},
    "train": RUN | DERIVED,
    "inference": RUN - {"learning_rate", "accumulate", "precision", "recompute"} | DERIVED,
    "operations": SUPERNET
    | {"steps", "batch_size", "space", "primitives", "operations_file"}
    | {"check", "image_channels"},
}
# The suite sets these itself.
READS["gpu"] = set.union(*(READS[suite] for suite in gpu_suite.SUITES)) - {"order", "jit_compile", "precision"}
FIELDS = _flags.fields_of(config for config, _ in SUITES.values())
COMMON = [name for name in FIELDS if name not in OWN and any(name in read | ALWAYS for read in READS.values())]
DATASET = FIELDS["dataset"][0].metadata["check"]

_say = _main.sayer("darts-benchmark")


def define_flags(to: flags.FlagValues) -> None:
    """Defines the flags of this command on the flag values `to`."""
    flags.DEFINE_enum("suite", "search", list(ABOUT), "what to measure; see below", flag_values=to)
    text = "output: text, or json = one object on the last line"
    flags.DEFINE_enum("format", "text", ["text", "json"], text, flag_values=to)
    flags.DEFINE_integer("steps", 3, "steps to time, after the first one", lower_bound=1, flag_values=to)
    text = "images: random, digits, cifar10, folder, npz, imagenet2012, or tfds:NAME of TensorFlow Datasets"
    flags.DEFINE_string("dataset", "digits", text, flag_values=to)
    expected = f"must be random, or {DATASET.expected}"
    flags.register_validator("dataset", lambda name: name == "random" or DATASET.holds(name), expected, flag_values=to)
    flags.DEFINE_string("data_dir", "", "folder or .npz file with the images", flag_values=to)
    flags.DEFINE_list("radii", "0.1,0.01,0.001,1e-4", "radii of the finite differences", flag_values=to)
    flags.register_validator("radii", _are_radii, "expected numbers above 0, comma separated", flag_values=to)
    flags.DEFINE_bool("float64", False, "compute in float64", flag_values=to)
    text = "operations: random derived networks whose latency is predicted and measured"
    flags.DEFINE_integer("check", 0, text, lower_bound=0, flag_values=to)
    flags.DEFINE_integer("image_channels", 3, "operations: channels of the images", lower_bound=1, flag_values=to)
    for name in COMMON:
        _flags.define_field(FIELDS[name], to)
        if check := FIELDS[name][0].metadata["check"]:
            holds = lambda value, check=check: value is None or check.holds(value)  # noqa: E731
            flags.register_validator(name, holds, f"must be {check.expected}", flag_values=to)


def describe(flag_values: flags.FlagValues) -> Iterator[_help.Part]:
    """The parts of `--help`: the flags that the chosen suite reads, with its values."""
    suite = flag_values.suite
    values: dict[str, Any] = {"suite": suite, "help": None, **({"steps": ROUNDS} if suite == "operations" else {})}
    parts = [_defaults(each, flag_values.space) for each in (gpu_suite.SUITES if suite == "gpu" else [suite])]
    for name, value in (item for part in parts for item in part.items()):
        if name in COMMON and all(part.get(name, value) == value for part in parts):
            values[name] = value
    shown = [name for name in flag_values if name in READS[suite] | ALWAYS | {"help"}]
    rows = [_help.row(flag_values[name], values.get(name, flag_values[name].default)) for name in shown]
    yield f"Flags of the suite {suite}, with its values", rows
    yield "Suites", [*ABOUT.items()]
    yield "Flags of another suite: darts-benchmark SUITE --help"


def _are_radii(texts):
    try:
        return all(0 < float(text) < float("inf") for text in texts)
    except ValueError:
        return False


def benchmark(flag_values: flags.FlagValues) -> None:
    """Times whole steps or single operations on random data, or compares ways to compute the alphas' gradient."""
    suite, dataset, steps = flag_values.suite, flag_values.dataset, flag_values.steps
    _refuse_unread(flag_values, suite)
    if suite == "gpu":
        return everything(flag_values)
    given = _flags.given(flag_values, COMMON)
    if suite == "gradients" and dataset != "random":
        given |= {"dataset": dataset, "data_dir": flag_values.data_dir}
    config: Any = SUITES[suite][0](**_defaults(suite, flag_values.space) | given)
    _say("loading TensorFlow ...")
    from darts_tf.system import runtime  # here, so that --help is instant

    runtime.configure(config.threads, config.jit_compile)
    from darts_tf.bench import benchmark as library
    from darts_tf.bench import gradient_comparison, operations

    if suite == "gradients":
        radii = [float(radius) for radius in flag_values.radii]
        result = gradient_comparison.compare(config, dataset, radii, flag_values.float64, _say)
    elif suite == "operations":
        rounds = steps if flag_values["steps"].present else ROUNDS
        result = operations.measure(config, rounds, flag_values.check, flag_values.image_channels, _say)
    else:
        measure = library.search if suite == "search_recurrent" else getattr(library, suite)
        result = measure(config, steps, _say)
    text = operations.text if suite == "operations" else library.text
    _main.show(json.dumps(result) if flag_values.format == "json" else text(result))


def _defaults(suite, space):
    """The settings of a suite, if none are given; those of the suite operations include the space's usual ones."""
    config, own = SUITES[suite]
    values = {field.name: field.default for field in dataclasses.fields(config)} | own
    if suite == "operations":
        kind = genotypes.KINDS.get(space, genotypes.ConvGenotype)
        values |= {"num_nodes": kind.usual_nodes, "primitives": kind.primitives}
    return values


def _refuse_unread(flag_values, suite):
    """Refuses flags that are given although the suite does not read them."""
    given = [name for name in (*OWN, *COMMON) if flag_values[name].present]
    wrong = [name for name in given if name not in READS[suite] | ALWAYS]
    if wrong:
        others = {name: ", ".join(other for other in READS if name in READS[other]) for name in wrong}
        raise flags.IllegalFlagValueError(
            f"the suite {suite} does not use "
            + some_of([f"--{name}, which is for {others[name]}" for name in wrong], separator="; nor ")
            + ". Leave them out, or choose another suite"
        )
    if flag_values.data_dir and flag_values.dataset == "random":
        raise flags.IllegalFlagValueError("--dataset=random does not use --data_dir. Leave one of them out")


def everything(flag_values: flags.FlagValues) -> None:
    """Times all that is worth timing on a GPU and prints a table for the benchmarks page."""
    given = [name for name in ("steps", *COMMON) if flag_values[name].present]
    arguments = {
        suite: [f"--{name}={flag_values[name].value}" for name in given if name in READS[suite] | ALWAYS]
        for suite in gpu_suite.SUITES
    }
    result = gpu_suite.run(arguments, _say)
    _main.show(json.dumps(result) if flag_values.format == "json" else gpu_suite.table(result))


main = _main.Command("darts-benchmark", benchmark, define_flags, positional="suite", describe=describe)

if __name__ == "__main__":
    sys.exit(main())
