"""Expected cost: a penalty on the multiply-adds, the weights or the measured latency of the derived network.

Reference: Cai, Zhu and Han, ProxylessNAS, arXiv:1812.00332, section 3.3; `search/nas_manager.py` of
mit-han-lab/proxylessnas, its loss `add#linear`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf import spaces
from darts_tf.config import SearchConfig
from darts_tf.genotypes import Genotype
from darts_tf.methods.method import Alphas, Method, Mixing
from darts_tf.spaces import costs, latency
from darts_tf.system.device import device
from darts_tf.system.errors import UserError, some_of


class Cost(Method):
    """Adds `cost_weight * (E - target) / target`, where E is the expected cost of the derived network, see `Costs`.

    The derived network has `cost_channels` and `cost_cells`, or the search's own channels and cells if these are 0,
    takes images of the search's size and has the stem for small images.

    Without a target (0) the reference is E at equal mixing weights, and the penalty always lowers the cost, as in the
    original; the weight is the price of cost in nats.

    Deviation: with a target the penalty acts only while the cell that would be derived now costs more than that. The
    original's continues below its reference, and trades accuracy for a saving that is not required. E itself does not
    measure this: the mixing weights stay nearly equal whatever is chosen, and so does E.

    Deviation: where a node keeps some of its edges, E counts as many operations as it keeps, see `Costs.expected`; the
    original's networks keep every edge.

    So the derived cell ends up at or below the target, or slightly above it while its choices still change. Epoch
    records contain E and the cost of the derived cell.
    """

    def check(self, relaxation: Method) -> None:
        """Refuses recurrent cells, whose operations all cost the same, and XLA, which cannot derive a cell."""
        if not isinstance(self.config, SearchConfig):
            raise UserError(
                "method=cost needs operations of different cost; those of recurrent cells all cost the same. "
                f"Received: method={self.config.method}."
            )
        if self.config.cost_target and self.config.jit_compile:
            raise UserError(
                "cost_target derives the cell in every step, which XLA cannot compile; switch jit_compile off. "
                "Received: jit_compile=True."
            )

    def variables(self, supernet: Any) -> dict[str, Any]:
        """Makes no variables; computes the costs, since the image sizes are known here.

        Raises:
            UserError: The target is outside the range of the networks' costs, or the table belongs to another network.
        """
        c = self.config
        space, sizes = spaces.get(c.space), (supernet.image_shape, supernet.num_classes)
        try:
            served = c.replace(init_channels=c.cost_channels or c.init_channels, num_cells=c.cost_cells or c.num_cells)
            self.costs = _costs(space, served, sizes)
        except UserError as error:
            if not (c.cost_channels or c.cost_cells) or str(error).startswith("cost_"):
                raise
            raise UserError(
                f"cost_channels, cost_cells: {str(error).rstrip('.')}. Received: cost_channels={c.cost_channels}, "
                f"cost_cells={c.cost_cells}."
            ) from error
        least, most = self.costs.range(lambda strengths: self.whole.derive(strengths, strengths))
        if least == most:
            raise UserError(
                f"method=cost needs operations of different cost; every network has {least:.4g} {self.unit}. "
                f"Received: space={c.space}, primitives={some_of(c.primitives)}."
            )
        if c.cost_target and not least <= c.cost_target <= most:
            raise UserError(
                f"cost_target must be reachable: networks of this search have {least:.4g} to {most:.4g} {self.unit}. "
                f"Received: cost_target={c.cost_target:g}."
            )
        equal = {cell: tf.ones(each.shape, tf.float64) for cell, each in self.costs.operations.items()}
        self.reference = c.cost_target or float(self.costs.expected(equal))
        return {}

    @property
    def unit(self) -> str:
        """The unit of the costs, in words."""
        return costs.UNITS[self.config.cost_kind].replace("_", " ")

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """Returns the penalty, a scalar in nats."""
        excess = self.config.cost_weight * (self.costs.expected(mixing) - self.reference) / self.reference
        if not self.config.cost_target:
            return excess
        return tf.where(self.derived(alphas) > self.reference, excess, tf.zeros_like(excess))

    def derived(self, alphas: Alphas) -> Any:
        """Returns the cost of the cell that all methods and limits of the search derive now, a float64 scalar tensor.

        It is piecewise constant, so it has no gradient. Deriving is Python, which a CPU runs.
        """
        names = list(alphas)

        def cost(*values):
            if not all(np.isfinite(each).all() for each in values):
                return np.float64("nan")  # the search has diverged, and says so itself
            return np.float64(self.costs.of(self.whole.derive(dict(zip(names, values, strict=True)))))

        with tf.device("CPU"):
            return tf.numpy_function(cost, list(alphas.values()), tf.float64)

    def facts(self, mixing: Mixing, genotype: Genotype) -> Mapping[str, float]:
        """Returns E, the cost of the current genotype, and the target if there is one."""
        unit, target = costs.UNITS[self.config.cost_kind], self.config.cost_target
        found = {f"expected_{unit}": float(self.costs.expected(mixing)), f"derived_{unit}": self.costs.of(genotype)}
        return found | ({f"target_{unit}": target} if target else {})


def _costs(space, served, sizes):
    """The costs of a search whose channels and cells are those of the network to be served."""
    if served.cost_kind != "latency":
        return costs.counted(space, served, sizes, served.cost_kind)
    table = latency.read(served.cost_table)
    latency.check(table, served, sizes[0], served.cost_device or device())
    name = next(each for each in served.primitives if each != "none")
    return latency.costs(table, space, served, costs.network(space, served, costs.alike(space, served, name), sizes))
