"""The settings of the search methods, each named after its method; refused without the method."""

import dataclasses
from typing import Any

from darts_tf.config.fields import Check, Config, above, at_least, between, in_group, one_of

_method = in_group("method")


def _stages(low: float, end: float = 1001, kind: type = int) -> Check:
    def holds(value):
        try:
            return all(low <= kind(each) < end for each in value.split(","))
        except ValueError:
            return False

    below = f" and below {end:g}" if kind is float else ""
    return Check(f"comma-separated {'whole ' if kind is int else ''}numbers of at least {low}{below}", holds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodSettings(Config):
    """The search method and its settings; the defaults are those of the papers' CIFAR-10 searches."""

    method: str = _method(
        "darts",
        "search method, or several, comma separated; darts is the paper's",
        Check("comma-separated names of methods", lambda value: all(map(str.isidentifier, value.split(",")))),
    )
    smooth_darts_attack: str = _method(
        "random",
        "smooth_darts: random = perturb mixing weights at random, adversarial = by ascent on the training loss",
        one_of("random", "adversarial"),
    )
    smooth_darts_epsilon: float = _method(
        0.3, "smooth_darts: largest perturbation of a mixing weight at the end; rises linearly", between(0, 1)
    )
    smooth_darts_epsilon_min: float = _method(0.03, "smooth_darts: the same in the first epoch", between(0, 1))
    smooth_darts_steps: int = _method(7, "smooth_darts: steps of the adversarial ascent", at_least(1))
    darts_minus_skip: float = _method(
        1.0, "darts_minus: weight of the auxiliary skip connection in the first epoch; falls to 0", at_least(0)
    )
    beta_darts_weight: float = _method(
        50.0, "beta_darts: weight of the penalty after the last epoch; rises from 0", at_least(0)
    )
    fair_darts_weight: float = _method(10.0, "fair_darts: weight of the zero-one loss", at_least(0))
    drnas_kl: float = _method(
        0.0, "drnas: weight of the divergence from the uniform Dirichlet, instead of arch_weight_decay", at_least(0)
    )
    gdas_tau: float = _method(10.0, "gdas: temperature in the first epoch", above(0))
    gdas_tau_min: float = _method(0.1, "gdas: temperature in the last epoch", above(0))
    snas_tau: float = _method(1.0, "snas: temperature in the first epoch", above(0))
    snas_tau_min: float = _method(0.03, "snas: temperature in the last epoch", above(0))
    pc_darts_k: int = _method(4, "pc_darts: one in this many channels goes through the operations", at_least(1))
    pc_darts_edges: bool = _method(True, "pc_darts: weights of whole edges, learnt with the alphas")
    random_nas_cells: int = _method(
        1000, "random_nas: random cells that the trained supernet evaluates at the end", at_least(1)
    )
    random_nas_batches: int = _method(
        10,
        "random_nas: validation batches for evaluating each cell; the best ten are then evaluated on all of them",
        at_least(1),
    )
    darts_pt_criterion: str = _method(
        "loss",
        "darts_pt: validation measure that evaluates each removal: loss or accuracy",
        one_of("loss", "accuracy"),
    )
    darts_pt_batches: int = _method(0, "darts_pt: validation batches for evaluating each removal; 0 = all", at_least(0))
    darts_pt_tuning_epochs: int = _method(
        5, "darts_pt: epochs of training between two decisions; 0 = the cheap form, evaluations only", at_least(0)
    )
    darts_pt_learning_rate: float = _method(
        0.0025, "darts_pt: learning rate of the weights in that training; falls to learning_rate_min", above(0)
    )
    cost_kind: str = _method(
        "macs",
        "cost: what to reduce in the derived network: macs = multiply-adds, parameters or latency",
        one_of("macs", "parameters", "latency"),
    )
    cost_weight: float = _method(
        0.1, "cost: weight of the penalty, which is its value in nats at twice the reference", at_least(0)
    )
    cost_target: float = _method(
        0.0,
        "cost: reduce it only while the chosen cell costs more than this, in millions or ms; 0 = always",
        at_least(0),
    )
    cost_channels: int = _method(
        0, "cost: init_channels of the network that will be served; 0 = as in the search", between(0, 10_000)
    )
    cost_cells: int = _method(
        0, "cost: num_cells of the network that will be served; 0 = as in the search", between(0, 1000)
    )
    cost_table: str = _method(
        "", "cost: file of latencies, the output of `darts-benchmark operations --format=json`", None, False, True
    )
    cost_device: str = _method("", "cost: device on which the table must have been measured; empty = this one")

    p_darts_cells: str = _method(
        "5,11,17", "p_darts: cells of the network in each stage, instead of num_cells", _stages(3)
    )
    p_darts_keep: str = _method("8,5,3", "p_darts: maximum number of candidates of an edge in each stage", _stages(2))
    p_darts_skip_dropout: str = _method(
        "0,0.4,0.7", "p_darts: dropout after skip connections at the start of each stage", _stages(0, 1, float)
    )
    p_darts_stage: int = _method(0, "p_darts: 0 = all stages; otherwise only this one, on num_cells cells", at_least(0))

    max_skips: int = _method(
        -1, "maximum number of skip connections in the derived normal cell; -1 = no limit", at_least(-1)
    )
    min_skips: int = _method(
        0, "minimum number of skip connections in the derived normal cell; for images", at_least(0)
    )
    max_parameter_free: int = _method(
        -1, "the same for skip connections and pooling together; -1 = no limit", at_least(-1)
    )

    def _check_together(self) -> None:
        super()._check_together()
        chosen = self.method.split(",")
        self._refuse(
            len(set(chosen)) < len(chosen), f"method must name each method once. Received: method={self.method}"
        )
        stages = [len(text.split(",")) for text in (self.p_darts_cells, self.p_darts_keep, self.p_darts_skip_dropout)]
        self._refuse(
            len(set(stages)) > 1 or self.p_darts_stage > stages[0],
            "p_darts_cells, p_darts_keep and p_darts_skip_dropout need a number for each stage, and p_darts_stage "
            f"must not exceed their count. Received: p_darts_cells={self.p_darts_cells}, "
            f"p_darts_keep={self.p_darts_keep}, p_darts_skip_dropout={self.p_darts_skip_dropout}, "
            f"p_darts_stage={self.p_darts_stage}",
        )
        for each in dataclasses.fields(self):  # whose defaults may differ from those above
            value: Any = getattr(self, each.name)
            owner = each.metadata["help"].partition(": ")[0]  # with which the text of a method's own setting begins
            self._refuse(
                each.name.startswith(f"{owner}_") and owner not in chosen and value != each.default,
                f"{each.name} is a setting of the method {owner}; add it to method={self.method}, or leave it at "
                f"{each.default}. Received: {each.name}={value}",
            )
        most = min((each for each in (self.max_skips, self.max_parameter_free) if each >= 0), default=self.min_skips)
        self._refuse(
            self.min_skips > most,
            "min_skips must not exceed max_skips or max_parameter_free. Received: "
            f"min_skips={self.min_skips}, max_skips={self.max_skips}, max_parameter_free={self.max_parameter_free}",
        )
        self._refuse(
            self.min_skips > 0 and "p_darts" in chosen,
            "min_skips must be 0 for p_darts, which may remove the skip connections of most edges before the last "
            f"stage. Received: min_skips={self.min_skips}",
        )
        self._refuse(
            (self.cost_kind == "latency") != bool(self.cost_table),
            f"cost_table must be given with cost_kind=latency, and only then. Received: cost_kind={self.cost_kind}, "
            f"cost_table={self.cost_table!r}",
        )
        self._refuse(
            self.cost_device != "" and not self.cost_table,
            f"cost_device must be empty without a cost_table. Received: cost_device={self.cost_device}",
        )

    @property
    def p_darts_rates(self) -> tuple[float, ...]:
        """`p_darts_skip_dropout` as numbers."""
        return tuple(float(each) for each in self.p_darts_skip_dropout.split(","))

    @property
    def p_darts_stages(self) -> tuple[tuple[int, int], ...]:
        """`p_darts_cells` and `p_darts_keep` as pairs of numbers, one for each stage."""
        cells, keep = (map(int, text.split(",")) for text in (self.p_darts_cells, self.p_darts_keep))
        return tuple(zip(cells, keep, strict=True))
