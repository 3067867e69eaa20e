"""The settings of a protocol: which searches and trainings it has, and how many. Needs no TensorFlow."""

import dataclasses
import functools

from darts_tf.config.fields import Config, at_least, between, in_group

# May change when a protocol is resumed, since each run refuses settings other than those it was started with. The seed
# may not: runs with different seeds would be mixed, and short trainings are numbered without their seeds.
_protocol, _devices, _run = (
    functools.partial(in_group(group), resumable=True) for group in ("protocol", "memory and devices", "run")
)

_SEED = between(0, 2**31 - 1)
_OVERRIDES = "settings to change in {}: name=value, comma separated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolConfig(Config):
    """The whole experiment around a search; the defaults are the paper's on CIFAR-10.

    Searches with different seeds, a short training of each cell from scratch, selection on validation data, several
    full trainings of the selected cell, and the same with random cells.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and Table 1.
    """

    kind, title = "protocol", "protocols"
    binary = "darts-protocol"

    search_preset: str = _protocol("cifar10_search", "settings of the searches: a preset of darts-search")
    train_preset: str = _protocol("cifar10_train", "settings of short and full training runs: a preset of darts-train")
    num_searches: int = _protocol(4, "searches, each with its own seed", at_least(1))
    num_random: int = _protocol(24, "random cells; 0 = as many as the cost of the searches allows", at_least(0))
    retrain_epochs: int = _protocol(100, "epochs of the short training runs that select the cells", at_least(1))
    eval_seeds: int = _protocol(10, "full training runs of each selected cell, each with its own seed", at_least(1))
    seed: int = in_group("run")(0, "first seed of searches and full training runs; seed of the random cells", _SEED)
    retrain_seed: int = _run(1000, "seed that all short training runs share", _SEED)
    overrides: tuple = _run((), _OVERRIDES.format("every run"))
    search_overrides: tuple = _run((), _OVERRIDES.format("the searches"))
    retrain_overrides: tuple = _run(("train_portion=0.9",), _OVERRIDES.format("the short training runs"))
    evaluation_overrides: tuple = _run((), _OVERRIDES.format("the full training runs"))
    processes: int = _devices(1, "runs at a time, each in its own process", at_least(1))
    threads: int = _devices(0, "CPU threads of each run; 0 = all cores", at_least(0))
