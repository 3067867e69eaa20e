"""DARTS-: an auxiliary skip connection on every edge, outside of the softmax, gives training the benefit of skips.

Reference: Chu et al., DARTS-, arXiv:2009.01027; `src/search/model_search.py` of Meituan-AutoML/DARTS-.
"""

from collections.abc import Callable
from typing import Any

from darts_tf.config import SearchConfig
from darts_tf.methods.method import Alphas, Method, Mixing, with_column
from darts_tf.system.errors import UserError

SKIP = "skip_connect"


class DartsMinus(Method):
    """Adds `beta * skip(x)` to every mixed edge; beta falls linearly, `darts_minus_skip * (1 - epoch / epochs)`.

    The auxiliary operation is an additional candidate of the mixed operation, with its own weights at stride 2; its
    mixing weights are an additional column.
    """

    def check(self, relaxation: Method) -> None:
        """Refuses recurrent cells, whose operations are activations."""
        if not isinstance(self.config, SearchConfig):
            raise UserError(
                f"method: darts_minus adds skip connections to image cells only. Received: method={self.config.method}."
            )

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns beta, a scalar."""
        return self.config.darts_minus_skip * (1 - epoch / self.config.epochs)

    def adjust(self, mixing: Mixing, alphas: Alphas, noise: Any) -> Mixing:
        """Appends the column of the auxiliary skip: beta, or 0 without noise."""
        return with_column(mixing, noise)

    def mixed_operation(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `usual` with the auxiliary skip as its last candidate."""
        return lambda edges, channels, stride, primitives, *allowed: usual(
            edges, channels, stride, [*primitives, SKIP], *allowed
        )
