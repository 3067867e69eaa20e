"""The search methods, one file each: what a paper changes in DARTS. Add your own method to `METHODS`."""

from collections.abc import Callable
from typing import Any

from darts_tf.config import Search
from darts_tf.methods.beta_darts import BetaDarts
from darts_tf.methods.combined import Combined
from darts_tf.methods.cost import Cost
from darts_tf.methods.darts import Darts
from darts_tf.methods.darts_minus import DartsMinus
from darts_tf.methods.darts_pt import DartsPT
from darts_tf.methods.drnas import DrNAS
from darts_tf.methods.fair_darts import FairDarts
from darts_tf.methods.gumbel import Gdas, Snas
from darts_tf.methods.limits import Limits
from darts_tf.methods.method import Method
from darts_tf.methods.p_darts import PDarts
from darts_tf.methods.pc_darts import PCDarts
from darts_tf.methods.random_nas import RandomNas
from darts_tf.methods.smooth_darts import SmoothDarts
from darts_tf.system.errors import UserError

METHODS: dict[str, Callable[[Any], Method]] = {
    "darts": Darts,
    "smooth_darts": SmoothDarts,
    "darts_minus": DartsMinus,
    "beta_darts": BetaDarts,
    "fair_darts": FairDarts,
    "drnas": DrNAS,
    "gdas": Gdas,
    "snas": Snas,
    "pc_darts": PCDarts,
    "random_nas": RandomNas,
    "darts_pt": DartsPT,
    "cost": Cost,
    "p_darts": PDarts,
}
"""Name -> class; `make` calls it with the settings of the search."""


def make(config: Search) -> Combined:
    """Returns the method of a search.

    Args:
        config: The settings of the search.

    Raises:
        UserError: There is no method of that name, or two of them cannot be combined.
    """
    names = config.method.split(",")
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"method must be one of {', '.join(METHODS)}, or one that was added to `darts_tf.methods.METHODS`, or "
                f"several of them, comma separated. Received: method={config.method}."
            )
    # In this order, however they are named: some append a column to the mixing weights for their own operation.
    parts = {name: METHODS[name](config) for name in METHODS if name in names}
    if max(config.max_skips, config.max_parameter_free) >= 0 or config.min_skips > 0:
        parts["limits"] = Limits(config)
    method = Combined(config, parts)
    method.check(method.base)
    return method
