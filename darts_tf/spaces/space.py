"""The protocol of a search space."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from darts_tf.genotypes import Genotype
from darts_tf.spaces.candidates import check_primitives


class Place(NamedTuple):
    """Where a candidate operation stands in a derived network of images.

    Attributes:
        channels: Channels, in and out.
        stride: 1 or 2.
        height: Height of the input, in pixels.
        width: Width of the input, in pixels.
    """

    channels: int
    stride: int
    height: int
    width: int

    @property
    def output(self) -> tuple[int, int]:
        """`(height, width)` of the output."""
        return -(-self.height // self.stride), -(-self.width // self.stride)


class Space(Protocol):
    """A search space.

    A network has `weight_variables`, `state_variables`, `alphas` (variables by the genotype's names of its cells; none
    in a derived network), `stateless(weights, mixing, inputs)` and `moved_state(state, statistics)`, see
    `bilevel.objective.SupernetLoss`; a derived network also has `genotype` and `parameters`, and for images
    `image_shape`, `num_classes`, `macs()` and `drop_factors(batch_size, probability, seed)`.

    Attributes:
        genotype: The class of its genotypes, which defines the cells, their edges, and how they are written and drawn.
        operations: Names that its primitives may have.
    """

    genotype: ClassVar[type[Genotype]]
    operations: Collection[str]

    def supernet(self, config: Any, method: Any, *sizes: Any) -> Any:
        """Builds the supernet of a search; its initial values are a function of `config.seed`.

        Args:
            config: The settings of the search.
            method: A `methods.Method`.
            *sizes: Sizes given by the data: image shape and number of classes, or size of the vocabulary.
        """

    def network(self, config: Any, *sizes: Any) -> Any:
        """Builds the derived network of `config.genotype`; its initial values are a function of `config.seed`."""

    def places(self, network: Any) -> Iterable[tuple[str, Sequence[Place]]]:
        """Returns for each cell of a derived network its kind, and the place of the operations on each edge.

        Edges are those of the search, of which a derived cell keeps some. Only the method `cost` needs this; a space
        whose operations have no such places, or all cost the same, returns no cells.
        """
        return ()

    def check(self, primitives: Iterable[str]) -> None:
        """Raises UserError if an operation is unknown."""
        check_primitives(primitives, self.operations)
