"""The settings of a comparison of search methods by true accuracy in NAS-Bench-201. Needs no TensorFlow."""

import dataclasses
import functools
import re

from darts_tf.config.fields import Check, Config, at_least, between, in_group, one_of
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, benchmark

_protocol, _devices, _run = (
    functools.partial(in_group(group), resumable=True) for group in ("protocol", "memory and devices", "run")
)
_METHOD = re.compile(r"\w+(\+\w+)*(:\w+=[^:]+)*")
METHODS = (
    f"darts:primitives={','.join(NASBENCH201_PRIMITIVES)}",  # as published, with `none`
    "darts",
    "darts:order=second",
    "darts:order=second:hvp=exact",
    "smooth_darts",
    "darts_minus",
    "beta_darts",
    "fair_darts",
    "drnas",
    "gdas",
    "snas",
    "pc_darts",
    "pc_darts:pc_darts_k=2",
    "p_darts:epochs=4:p_darts_cells=5,8,11:p_darts_keep=4,3,2",
    "darts_pt:darts_pt_tuning_epochs=0",
    "random_nas:random_nas_cells=100",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonConfig(Config):
    """Searches in NAS-Bench-201 by several methods, each with several seeds; each result's true accuracy is known."""

    kind, title = "comparison", "comparisons"
    binary = "darts-protocol"

    search_preset: str = _protocol("nasbench201_small", "settings of the searches: a preset of darts-search")
    methods: tuple = _protocol(
        METHODS,
        "as --method takes them, with + between combined methods and :name=value for each setting",
        Check(
            "distinct, each of the form name or name+name:setting=value",
            lambda value: len(set(value)) == len(value) > 0 and all(map(_METHOD.fullmatch, value)),
        ),
    )
    num_seeds: int = _protocol(3, "searches per method, each with its own seed", at_least(1))
    benchmark: str = _protocol(
        "cifar10",
        "data set whose test accuracies are compared: " + ", ".join(benchmark.DATASETS),
        one_of(*benchmark.DATASETS),
    )
    seed: int = in_group("run")(0, "first seed of the searches", between(0, 2**31 - 1))
    overrides: tuple = _run((), "settings to change in every search: name=value, comma separated")
    processes: int = _devices(2, "searches at a time, each in its own process", at_least(1))
    threads: int = _devices(1, "CPU threads of each search; 0 = all cores", at_least(0))
