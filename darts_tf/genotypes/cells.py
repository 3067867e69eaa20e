"""Genotypes: the cells of a search space, checked at construction; the paper's two kinds.

A genotype lists, node by node, the edges that enter a node as pairs `(operation, input)`. `input` counts what the node
can read: first the inputs of the cell (two for image cells, one for recurrent cells), then the earlier nodes.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from darts_tf.genotypes.checks import MAX_PAIRS, check_concat, check_pairs, choices, is_integer, num_nodes
from darts_tf.genotypes.text import show
from darts_tf.genotypes.topology import Topology
from darts_tf.system.errors import UserError

# The order is that of the columns of alpha, and is the original's (quark0/darts, cnn/genotypes.py, rnn/genotypes.py).
CONV_PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
RECURRENT_PRIMITIVES = ("none", "tanh", "relu", "sigmoid", "identity")


@dataclasses.dataclass(frozen=True)
class Genotype:
    """The common part of the genotypes of all search spaces; a subclass is a frozen dataclass that defines its cells.

    Attributes:
        kind: Name of the space.
        cells: Field of a cell's pairs -> field of the nodes that make its output.
        names: Field of a cell's pairs -> name of the cell in drawings and reports.
        primitives: Names of the usual operations, in the order of the columns of alpha.
        usual_nodes: Usual number of nodes of a cell.
        inputs: Labels of the inputs of a cell.
        first_label: The label of the first node, a number; the others follow.
        outside: Labels of what a drawing shows before the inputs, all leading to input 0; if empty, the inputs
            themselves are what the cell reads.
        output: Label of the output.
        edges_per_node: How many edges each node keeps.
        none_allowed: Whether an edge may keep `none`.

    Example:
        >>> import darts_tf
        >>> found = darts_tf.genotype.load("DARTS_V2")
        >>> isinstance(found, darts_tf.genotype.Genotype), found.kind, found.num_nodes
        (True, 'conv', 4)
    """

    kind: ClassVar[str]
    cells: ClassVar[dict[str, str]]
    names: ClassVar[dict[str, str]]
    primitives: ClassVar[tuple[str, ...]]
    usual_nodes: ClassVar[int]
    inputs: ClassVar[tuple[str, ...]]
    first_label: ClassVar[int] = 0
    outside: ClassVar[tuple[str, ...]] = ()
    output: ClassVar[str] = "output"
    edges_per_node: ClassVar[int] = 1
    none_allowed: ClassVar[bool] = False

    def __post_init__(self):
        """Checks the fields and turns lists into tuples."""
        for pairs, concat in self.cells.items():
            checked, topology = check_pairs(pairs, getattr(self, pairs), type(self))
            object.__setattr__(self, pairs, checked)
            object.__setattr__(self, concat, check_concat(concat, getattr(self, concat), topology.nodes))

    @classmethod
    def sources(cls, node: int) -> Iterable[int]:
        """Returns the states that a node may read, ascending, numbered like inputs: by default all before it."""
        return range(node)

    @classmethod
    def kept(cls, node: int) -> int:
        """Returns how many edges a node keeps."""
        return cls.edges_per_node

    @classmethod
    def output_nodes(cls, num_nodes: int, concat: int = 0) -> tuple[int, ...]:
        """Returns the nodes that make the output of a cell, numbered like inputs: the last `concat`, or all for 0."""
        return tuple(cls.topology(num_nodes).nodes[-(concat or num_nodes) :])

    @classmethod
    def topology(cls, num_nodes: int) -> Topology:
        """Returns the edges of a cell with a number of nodes.

        Raises:
            UserError: A cell cannot have this number of nodes.
        """
        most = MAX_PAIRS // cls.edges_per_node
        if not is_integer(num_nodes) or not 1 <= num_nodes <= most:
            raise UserError(f"num_nodes: expected an integer in 1..{most}. Received: {show(num_nodes)}")
        return cls._topology(int(num_nodes))

    @classmethod
    @functools.cache
    def _topology(cls, num_nodes):
        first = len(cls.inputs)
        nodes = range(first, first + num_nodes)
        labels = (*cls.inputs, *(str(cls.first_label + index) for index in range(num_nodes)))
        sources = tuple(tuple(cls.sources(node)) for node in nodes)
        return Topology(first, sources, tuple(cls.kept(node) for node in nodes), labels, cls.none_allowed)

    def topology_of(self, cell: str) -> Topology:
        """Returns the edges among which the pairs of a cell were chosen."""
        return self.topology(num_nodes(len(getattr(self, cell)), type(self)))

    @property
    def num_nodes(self) -> int:
        """Number of computing nodes (of the first cell, if they differ)."""
        return self.topology_of(next(iter(self.cells))).num_nodes

    @property
    def operations(self) -> list[str]:
        """The distinct names of the operations, sorted."""
        return sorted({operation for pairs in self.cells for operation, _ in getattr(self, pairs)})

    def check_operations(self, known: Iterable[str]) -> None:
        """Checks that every operation can be built.

        Args:
            known: The names that can be built.

        Raises:
            UserError: An operation is unknown; the message names it, the known ones and the closest of them.
        """
        known = list(known)
        for pairs in self.cells:
            for index, (operation, _) in enumerate(getattr(self, pairs)):
                if operation not in known:
                    raise UserError(f"{pairs}[{index}]: unknown operation {operation!r}{choices(operation, known)}")

    def to_json(self) -> dict[str, Any]:
        """The genotype as a dictionary of lists, strings and integers; `from_json` reads it back."""
        fields: dict[str, Any] = {}
        for pairs, concat in self.cells.items():
            fields[pairs] = [list(pair) for pair in getattr(self, pairs)]
            fields[concat] = list(getattr(self, concat))
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Reads what `to_json` writes.

        Args:
            fields: `{"normal": [["sep_conv_3x3", 1], ...], "normal_concat": [2, 3, 4, 5], ...}`.

        Raises:
            UserError: A field is missing, unknown or wrong; the message names it.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(fields, dict):
            raise UserError(
                f"a genotype must be an object with the fields {', '.join(names)}. Received: {show(fields)}"
            )
        for name in fields:
            if name not in names:
                raise UserError(f"unknown field {show(name)} in a {cls.kind} genotype{choices(str(name), names)}")
        for name in names:
            if name not in fields:
                raise UserError(
                    f"the field {name!r} is missing in a {cls.kind} genotype; it has the fields {', '.join(names)}. "
                    f"Received: {show(list(fields))}"
                )
        return cls(**fields)

    def to_text(self) -> str:
        """The text form of papers and of the original's logs, on one line; `parse` reads it back."""
        parts = []
        for pairs, concat in self.cells.items():
            nodes = getattr(self, concat)
            run = range(nodes[0], nodes[-1] + 1)
            parts.append(
                f"{pairs}={list(getattr(self, pairs))!r}, {concat}={run if nodes == tuple(run) else list(nodes)!r}"
            )
        return f"Genotype({', '.join(parts)})"


@dataclasses.dataclass(frozen=True)
class ConvGenotype(Genotype):
    """A normal and a reduction cell of an image network.

    Every node adds two edges. Inputs 0 and 1 are the outputs of the two cells before; node `i` is input `2 + i`.

    Attributes:
        normal: Pairs `(operation, input)` of the normal cell, two per node, in the order of the nodes; a list of two
            pairs for each node is also accepted.
        normal_concat: The nodes whose outputs are concatenated to the cell's output, numbered like inputs.
        reduce: The same as `normal`, for the reduction cell.
        reduce_concat: The same as `normal_concat`, for the reduction cell.

    Raises:
        UserError: A field is wrong; says which, where and how to fix it.

    Example:
        >>> import darts_tf
        >>> pairs = [("sep_conv_3x3", 0), ("skip_connect", 1)]
        >>> darts_tf.genotype.ConvGenotype(pairs, [2], pairs, [2]).operations
        ['sep_conv_3x3', 'skip_connect']
    """

    normal: tuple
    normal_concat: tuple
    reduce: tuple
    reduce_concat: tuple

    kind = "conv"
    cells = {"normal": "normal_concat", "reduce": "reduce_concat"}
    names = {"normal": "normal", "reduce": "reduction"}
    primitives, usual_nodes = CONV_PRIMITIVES, 4
    inputs, output = ("c_{k-2}", "c_{k-1}"), "c_{k}"
    edges_per_node = 2


@dataclasses.dataclass(frozen=True)
class RecurrentGenotype(Genotype):
    """A recurrent cell.

    Every node has one edge. Input 0 is the start state made of the word and the hidden state; node `i` is
    input `1 + i`.

    Attributes:
        recurrent: Pairs `(activation, input)`, one per node, in the order of the nodes.
        concat: The nodes whose outputs are averaged to the cell's output, numbered like inputs.

    Raises:
        UserError: A field is wrong; says which, where and how to fix it.

    Example:
        >>> import darts_tf
        >>> darts_tf.genotype.RecurrentGenotype([("relu", 0), ("tanh", 1)], [1, 2]).to_text()
        "Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 3))"
    """

    recurrent: tuple
    concat: tuple

    kind = "recurrent"
    cells, names = {"recurrent": "concat"}, {"recurrent": "recurrent"}
    primitives, usual_nodes = RECURRENT_PRIMITIVES, 8
    inputs, first_label = ("0",), 1  # the start state, made of the word and the hidden state
    outside, output = ("x_{t}", "h_{t-1}"), "h_{t}"
