"""The checks of a genotype's fields; `cells` applies them at construction.

The argument `genotype` is a class here, a subclass of `cells.Genotype`.
"""

import difflib
import itertools
import numbers
import operator
import re
from collections.abc import Collection
from typing import Any

from darts_tf.genotypes.text import show
from darts_tf.genotypes.topology import Topology
from darts_tf.system.errors import UserError

MAX_PAIRS = 100  # within MAX_CHARS even with the longest names, so that what is saved can be read
_OPERATION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}")  # valid in a layer's name, a file name and a drawing


def choices(word: str, known: Collection[str]) -> str:
    """The end of a message about a wrong word: the closest known one, all of them, and the wrong one."""
    lowered = {str(name).lower(): name for name in known}
    closest = difflib.get_close_matches(word.lower(), lowered, n=1)
    hint = f"; did you mean {lowered[closest[0]]!r}?" if closest else "."
    listed = f" Known: {', '.join(map(str, known))}." if known else ""
    return f"{hint}{listed} Received: {show(word)}"


def check_operation(where: str, operation: object) -> str:
    """Returns the operation's name; raises a UserError that begins with `where` if it cannot be one."""
    if not isinstance(operation, str) or not _OPERATION.fullmatch(operation):
        raise UserError(
            f"{where}: an operation's name must consist of 1 to 64 letters, digits, '_', '.' or '-'. Received: "
            f"{show(operation)}"
        )
    return str(operation)


def is_integer(value: object) -> bool:
    """Whether `value` is an integer, including NumPy's but not `bool`."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def num_nodes(pairs: int, genotype: Any) -> int:
    """Returns the number of nodes that keep this many pairs, rounded down."""
    first = node = len(genotype.inputs)
    while (pairs := pairs - genotype.kept(node)) >= 0:
        node += 1
    return node - first


def _flat(field, pairs, genotype):
    """The pairs of all nodes in one list, also if given as one list for each node."""

    def is_node(value):
        return isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], list | tuple)

    if not isinstance(pairs, list | tuple) or not pairs or not all(map(is_node, pairs)):
        return pairs
    for node, own in enumerate(pairs):
        if len(own) != (kept := genotype.kept(len(genotype.inputs) + node)):
            raise UserError(f"{field}: expected {kept} pairs per node. Received: {len(own)} for node {node}")
    return [pair for own in pairs for pair in own]


def check_pairs(field: str, pairs: Any, genotype: Any) -> tuple[tuple, Topology]:
    """Returns the checked pairs of a cell and its topology; raises a UserError that begins with the field's name."""
    pairs = _flat(field, pairs, genotype)
    if not isinstance(pairs, list | tuple) or not 0 < len(pairs) <= MAX_PAIRS:
        raise UserError(
            f"{field}: expected a list of 1 to {MAX_PAIRS} (operation, input) pairs. Received: {show(pairs)}"
        )
    nodes = num_nodes(len(pairs), genotype)
    topology = genotype.topology(max(nodes, 1))
    if len(pairs) != topology.num_pairs:
        raise UserError(
            f"{field}: expected {genotype.edges_per_node} pairs per node. Received: {len(pairs)} pairs; add or remove "
            "some"
        )
    checked = []
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UserError(f"{field}[{index}]: expected a pair (operation, input). Received: {show(pair)}")
        operation = check_operation(f"{field}[{index}]", pair[0])
        node = topology.edge_of(index) - topology.num_inputs
        sources = topology.sources[node]
        if not is_integer(pair[1]) or pair[1] not in sources:
            run = f"{sources[0]}..{sources[-1]}" if len(sources) > 1 else f"{sources[0]}"
            raise UserError(
                f"{field}[{index}]: node {node} must read one of the inputs {run}, an integer; later nodes do not "
                f"exist yet. Received: input={show(pair[1])} of {show(operation)}"
            )
        checked.append((operation, operator.index(pair[1])))
    return tuple(checked), topology


def check_concat(field: str, concat: Any, nodes: range) -> tuple[int, ...]:
    """Returns the checked nodes that make a cell's output; raises a UserError that begins with the field's name."""
    expected = f"{field}: expected different integers from {nodes[0]}..{nodes[-1]}, the nodes of this cell"
    if not isinstance(concat, list | tuple | range) or not concat:
        raise UserError(f"{expected}, at least one. Received: {show(concat)}")
    checked = []
    for node in itertools.islice(
        concat, len(nodes) + 1
    ):  # one more than can be valid; the rest of a huge range does not matter
        if not is_integer(node) or node not in nodes or node in checked:
            raise UserError(f"{expected}. Received: {show(node)} in {show(concat)}")
        checked.append(operator.index(node))
    return tuple(checked)
