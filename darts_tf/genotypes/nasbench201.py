"""The cells of NAS-Bench-201: how they are written, and their number in the benchmark.

A cell has one input, 0, and three nodes that sum their edges from all earlier states; the last node is its output. Each
of its six edges has one of five operations, including `none`: 15,625 cells.
"""

import dataclasses
import functools
import itertools
import operator
import random
import re
from typing import Any, Self

from darts_tf.genotypes.cells import Genotype
from darts_tf.genotypes.checks import choices, is_integer
from darts_tf.genotypes.text import show
from darts_tf.genotypes.topology import Topology
from darts_tf.system.errors import UserError

# The order is that of the columns of alpha, and is the original's (AutoDL-Projects, models/cell_operations.py).
NASBENCH201_PRIMITIVES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NUM_NODES = 3
NUM_EDGES = NUM_NODES * (NUM_NODES + 1) // 2
NUM_CELLS = len(NASBENCH201_PRIMITIVES) ** NUM_EDGES
_FORM = "expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with operations out of " + ", ".join(NASBENCH201_PRIMITIVES)


@dataclasses.dataclass(frozen=True)
class NasBench201Genotype(Genotype):
    """A cell of NAS-Bench-201; it keeps all edges.

    Attributes:
        nasbench201: Pairs `(operation, input)`, node after node, the inputs ascending; the benchmark's string and
            inputs in any order are also accepted.
        nasbench201_concat: The node that is the output: the last one.

    Raises:
        UserError: It is not a cell of the benchmark; one line that says why.

    Example:
        >>> import darts_tf
        >>> darts_tf.genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|").operations
        ['none', 'skip_connect']
    """

    nasbench201: Any  # a tuple after construction
    nasbench201_concat: tuple = (NUM_NODES,)

    kind = "nasbench201"
    cells, names = {"nasbench201": "nasbench201_concat"}, {"nasbench201": "nasbench201"}
    primitives, usual_nodes = NASBENCH201_PRIMITIVES, NUM_NODES
    inputs, first_label = ("0",), 1
    none_allowed = True

    def __post_init__(self):
        """Checks the fields; sorts the edges of each node."""
        if isinstance(self.nasbench201, str):
            object.__setattr__(self, "nasbench201", _pairs(self.nasbench201))
        super().__post_init__()
        self.check_operations(NASBENCH201_PRIMITIVES)
        pairs: list[tuple[str, int]] = []
        for node, own in self.topology(NUM_NODES).by_node(self.nasbench201):
            pairs += sorted(own, key=operator.itemgetter(1))
            if [source for _, source in pairs[-node:]] != list(range(node)):
                raise UserError(f"node {node} must read each of the inputs 0..{node - 1} once. Received: {show(own)}")
        object.__setattr__(self, "nasbench201", tuple(pairs))
        if self.nasbench201_concat != (NUM_NODES,):
            raise UserError(
                f"nasbench201_concat: expected [{NUM_NODES}], the last node, which is the output. "
                f"Received: {show(list(self.nasbench201_concat))}"
            )

    @classmethod
    def kept(cls, node: int) -> int:
        """Returns how many edges a node keeps: all."""
        return node

    @classmethod
    def output_nodes(cls, num_nodes: int, concat: int = 0) -> tuple[int, ...]:
        """Returns the last node. Raises UserError if `concat` asks for more."""
        if concat > 1:
            raise UserError(
                f"concat must be 0 or 1: the output of a NAS-Bench-201 cell is one node. Received: {concat}"
            )
        return super().output_nodes(num_nodes, 1)

    @classmethod
    def topology(cls, num_nodes: int) -> Topology:
        """Returns the edges of a cell. Raises UserError unless it has three nodes."""
        if num_nodes != NUM_NODES:
            raise UserError(
                f"num_nodes: a cell of NAS-Bench-201 has {NUM_NODES} nodes in addition to its input. "
                f"Received: {show(num_nodes)}"
            )
        return super().topology(num_nodes)

    @property
    def string(self) -> str:
        """The benchmark's string, such as `|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|`."""
        nodes = self.topology(NUM_NODES).by_node(self.nasbench201)
        return "+".join("|" + "".join(f"{name}~{source}|" for name, source in pairs) for _, pairs in nodes)

    @property
    def index(self) -> int:
        """The benchmark's number, 0 to 15,624."""
        return _indices()[tuple(NASBENCH201_PRIMITIVES.index(name) for name, _ in self.nasbench201)]

    @classmethod
    def of_index(cls, index: int) -> Self:
        """Returns the cell with a number.

        Raises:
            UserError: There is no such cell.
        """
        if not is_integer(index) or not 0 <= index < NUM_CELLS:
            raise UserError(
                f"expected the number of a NAS-Bench-201 cell, 0 to {NUM_CELLS - 1}. Received: {show(index)}"
            )
        sources = itertools.chain.from_iterable(map(range, range(1, NUM_NODES + 1)))
        return cls(
            [(NASBENCH201_PRIMITIVES[name], source) for name, source in zip(_order()[index], sources, strict=True)]
        )

    def to_json(self) -> dict[str, Any]:
        """The benchmark's string under the key `nasbench201`; `from_json` reads it back."""
        return {"nasbench201": self.string}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Reads what `to_json` writes; pairs are accepted in place of the string. Raises UserError."""
        usual = {"nasbench201_concat": (NUM_NODES,)}
        return super().from_json(usual | fields if isinstance(fields, dict) else fields)

    def to_text(self) -> str:
        """The benchmark's string."""
        return self.string


def _pairs(text):
    """Reads the benchmark's string."""
    nodes = [node.split("|") for node in text.strip().split("+")]
    if len(nodes) != NUM_NODES or any(len(node) < 3 or node[0] or node[-1] for node in nodes):
        raise UserError(f"the text is not a cell of NAS-Bench-201; {_FORM}. Received: {show(text)}")
    pairs = []
    for number, node in enumerate(nodes, 1):
        if len(node) - 2 != number:
            raise UserError(f"node {number} has {number} edges; {_FORM}. Received: {len(node) - 2} in {show(text)}")
        for edge in node[1:-1]:
            if not (match := re.fullmatch(r"(\w+)~(\d)", edge)):
                raise UserError(f"an edge must be written operation~input; {_FORM}. Received: {show(edge)}")
            if match[1] not in NASBENCH201_PRIMITIVES:
                raise UserError(f"unknown operation {match[1]!r}{choices(match[1], NASBENCH201_PRIMITIVES)}")
            pairs.append((match[1], int(match[2])))
    return pairs


@functools.cache
def _order():
    """The operations of all cells, as the benchmark numbers them: all products, shuffled.

    Source: `CellStructure.gen_all` and the shuffle with seed 88 in `exps/NAS-Bench-201/main.py` of AutoDL-Projects.
    """
    cells = list(itertools.product(range(len(NASBENCH201_PRIMITIVES)), repeat=NUM_EDGES))
    random.Random(88).shuffle(cells)
    return cells


@functools.cache
def _indices():
    return {cell: index for index, cell in enumerate(_order())}
