"""Search spaces whose edges have their own candidate operations: named ones, and those of a JSON text or file.

Reference: Zela et al., Understanding and Robustifying DARTS, arXiv:1909.09656; `src/spaces.py` of automl/RobustDARTS.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from darts_tf.genotypes.text import show
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, user_path

ALL = "all"
MAX_BYTES = 1_000_000  # limit of a file

_SKIP, _MAX, _AVG = "skip_connect", "max_pool_3x3", "avg_pool_3x3"
_SEP, _DIL3, _DIL5 = "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"
_LETTERS = {"s": _SKIP, "m": _MAX, "a": _AVG, "3": _SEP, "d": _DIL3, "D": _DIL5}


def _edges(text):
    return tuple(tuple(_LETTERS[letter] for letter in edge) for edge in text.split())


S1 = {
    "normal": _edges("sd sD sD s3 sd ms s3 s3 sd s3 ms sd dD dD"),
    "reduce": _edges("ma md ma ma sD ma m3 sd sD ma ma sD sD sD"),
}
EVERYWHERE = {"s2": (_SKIP, _SEP), "s3": ("none", _SKIP, _SEP), "s4": ("noise", _SEP)}
NAMED = ("s1", *EVERYWHERE)


def read(text: str, genotype: Any, num_nodes: int) -> dict[str, list[list[str]]] | None:
    """Reads which operations each edge may have.

    Args:
        text: `all`; one of `NAMED`, for image cells; JSON, `{cell: [[names] for each edge]}`, the edges in the order of
            `Topology.edges`; or the path of a file that holds this JSON.
        genotype: The class of the genotypes, which defines the cells.
        num_nodes: Nodes of each cell.

    Returns:
        The names by cell and edge, in the order given; None for `all`.

    Raises:
        UserError: It is none of these, or does not fit the cells; one line.
    """
    if text == ALL:
        return None
    edges = genotype.topology(num_nodes).num_edges
    if text in EVERYWHERE:
        return {cell: [list(EVERYWHERE[text]) for _ in range(edges)] for cell in _of_images(text, genotype)}
    if text == "s1":
        _of_images(text, genotype)
        if edges != len(S1["normal"]):
            raise UserError(f"candidates=s1 is for cells with 4 nodes. Received: num_nodes={num_nodes}.")
        return {cell: [list(each) for each in S1[cell]] for cell in genotype.cells}
    found = _json(text)
    names = ", ".join(genotype.cells)
    if not isinstance(found, dict) or set(found) != set(genotype.cells):
        raise UserError(
            f"candidates must be all, {', '.join(NAMED)}, or JSON, in a file or inline, with the candidates of each "
            f"edge of the cells {names}. Received: {show(found)}."
        )
    none = genotype.topology(num_nodes).none
    return {cell: _checked(cell, found[cell], edges, none) for cell in genotype.cells}


def _of_images(text, genotype):
    if set(genotype.cells) != set(S1):
        raise UserError(
            f"candidates={text} is a search space of image cells, space=conv; for other cells expected all, or JSON. "
            f"Received: candidates={text} with space={genotype.kind}."
        )
    return genotype.cells


def _json(text):
    try:
        if text.lstrip()[:1] in ("{", "["):
            return parse_json(text)
        path = user_path(text, "candidates")
        if not path.is_file():
            raise UserError(
                f"candidates must be all, {', '.join(NAMED)}, JSON, or the path of a file with JSON; there is no such "
                f"file. Received: candidates={show(text)}."
            )
        if os.path.getsize(path) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        return parse_json(path.read_bytes())
    except UserError:
        raise
    except (OSError, ValueError) as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"candidates: the JSON cannot be read, {what}. Received: candidates={show(text)}.") from None


def _checked(cell, edges, count, none):
    if not isinstance(edges, list) or len(edges) != count:
        raise UserError(
            f"candidates: cell {cell} has {count} edges; expected a list of names for each. "
            f"Received: {len(edges) if isinstance(edges, list) else show(edges)}."
        )
    for number, names in enumerate(edges):
        where = f"candidates: edge {number} of cell {cell}"
        if not isinstance(names, list) or not names:
            raise UserError(f"{where} needs a list of at least one operation. Received: {show(names)}.")
        for name in names:
            if not isinstance(name, str) or not name.isidentifier():
                raise UserError(f"{where} needs names of operations. Received: {show(name)}.")
        if len(set(names)) < len(names):
            raise UserError(f"{where} names an operation twice. Received: {show(names)}.")
        if names == ["none"] and not none:
            raise UserError(f"{where} needs an operation other than none, which no cell may keep. Received: ['none'].")
    return edges


def columns(found: Mapping[str, Sequence[Sequence[str]]], primitives: Iterable[str]) -> tuple[str, ...]:
    """Returns the primitives that some edge may have: first those that `primitives` lacks, then in its order.

    There are at least two, as in every search; the second may belong to no edge.
    """
    used = dict.fromkeys(name for edges in found.values() for names in edges for name in names)
    primitives = tuple(primitives)
    kept = [*(name for name in used if name not in primitives), *(name for name in primitives if name in used)]
    return (*kept, *[name for name in primitives if name not in used][: max(0, 2 - len(kept))])


def masks(found: Mapping[str, Sequence[Sequence[str]]], primitives: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns for each cell `(num_edges, num_primitives)`, whether an edge may have an operation."""
    return {
        cell: np.array([[name in names for name in primitives] for names in edges]) for cell, edges in found.items()
    }
