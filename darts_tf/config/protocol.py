"""The settings of a protocol: which searches and trainings there are, and how many of each. No TensorFlow here."""

import dataclasses
import functools

from darts_tf.config.fields import Config, at_least, between
from darts_tf.config.fields import field as any_field

# May change when a protocol goes on, since each run refuses other settings than it was begun with. The seed may not:
# runs of another would lie beside those of the first, and short trainings are named by numbers, not by seeds.
field = functools.partial(any_field, resumable=True)

_SEED = between(0, 2**31 - 1)
_OVERRIDES = "changed in {}: name=value, comma separated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolConfig(Config):
    """The whole experiment around a search; the defaults are the paper's on CIFAR-10.

    Searches with different seeds, a short training of each cell from scratch, selection on validation data, several
    full trainings of the selected cell; and the same with random cells.

    Reference: Liu et al., arXiv:1806.09055, section 3.2 and Table 1.
    """

    kind = "protocol"
    binary = "darts-protocol"

    search_preset: str = field("cifar10_search", "settings of the searches: a preset of darts-search")
    train_preset: str = field("cifar10_train", "settings of the trainings, short and full: a preset of darts-train")
    num_searches: int = field(4, "searches, each with a seed of its own", at_least(1))
    num_random: int = field(24, "random cells; 0 = as many as cost what the searches cost", at_least(0))
    retrain_epochs: int = field(100, "epochs of the short trainings by which cells are selected", at_least(1))
    eval_seeds: int = field(10, "full trainings of each selected cell, each with a seed of its own", at_least(1))
    seed: int = any_field(0, "first seed of searches and full trainings; seed of the random cells", _SEED)
    retrain_seed: int = field(1000, "seed that all short trainings share", _SEED)
    overrides: tuple = field((), _OVERRIDES.format("every run"))
    search_overrides: tuple = field((), _OVERRIDES.format("the searches"))
    retrain_overrides: tuple = field(("train_portion=0.9",), _OVERRIDES.format("the short trainings"))
    evaluation_overrides: tuple = field((), _OVERRIDES.format("the full trainings"))
    processes: int = field(1, "runs at a time, each a process of its own", at_least(1))
    threads: int = field(0, "CPU threads of each run; 0 = all cores", at_least(0))
