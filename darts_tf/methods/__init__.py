"""The search methods, a file each: what a paper changes in DARTS. A method of your own is added to `METHODS`."""

from darts_tf.methods.darts import Darts
from darts_tf.methods.method import Method
from darts_tf.system.errors import UserError

METHODS: dict[str, type[Method]] = {"darts": Darts}
"""Name -> class; `make` calls it with the settings of the search."""


def make(config) -> Method:
    """Returns the method of a search.

    Args:
        config: A `config.Search`.

    Raises:
        UserError: There is no method of that name.
    """
    if config.method not in METHODS:
        raise UserError(
            f"method must be one of {', '.join(METHODS)}, or one that was added to `darts_tf.methods.METHODS`. "
            f"Received: method={config.method}."
        )
    return METHODS[config.method](config)
