"""The settings of what consists of many runs: protocols, and comparisons of methods. Needs no TensorFlow."""

import dataclasses
import functools
import re

from darts_tf.config.fields import SEED, Check, Config, at_least, changed, in_group, one_of
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, benchmark

# May change when one of these is resumed, since each run refuses settings other than those it was started with. The
# seed may not: runs with different seeds would be mixed, and short trainings are numbered without their seeds.
_protocol, _devices, _run = (
    functools.partial(in_group(group), resumable=True) for group in ("protocol", "memory and devices", "run")
)

_OVERRIDES = "settings to change in {}: name=value, comma separated"
_METHOD = re.compile(r"\w+(\+\w+)*(:\w+=[^:]+)*")
_METHODS = (
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
class ManyRuns(Config):
    """The settings that protocols and comparisons share."""

    binary = "darts-protocol"

    search_preset: str = _protocol("cifar10_search", "settings of the searches: a preset of darts-search")
    overrides: tuple = _run((), _OVERRIDES.format("every run"))
    processes: int = _devices(1, "runs at a time, each in its own process", at_least(1))
    threads: int = _devices(0, "CPU threads of each run; 0 = all cores", at_least(0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolConfig(ManyRuns):
    """The whole experiment around a search; the defaults are the paper's on CIFAR-10.

    Searches with different seeds, a short training of each cell from scratch, selection on validation data, several
    full trainings of the selected cell, and the same with random cells.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and Table 1.
    """

    kind, title = "protocol", "protocols"

    train_preset: str = _protocol("cifar10_train", "settings of short and full training runs: a preset of darts-train")
    num_searches: int = _protocol(4, "searches, each with its own seed", at_least(1))
    num_random: int = _protocol(24, "random cells; 0 = as many as the cost of the searches allows", at_least(0))
    retrain_epochs: int = _protocol(100, "epochs of the short training runs that select the cells", at_least(1))
    eval_seeds: int = _protocol(10, "full training runs of each selected cell, each with its own seed", at_least(1))
    seed: int = in_group("run")(0, "first seed of searches and full training runs; seed of the random cells", SEED)
    retrain_seed: int = _run(1000, "seed that all short training runs share", SEED)
    search_overrides: tuple = _run((), _OVERRIDES.format("the searches"))
    retrain_overrides: tuple = _run(("train_portion=0.9",), _OVERRIDES.format("the short training runs"))
    evaluation_overrides: tuple = _run((), _OVERRIDES.format("the full training runs"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonConfig(ManyRuns):
    """Searches in NAS-Bench-201 by several methods, each with several seeds; each result's true accuracy is known."""

    kind, title = "comparison", "comparisons"

    search_preset: str = changed(ManyRuns, "search_preset", "nasbench201_small")
    methods: tuple = _protocol(
        _METHODS,
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
    seed: int = in_group("run")(0, "first seed of the searches", SEED)
    processes: int = changed(ManyRuns, "processes", 2)
    threads: int = changed(ManyRuns, "threads", 1)
