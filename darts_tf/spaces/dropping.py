"""Networks that draw their own dropout, since `fit` passes inputs only."""

import numbers
from typing import Any, ClassVar

import keras

from darts_tf.spaces.network import Network
from darts_tf.system.errors import UserError


class Dropping(Network):
    """A mixin, listed before a network's class: a seed for what is dropped, at a rate that is a setting.

    Args:
        *args: Arguments of the network.
        drop_seed: Seed of the draws; None for one that `keras.utils.set_random_seed` determines.
        **kwargs: Keyword arguments of the network, and under the name in `rate` the probability, in [0, 1), by default
            0.

    Attributes:
        rate: Name of the setting.
        drop_seeds: Gives a new seed for each pass; None if nothing is drawn.

    Raises:
        UserError: The probability is invalid.
    """

    rate: ClassVar[str]

    def __init__(self, *args: Any, drop_seed: int | None = 0, **kwargs: Any):
        rate = kwargs.pop(self.rate, 0.0)
        if not isinstance(rate, numbers.Real) or not 0 <= float(rate) < 1:
            raise UserError(f"{self.rate} must be a number of at least 0 and below 1. Received: {self.rate}={rate!r}.")
        setattr(self, self.rate, rate)
        self.drop_seed = drop_seed
        super().__init__(*args, **kwargs)

    def build(self, input_shape: tuple) -> None:
        """Makes the state of the draws."""
        super().build(input_shape)
        drawn = getattr(self, self.rate) or self.draws
        self.drop_seeds: Any = keras.random.SeedGenerator(self.drop_seed) if drawn else None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), self.rate: getattr(self, self.rate), "drop_seed": self.drop_seed}
