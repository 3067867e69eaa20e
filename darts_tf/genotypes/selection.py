"""Derives a search's genotype from its trained alphas."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from darts_tf.genotypes.cells import Genotype
from darts_tf.genotypes.checks import check_operation
from darts_tf.genotypes.text import show
from darts_tf.genotypes.topology import Topology
from darts_tf.system.errors import UserError

Cells = TypeVar("Cells", bound=Genotype)


def softmax(alphas: np.ndarray, dtype: npt.DTypeLike = np.float64) -> np.ndarray:
    """Returns the softmax of logits over their last axis: the mixing weights of eq. 2 as arrays, in a given dtype.

    Weights that underflow become zero.
    """
    with np.errstate(over="ignore", under="ignore"):
        logits = np.asarray(alphas).astype(dtype)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)


def strengths(alphas: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the softmax of each array, in its own dtype: the strength of each operation of each edge in DARTS."""
    return {name: softmax(logits, logits.dtype) for name, logits in alphas.items()}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the logarithm of the softmax over the last axis, without underflow."""
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def select(
    strength: np.ndarray, topology: Topology, primitives: Sequence[str], cell: str = ""
) -> list[tuple[str, int]]:
    """The pairs of a cell: every node keeps its strongest edges, strongest first, each with its strongest operation.

    An edge is as strong as its strongest operation except `none`, which is selected only if `topology.none` allows it.
    Ties go to the lower index, for edges and operations alike.

    Args:
        strength: `(num_edges, num_primitives)`, including `none`, such as the softmax of the alphas.
        topology: The edges, in the order of the rows.
        primitives: Names of the columns.
        cell: The genotype's name for the kind of cell; some methods choose differently for some kinds.

    Returns:
        `(operation, source)` for each edge that is kept, node after node.

    Reference: Liu et al., DARTS, arXiv:1806.09055, section 2.4; quark0/darts, cnn/model_search.py.
    """
    strength = np.asarray(strength)
    choices = topology.choices(primitives)
    pairs = []
    for node, sources, kept in zip(topology.nodes, topology.sources, topology.kept, strict=True):
        rows = strength[topology.rows(node)][:, choices]
        for edge in np.argsort(-rows.max(axis=1), kind="stable")[:kept]:
            pairs.append((primitives[choices[int(rows[edge].argmax())]], sources[int(edge)]))
    return pairs


def derive(
    genotype: type[Cells],
    alphas: Mapping[str, np.ndarray],
    primitives: Iterable[str] | None = None,
    num_nodes: int | None = None,
    concat: Iterable[int] | None = None,
    strength: Callable[..., dict[str, np.ndarray]] = strengths,
    select: Callable[..., list[tuple[str, int]]] = select,
) -> Cells:
    """Derives the genotype of a search.

    Strengths are computed in float64 for float64 alphas, otherwise in float32, as in the original; this matters if
    weights underflow to equal zeros.

    Args:
        genotype: Its class, which defines the cells.
        alphas: Logits by cell, each `(num_edges, num_primitives)`, arrays or array-like; and whatever else `strength`
            takes.
        primitives: Names of the columns; the class's own for None.
        num_nodes: Nodes of each cell; the class's own for None.
        concat: Nodes that make the output of every cell; the class's own for None.
        strength: `alphas -> strengths` of the operations, by cell; see `strengths`.
        select: `(strength, topology, primitives, cell) -> pairs`, see `select`.

    Raises:
        UserError: Alphas have a wrong shape or are not finite, or there is no operation to choose.

    Example:
        >>> import darts_tf, numpy
        >>> alphas = {"recurrent": numpy.eye(3, 5)}
        >>> darts_tf.genotype.derive(darts_tf.genotype.RecurrentGenotype, alphas, num_nodes=2).recurrent
        (('tanh', 0), ('tanh', 0))
    """
    primitives = [check_operation("primitives", name) for name in (primitives or genotype.primitives)]
    if not set(primitives) - {"none"} or len(set(primitives)) < len(primitives):
        raise UserError(
            f"primitives: expected different names, at least one other than 'none'. Received: {show(primitives)}"
        )
    topology = genotype.topology(genotype.usual_nodes if num_nodes is None else num_nodes)
    concat = tuple(genotype.output_nodes(topology.num_nodes) if concat is None else concat)
    shape = topology.num_edges, len(primitives)
    names = {cell: "alphas" if len(genotype.cells) == 1 else f"alphas_{cell}" for cell in genotype.cells}
    found = strength(dict(alphas) | {cell: _logits(name, alphas[cell], shape) for cell, name in names.items()})
    fields: dict[str, Any] = {cell: select(found[cell], topology, primitives, cell) for cell in names}
    return genotype(**fields, **dict.fromkeys(genotype.cells.values(), concat))


def _logits(name, alphas, shape):
    try:
        alphas = np.asarray(alphas)
        with np.errstate(over="ignore"):
            logits = alphas.astype(np.float64 if alphas.dtype == np.float64 else np.float32, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: expected real numbers. Received: {show(error)}") from None
    if logits.shape != shape:
        raise UserError(f"{name}: expected the shape {shape} (edges, primitives). Received: {logits.shape}")
    if not np.isfinite(logits).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(logits))[0])
        raise UserError(f"{name}: not finite at {where}; the search has diverged. Received: {logits[where]}")
    return logits
