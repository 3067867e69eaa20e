"""From the alphas that a search has trained to the genotype it has found."""

from collections.abc import Iterable

import numpy as np

from darts_tf.genotypes.cells import MAX_PAIRS, ConvGenotype, RecurrentGenotype, check_operation, is_integer
from darts_tf.genotypes.text import show
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


def derive_conv(
    alphas_normal,
    alphas_reduce,
    primitives: Iterable[str] = CONV_PRIMITIVES,
    num_nodes: int = 4,
    concat: Iterable[int] | None = None,
    dtype: str | None = None,
) -> ConvGenotype:
    """The image cells that a search has found: every node keeps its two strongest edges, strongest first.

    An edge is as strong as its largest softmax weight except that of `none`, which takes part in the softmax but is
    never chosen. Ties go to the lower index, of edges and of operations.

    Args:
        alphas_normal: Logits, `(num_edges, num_primitives)`; rows are the edges into node 0 (from inputs 0, 1), node 1
            (0, 1, 2) and so on. NumPy array or anything that becomes one.
        alphas_reduce: The same for the reduction cell.
        primitives: Names of the columns.
        num_nodes: Number of nodes.
        concat: Nodes that make the output of both cells; None for all of them.
        dtype: Of the softmax, `"float32"` or `"float64"`. It matters where weights underflow to equal zeros; the
            original's is float32. None: float64 for alphas of that type, else float32.

    Returns:
        A `ConvGenotype`.

    Raises:
        UserError: Alphas of a wrong shape or not finite, or no operation to choose.

    Reference: Liu et al., DARTS, arXiv:1806.09055, section 2.4; quark0/darts, cnn/model_search.py.
    """
    cells = [
        _derive(name, alphas, primitives, num_nodes, ConvGenotype, dtype)
        for name, alphas in (("alphas_normal", alphas_normal), ("alphas_reduce", alphas_reduce))
    ]
    concat = range(2, 2 + num_nodes) if concat is None else concat
    return ConvGenotype(cells[0], concat, cells[1], concat)


def derive_recurrent(
    alphas,
    primitives: Iterable[str] = RECURRENT_PRIMITIVES,
    num_nodes: int = 8,
    concat: Iterable[int] | None = None,
    dtype: str | None = None,
) -> RecurrentGenotype:
    """The recurrent cell that a search has found: every node keeps its strongest edge. Otherwise as `derive_conv`.

    Reference: Liu et al., DARTS, arXiv:1806.09055, section 2.4; quark0/darts, rnn/model_search.py.
    """
    pairs = _derive("alphas", alphas, primitives, num_nodes, RecurrentGenotype, dtype)
    return RecurrentGenotype(pairs, range(1, 1 + num_nodes) if concat is None else concat)


def _derive(name, alphas, primitives, num_nodes, cls, dtype):
    primitives = [check_operation("primitives", operation) for operation in primitives]
    choices = [index for index, operation in enumerate(primitives) if operation != "none"]
    if not choices or len(set(primitives)) < len(primitives):
        raise UserError(f"primitives: expected different names, one at least not 'none'. Received: {show(primitives)}")
    if not is_integer(num_nodes) or not 1 <= num_nodes <= MAX_PAIRS // cls.edges_per_node:
        raise UserError(
            f"num_nodes: expected an integer in 1..{MAX_PAIRS // cls.edges_per_node}. Received: {show(num_nodes)}"
        )
    weights = _softmax(name, alphas, (sum(cls.num_inputs + i for i in range(num_nodes)), len(primitives)), dtype)
    pairs, first = [], 0
    for node in range(num_nodes):
        rows = weights[first : first + cls.num_inputs + node, choices]
        first += len(rows)
        for edge in np.argsort(-rows.max(axis=1), kind="stable")[: cls.edges_per_node]:
            pairs.append((primitives[choices[int(rows[edge].argmax())]], int(edge)))
    return tuple(pairs)


def _softmax(name, alphas, shape, dtype):
    try:
        alphas = np.asarray(alphas)
        if dtype is None:
            dtype = "float64" if alphas.dtype == np.float64 else "float32"
        with np.errstate(over="ignore"):
            logits = alphas.astype(
                {"float32": np.float32, "float64": np.float64}[np.dtype(dtype).name], casting="same_kind"
            )
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"{name}: expected real numbers and dtype float32 or float64. Received: {show(error)}"
        ) from None
    if logits.shape != shape:
        raise UserError(f"{name}: expected the shape {shape} (edges, primitives). Received: {logits.shape}")
    if not np.isfinite(logits).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(logits))[0])
        raise UserError(f"{name}: not finite at {where}; the search has diverged. Received: {logits[where]}")
    with np.errstate(over="ignore", under="ignore"):  # weights that underflow to zero are part of the rule
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
