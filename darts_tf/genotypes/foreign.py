"""Converts genotypes in the forms of other projects to our fields.

Supported: the nested lists and scores of pt.darts and of AutoDL-Projects, and NNI's exports of its DARTS spaces.
"""

import re
from typing import Any

from darts_tf.genotypes.text import read, show
from darts_tf.system.errors import UserError

_CONV = ("normal", "normal_concat", "reduce", "reduce_concat")
_POSITIONS = {2: ("recurrent", "concat"), 4: _CONV, 6: (*_CONV, "connectN", "connects")}  # of a namedtuple in JSON
_WRAPPERS = ("genotype", "arch", "architecture", "arch_str", "best_arch", "cell")
_LABEL = re.compile(r"(normal|reduce)/(op|input)_(\d{1,4})_(\d{1,4})")  # NNI since 2.7
_EDGE = re.compile(r"(normal|reduce)_n(\d{1,4})_(?:p(\d{1,4})|switch)")  # earlier NNI
_NNI_OPERATIONS = {
    "maxpool": "max_pool_3x3",
    "avgpool": "avg_pool_3x3",
    "skipconnect": "skip_connect",
    "sepconv3x3": "sep_conv_3x3",
    "sepconv5x5": "sep_conv_5x5",
    "dilconv3x3": "dil_conv_3x3",
    "dilconv5x5": "dil_conv_5x5",
}
_DARTS_OPERATIONS = {*_NNI_OPERATIONS.values(), "none"}
_DARTS_NODES = 4


def plain(fields: Any) -> Any:
    """Returns the fields of a genotype in any known form.

    Args:
        fields: The result of reading JSON, or of `genotype_text.read`.

    Returns:
        Our fields, unchecked; an unknown form unchanged.

    Raises:
        UserError: The form is known, but contains something that ours cannot express; the message says what.
    """
    if isinstance(fields, list) and len(fields) in _POSITIONS and isinstance(fields[0], list):
        fields = dict(zip(_POSITIONS[len(fields)], fields, strict=True))
    if not isinstance(fields, dict):
        return fields
    for key in _WRAPPERS:
        if isinstance(inner := fields.get(key), dict | str) and not {"normal", "recurrent"} & fields.keys():
            return plain(read(inner) if isinstance(inner, str) else inner)
    names = [name for name in fields if isinstance(name, str)]
    if any(_LABEL.fullmatch(name) for name in names):
        return _of_labels(fields)
    if any(_EDGE.fullmatch(name) for name in names):
        return _of_edges(fields)
    for name in ("connectN", "connects"):
        if fields.get(name) is not None:
            raise UserError(
                f"{name}: the genotype connects cells across others, which is not supported here. Expected None, as "
                f"in the published ones of AutoDL-Projects. Received: {show(fields[name])}"
            )
    return {name: _plain_value(value) for name, value in fields.items() if name not in ("connectN", "connects")}


def _plain_value(value):
    """Converts a value: pairs lose their score, and ranges written as text become ranges."""
    if isinstance(value, str) and (bounds := re.fullmatch(r"range\((\d{1,3}), ?(\d{1,3})\)", value)):
        return list(range(*map(int, bounds.groups())))
    if not isinstance(value, list | tuple):
        return value
    if len(value) == 3 and isinstance(value[0], str) and isinstance(value[2], float):
        return [value[0], value[1]]
    return [_plain_value(item) if isinstance(item, list | tuple) else item for item in value]


def _of_labels(fields):
    """`{"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": [1], ...}`: two operations of each node, their inputs."""
    cells: dict[str, dict[int, dict[tuple[str, int], Any]]] = {}
    for name, value in fields.items():
        if isinstance(name, str) and (match := _LABEL.fullmatch(name)):
            cell, what, node, edge = match.groups()
            if what == "input" and isinstance(value, list) and len(value) == 1:
                value = value[0]
            cells.setdefault(cell, {}).setdefault(int(node), {})[what, int(edge)] = value
    found = {}
    for cell in ("normal", "reduce"):
        nodes, pairs = cells.get(cell, {}), []
        for node in _counted(cell, nodes):
            for edge in range(2):
                for what in ("op", "input"):
                    if (what, edge) not in nodes[node]:
                        raise _missing(f"{cell}/{what}_{node}_{edge}")
                pairs.append([nodes[node]["op", edge], nodes[node]["input", edge]])
            if len(nodes[node]) > 4:
                raise UserError(f"{cell}: expected 2 operations per node. Received: more, for node {node}")
        found[cell] = pairs
        found[f"{cell}_concat"] = fields.get(f"{cell}_concat") or _concat(cell, pairs)
    return found


def _concat(cell, pairs):
    """The concatenated nodes, which NNI's export does not contain: all in its DARTS space, but not in others."""
    nodes = range(2, 2 + len(pairs) // 2)
    darts = len(nodes) == _DARTS_NODES and all(op in _DARTS_OPERATIONS for op, _ in pairs if isinstance(op, str))
    if not darts and any(source in nodes for _, source in pairs if isinstance(source, int)):
        raise UserError(
            f"{cell}: NNI's export does not say which nodes are concatenated: all in its DARTS and PNAS spaces, in "
            f"others those that no node reads. Add the key {cell}_concat, such as {list(nodes)}. "
            f"Received: {len(nodes)} nodes"
        )
    return list(nodes)


def _of_edges(fields):
    """`{"normal_n2_p0": "sepconv3x3", ..., "normal_n2_switch": ["normal_n2_p0", "normal_n2_p1"], ...}`."""
    found: dict[str, list] = {}
    for cell in ("normal", "reduce"):
        matches = [_EDGE.fullmatch(name) for name in fields if isinstance(name, str)]
        pairs = []
        for node in _counted(cell, {int(match[2]) for match in matches if match and match[1] == cell}):
            pairs += [_edge(fields, f"{cell}_n{node}_p{source}", source) for source in _chosen(fields, cell, node)]
        found |= {cell: pairs, f"{cell}_concat": list(range(2, 2 + len(pairs) // 2))}
    return found


def _chosen(fields, cell, node):
    """The two inputs of a node: names of edges, or numbers of inputs."""
    name = f"{cell}_n{node}_switch"
    if name not in fields:
        raise _missing(name)
    chosen = fields[name]
    sources = []
    for item in chosen if isinstance(chosen, list) and len(chosen) == 2 else ():
        match = _EDGE.fullmatch(item) if isinstance(item, str) else None
        if match and match[3] and (match[1], int(match[2])) == (cell, node):
            sources.append(int(match[3]))
        elif type(item) is int:
            sources.append(item)
    if len(sources) != 2:
        raise UserError(
            f"{name}: expected the two edges that the node keeps, such as ['{cell}_n{node}_p0', '{cell}_n{node}_p1']. "
            f"Received: {show(chosen)}"
        )
    return sources


def _edge(fields, name, source):
    if name not in fields:
        raise _missing(name)
    operation = fields[name]
    if not isinstance(operation, str):
        raise UserError(
            f"{name}: NNI's export gives the operation as an index into candidates that it does not include. Expected "
            f"its name, one of {', '.join(_NNI_OPERATIONS)}. Received: {show(operation)}"
        )
    return [_NNI_OPERATIONS.get(operation, operation), source]


def _counted(cell, nodes):
    """The numbers of a cell's nodes, counted from 2."""
    if sorted(nodes) != list(range(2, 2 + len(nodes))) or not nodes:
        raise UserError(
            f"{cell}: NNI's export counts the nodes of a cell from 2, without a gap. "
            f"Received: {show(sorted(nodes)) if nodes else 'no node'}"
        )
    return sorted(nodes)


def _missing(name):
    return UserError(f"the key {name!r} is missing from NNI's export; expected both cells, with all their edges")
