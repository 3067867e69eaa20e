"""The space of genotypes as hyperparameters, and conversions between the two.

For each node of each cell there is one choice of the inputs that it reads, and for each possible edge one choice of an
operation that is active only if its node reads that edge: 36 hyperparameters for the paper's image cells, of which 24
are active. Each operation's hyperparameter is one row of alpha.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from darts_tf.genotypes import KINDS, Genotype
from darts_tf.genotypes.topology import Topology
from darts_tf.system.errors import UserError, some_of


def inputs_name(cell: str, node: int) -> str:
    """Name of the hyperparameter for the inputs of a node; nodes are numbered like inputs, as in a genotype."""
    return f"{cell}/node{node}/inputs"


def operation_name(cell: str, node: int, source: int) -> str:
    """Name of the hyperparameter for the operation of an edge."""
    return f"{cell}/node{node}/from{source}"


def _concat_name(cell: str) -> str:
    return f"{cell}/concat"


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))  # a choice's values must be of one scalar type: "0,2" means inputs 0 and 2


@dataclasses.dataclass(frozen=True)
class Space:
    """A set of genotypes.

    Attributes:
        kind: A key of `genotypes.KINDS`.
        num_nodes: Nodes of each cell.
        primitives: Names of the operations, in the order of alpha's columns; most spaces do not allow choosing `none`.
        concat: For each cell the nodes that make its output, numbered like inputs.
    """

    kind: str
    num_nodes: int
    primitives: tuple[str, ...]
    concat: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        kind: str = "conv",
        num_nodes: int | None = None,
        primitives: Iterable[str] | None = None,
        concat: Iterable[Iterable[int]] | None = None,
    ) -> "Space":
        """Returns the usual space of a kind, with the given changes.

        Raises:
            UserError: There is less than one node, or no operation to choose.
        """
        genotype = KINDS[kind]
        nodes = genotype.usual_nodes if num_nodes is None else num_nodes
        primitives = tuple(genotype.primitives if primitives is None else primitives)
        if nodes < 1 or not set(primitives) - {"none"} or len(set(primitives)) < len(primitives):
            raise UserError(
                "A space of genotypes needs at least one node and different primitives, at least one other than "
                f"'none'. Received: num_nodes={nodes}, primitives={some_of(primitives, 10)}."
            )
        concat = [genotype.output_nodes(nodes)] * len(genotype.cells) if concat is None else concat
        return cls(kind, nodes, primitives, tuple(map(tuple, concat)))

    @property
    def genotype(self) -> type[Genotype]:
        """The class of its genotypes."""
        return KINDS[self.kind]

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, which are those of the genotype's fields."""
        return tuple(self.genotype.cells)

    @property
    def topology(self) -> Topology:
        """The edges of each cell."""
        return self.genotype.topology(self.num_nodes)

    @property
    def operations(self) -> list[str]:
        """The operations that can be chosen: the primitives, without `none` unless edges may keep it."""
        return [name for name in self.primitives if self.genotype.none_allowed or name != "none"]

    @property
    def shape(self) -> tuple[int, int]:
        """`(edges, primitives)` of one cell's alphas."""
        return self.topology.num_edges, len(self.primitives)

    def edges(self, genotype: Genotype, cell: str) -> Iterator[tuple[int, str]]:
        """Yields for each edge of a genotype's cell its row of alpha and its operation."""
        for node, pairs in self.topology.by_node(getattr(genotype, cell)):
            for operation, source in pairs:
                yield self.topology.row(source, node), operation

    def check(self, genotype: Genotype) -> None:
        """Raises a UserError that says why a genotype is not in this space."""
        if wrong := next(self._misfits(genotype), None):
            raise UserError(
                f"The genotype does not fit the space: {wrong}. Expected {self.kind} cells of {self.num_nodes} nodes, "
                f"each reading different inputs, and of {', '.join(self.operations)}."
            )

    def _misfits(self, genotype):
        if genotype.kind != self.kind:
            yield f"it is a {genotype.kind} genotype"
        for (cell, output), concat in zip(self.genotype.cells.items(), self.concat, strict=True):
            topology, pairs = genotype.topology_of(cell), getattr(genotype, cell)
            if topology.num_nodes != self.num_nodes:
                yield f"{cell} has {topology.num_nodes} nodes"
            for name, _ in pairs:
                if name not in self.operations:
                    yield f"{cell} has the operation {name!r}"
            if sorted(getattr(genotype, output)) != sorted(concat):
                yield f"{output} is {list(getattr(genotype, output))}"
            for node, edges in topology.by_node(pairs):
                if len({source for _, source in edges}) < len(edges):
                    yield f"node {node} of {cell} reads one input twice"

    def declare(self, hp: Any) -> None:
        """Adds the space's hyperparameters to `keras_tuner.HyperParameters`; existing ones stay."""
        topology = self.topology
        for cell, concat in zip(self.cells, self.concat, strict=True):
            if concat != self.genotype.output_nodes(self.num_nodes):
                # Included so that the values alone determine the genotype.
                hp.Fixed(_concat_name(cell), _listed(concat))
            for node, sources, kept in zip(topology.nodes, topology.sources, topology.kept, strict=True):
                choices = [*itertools.combinations(sources, kept)]
                hp.Choice(inputs_name(cell, node), [*map(_listed, choices)])
                for source in sources:
                    reading = [_listed(choice) for choice in choices if source in choice]
                    name = operation_name(cell, node, source)
                    hp.Choice(name, self.operations, parent_name=inputs_name(cell, node), parent_values=reading)


def space_of(genotype: Genotype, primitives: Iterable[str] | None = None) -> Space:
    """Returns the space of genotypes with as many nodes and the same outputs, by default with the usual primitives."""
    concat = [getattr(genotype, concat) for concat in genotype.cells.values()]
    space = Space.of(genotype.kind, genotype.num_nodes, primitives, concat)
    space.check(genotype)
    return space


def values_from(genotype: Genotype) -> dict[str, Any]:
    """Returns the hyperparameters that represent a genotype, only the active ones.

    Raises:
        UserError: A node reads one input twice, which the space cannot represent.
    """
    space = space_of(genotype, dict.fromkeys(["none", *genotype.operations]))
    values = {}
    for cell, concat in zip(space.cells, space.concat, strict=True):
        if concat != genotype.output_nodes(space.num_nodes):
            values[_concat_name(cell)] = _listed(concat)
        for node, edges in space.topology.by_node(getattr(genotype, cell)):
            edges = sorted(edges, key=lambda edge: edge[1])
            values[inputs_name(cell, node)] = _listed(source for _, source in edges)
            values |= {operation_name(cell, node, source): operation for operation, source in edges}
    return values


def genotype_from(values: Mapping[str, Any]) -> Genotype:
    """Returns the genotype that hyperparameters represent, in any order; others are ignored.

    Args:
        values: `HyperParameters.values` of a trial, or a `HyperParameters`. The edges of a node come out in the order
            of the inputs that they read.

    Raises:
        UserError: They contain no genotype, or a part of it is missing.
    """
    values = getattr(values, "values", values) if not isinstance(values, Mapping) else values
    # All cells of a kind must be present; if two kinds fit, the one with more cells.
    kinds = [
        kind for kind in KINDS.values() if all(inputs_name(cell, len(kind.inputs)) in values for cell in kind.cells)
    ]
    if not kinds:
        raise UserError(
            "These hyperparameters hold no genotype. Expected names such as "
            f"{inputs_name('normal', 2)}. Received: {some_of(sorted(map(str, values))) or 'none'}."
        )
    kind = max(kinds, key=lambda kind: len(kind.cells))
    fields: dict[str, Any] = {}
    for cell, concat in kind.cells.items():
        pairs, node = [], len(kind.inputs)
        while inputs_name(cell, node) in values:
            for source in str(values[inputs_name(cell, node)]).split(","):
                name = operation_name(cell, node, int(source))
                if name not in values:
                    raise UserError(f"The genotype's hyperparameter {name} is missing. Expected an operation's name.")
                pairs.append((values[name], int(source)))
            node += 1
        own = values.get(_concat_name(cell))
        fields[cell] = pairs
        usual = kind.output_nodes(node - len(kind.inputs))
        fields[concat] = usual if own is None else [int(n) for n in str(own).split(",")]
    return kind(**fields)
