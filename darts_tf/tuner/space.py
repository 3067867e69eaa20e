"""The space of genotypes as hyperparameters, and the way between the two.

For each node of each cell one choice of the inputs that it reads, and for each of those edges one choice of an
operation that is active only where its node reads that edge: 36 hyperparameters for the paper's image cells, of which
24 are active. Each operation's hyperparameter is one row of alpha.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from darts_tf.genotypes import CONV_PRIMITIVES, RECURRENT_PRIMITIVES, ConvGenotype, Genotype, RecurrentGenotype
from darts_tf.system.errors import UserError, some_of

TYPES = {"conv": ConvGenotype, "recurrent": RecurrentGenotype}
_USUAL = {"conv": (CONV_PRIMITIVES, 4), "recurrent": (RECURRENT_PRIMITIVES, 8)}


def inputs_name(cell: str, node: int) -> str:
    """Name of the hyperparameter that says what a node reads; nodes are counted like inputs, as in a genotype."""
    return f"{cell}/node{node}/inputs"


def operation_name(cell: str, node: int, source: int) -> str:
    """Name of the hyperparameter that says which operation an edge has."""
    return f"{cell}/node{node}/from{source}"


def _concat_name(cell: str) -> str:
    return f"{cell}/concat"


@dataclasses.dataclass(frozen=True)
class Space:
    """What genotypes there are.

    Attributes:
        kind: `"conv"` or `"recurrent"`.
        num_nodes: Nodes of each cell.
        primitives: Names of the operations, in the order of alpha's columns; `none` is never chosen.
        concat: For each cell the nodes that make its output, counted like inputs.
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
        """The paper's space of a kind, or one that differs from it in what is given.

        Raises:
            UserError: Fewer than one node, or no operation to choose.
        """
        known, usual = _USUAL[kind]
        nodes = usual if num_nodes is None else num_nodes
        primitives = tuple(known if primitives is None else primitives)
        if nodes < 1 or not set(primitives) - {"none"} or len(set(primitives)) < len(primitives):
            raise UserError(
                "A space of genotypes needs at least one node and different primitives, one at least not 'none'. "
                f"Received: num_nodes={nodes}, primitives={some_of(primitives, 10)}."
            )
        first = len(TYPES[kind].inputs)
        every = [range(first, first + nodes)] * len(TYPES[kind].cells)
        return cls(kind, nodes, primitives, tuple(tuple(c) for c in (every if concat is None else concat)))

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, which are those of the genotype's fields."""
        return tuple(TYPES[self.kind].cells)

    @property
    def nodes(self) -> range:
        """The nodes' numbers, counted like inputs."""
        first = len(TYPES[self.kind].inputs)
        return range(first, first + self.num_nodes)

    @property
    def edges_per_node(self) -> int:
        """How many inputs a node reads."""
        return TYPES[self.kind].edges_per_node

    @property
    def operations(self) -> list[str]:
        """What can be chosen: the primitives without `none`."""
        return [name for name in self.primitives if name != "none"]

    @property
    def shape(self) -> tuple[int, int]:
        """`(edges, primitives)` of one cell's alphas."""
        return sum(self.nodes), len(self.primitives)

    def row(self, node: int, source: int) -> int:
        """Returns the row of alpha that belongs to an edge."""
        return sum(range(self.nodes[0], node)) + source

    def check(self, genotype: Genotype) -> None:
        """Raises a UserError that says why a genotype is not in this space."""
        wrong = None
        if genotype.kind != self.kind:
            wrong = f"it is a {genotype.kind} genotype"
        for cell, concat in zip(self.cells, self.concat, strict=True):
            if wrong:
                break
            pairs = getattr(genotype, cell)
            unknown = next((name for name, _ in pairs if name not in self.operations), None)
            if len(pairs) != self.num_nodes * self.edges_per_node:
                wrong = f"{cell} has {len(pairs) // self.edges_per_node} nodes"
            elif unknown is not None:
                wrong = f"{cell} has the operation {unknown!r}"
            elif sorted(getattr(genotype, genotype.cells[cell])) != sorted(concat):
                wrong = f"{genotype.cells[cell]} is {list(getattr(genotype, genotype.cells[cell]))}"
            else:
                for node, edges in zip(self.nodes, _by_node(pairs, self.edges_per_node), strict=True):
                    if len({source for _, source in edges}) < len(edges):
                        wrong = f"node {node} of {cell} reads one input twice"
        if wrong:
            raise UserError(
                f"The genotype does not fit the space: {wrong}. Expected {self.kind} cells of {self.num_nodes} nodes, "
                f"each reading {self.edges_per_node} different inputs, and of {', '.join(self.operations)}."
            )

    def declare(self, hp) -> None:
        """Adds the space's hyperparameters to `keras_tuner.HyperParameters`; those that are there already stay."""
        usual = Space.of(self.kind, self.num_nodes).concat
        for cell, concat, all_nodes in zip(self.cells, self.concat, usual, strict=True):
            if concat != all_nodes:  # rides along, so that values alone say which genotype they are
                hp.Fixed(_concat_name(cell), ",".join(map(str, concat)))
            for node in self.nodes:
                # A choice's values must be of one scalar type: "0,2" stands for the inputs 0 and 2.
                choices = [",".join(map(str, c)) for c in itertools.combinations(range(node), self.edges_per_node)]
                hp.Choice(inputs_name(cell, node), choices)
                for source in range(node):
                    reading = [choice for choice in choices if str(source) in choice.split(",")]
                    name = operation_name(cell, node, source)
                    hp.Choice(name, self.operations, parent_name=inputs_name(cell, node), parent_values=reading)


def _by_node(pairs, edges_per_node):
    return [pairs[i : i + edges_per_node] for i in range(0, len(pairs), edges_per_node)]


def space_of(genotype: Genotype, primitives: Iterable[str] | None = None) -> Space:
    """The space of genotypes with as many nodes and the same outputs; with the usual primitives unless given."""
    concat = [getattr(genotype, concat) for concat in genotype.cells.values()]
    space = Space.of(genotype.kind, genotype.num_nodes, primitives, concat)
    space.check(genotype)
    return space


def values_from(genotype: Genotype) -> dict[str, Any]:
    """The hyperparameters that stand for a genotype, the active ones only.

    Raises:
        UserError: A node reads one input twice, which has no place in the space.
    """
    space = space_of(genotype, ["none", *genotype.operations])
    values = {}
    for cell, concat, usual in zip(
        space.cells, space.concat, Space.of(space.kind, space.num_nodes).concat, strict=True
    ):
        if concat != usual:
            values[_concat_name(cell)] = ",".join(map(str, concat))
        for node, edges in zip(space.nodes, _by_node(getattr(genotype, cell), space.edges_per_node), strict=True):
            edges = sorted(edges, key=lambda edge: edge[1])
            values[inputs_name(cell, node)] = ",".join(str(source) for _, source in edges)
            values |= {operation_name(cell, node, source): operation for operation, source in edges}
    return values


def genotype_from(values: Mapping[str, Any]) -> Genotype:
    """The genotype that hyperparameters stand for, whatever order they come in; others are ignored.

    Args:
        values: `HyperParameters.values` of a trial, or a `HyperParameters`. The edges of a node come out in the order
            of the inputs that they read.

    Raises:
        UserError: There is no genotype in them, or a part of it is missing.
    """
    values = getattr(values, "values", values) if not isinstance(values, Mapping) else values
    kind = next(
        (kind for kind, cls in TYPES.items() if any(f"{cell}/node" in n for cell in cls.cells for n in values)), None
    )
    if kind is None:
        raise UserError(
            "These hyperparameters hold no genotype. Expected names such as "
            f"{inputs_name('normal', 2)}. Received: {some_of(sorted(map(str, values))) or 'none'}."
        )
    cls, fields = TYPES[kind], {}
    for cell, concat in cls.cells.items():
        pairs, node = [], len(cls.inputs)
        while inputs_name(cell, node) in values:
            for source in str(values[inputs_name(cell, node)]).split(","):
                name = operation_name(cell, node, int(source))
                if name not in values:
                    raise UserError(f"The genotype's hyperparameter {name} is missing. Expected an operation's name.")
                pairs.append((values[name], int(source)))
            node += 1
        own = values.get(_concat_name(cell))
        fields[cell] = pairs
        fields[concat] = [int(n) for n in str(own).split(",")] if own is not None else range(len(cls.inputs), node)
    return cls(**fields)
