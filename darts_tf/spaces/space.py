"""What a search space is: the protocol."""

from collections.abc import Container, Iterable
from typing import Any, ClassVar, Protocol

from darts_tf.genotypes import Genotype
from darts_tf.system.errors import UserError


class Space(Protocol):
    """A search space.

    A network has `weight_variables`, `state_variables`, `alphas` (variables by the genotype's names of its cells; none
    in a derived network), `stateless(weights, mixing, inputs)` and `moved_state(state, statistics)`, see
    `bilevel.objective.SupernetLoss`; a derived one also its `genotype` and `parameters`, of images `image_shape`,
    `num_classes`, `macs()` and `drop_factors(batch_size, probability, seed)`.

    Attributes:
        genotype: The class of its genotypes: what cells there are, their edges, how they are written and drawn.
        operations: Names that its primitives may have.
    """

    genotype: ClassVar[type[Genotype]]
    operations: Container[str] | Iterable[str]

    def supernet(self, config: Any, method: Any, *sizes: Any) -> Any:
        """Builds the supernet of a search; its start values are a function of `config.seed`.

        Args:
            config: The settings of the search.
            method: A `methods.Method`.
            *sizes: What the data say: image shape and number of classes, or size of the vocabulary.
        """

    def network(self, config: Any, *sizes: Any) -> Any:
        """Builds the derived network of `config.genotype`; its start values are a function of `config.seed`."""

    def check(self, primitives: Iterable[str]) -> None:
        """Raises UserError where an operation is not known."""
        for name in primitives:
            if name not in self.operations:
                known = ", ".join(self.operations)
                raise UserError(f"Unknown primitive. Expected some of: {known}. Received: {name!r}.")
