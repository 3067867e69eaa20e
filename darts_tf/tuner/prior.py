"""The source of proposals: a search's result, one genotype, saved alphas, or nothing."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from darts_tf import genotypes
from darts_tf.genotypes import KINDS, Genotype, selection
from darts_tf.system import npz, streams
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json, user_path
from darts_tf.tuner.searched import found_alphas
from darts_tf.tuner.space import Space, space_of

# A genotype as a prior: its operation gets 0.95 of the probability of its edge, and its edges are preferred by an
# additional factor of e^2. A sample of the paper's space then differs from the genotype in two or three of its 32
# choices.
GENOTYPE_OPERATION, GENOTYPE_EDGE = 5.0, 2.0


@dataclasses.dataclass(frozen=True)
class Prior:
    """Logits of a space.

    Attributes:
        space: The space.
        alphas: For each cell `(edges, primitives)` logits; the primitives include `none` if the search had it.
        edges: For each cell `(edges,)` logits that are added to those that the alphas give an edge.
        first: The genotype to propose first; None if no single one is the most probable.
    """

    space: Space
    alphas: dict[str, np.ndarray]
    edges: dict[str, np.ndarray]
    first: Genotype | None

    def digest(self) -> str:
        """A hash of everything, which distinguishes two priors."""
        digest = hashlib.sha256(repr((self.space, self.first)).encode())
        for table in (*self.alphas.values(), *self.edges.values()):
            digest.update(np.ascontiguousarray(table, np.float64).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | os.PathLike) -> None:
        """Writes the prior, so that a tuning is resumed with the same one whatever happens to the search."""
        first = self.first and self.first.to_json()
        about = json.dumps({**dataclasses.asdict(self.space), "first": first})
        edges = {f"edges/{cell}": table for cell, table in self.edges.items()}
        npz.write(user_path(path, "path"), {"about": about, **self.alphas, **edges})


def kind_of(source: Any) -> str | None:
    """The kind of cells of a prior; None if a file would have to be read to determine it."""
    if isinstance(source, Prior):
        return source.space.kind
    if isinstance(source, Genotype):
        return source.kind
    if isinstance(source, Mapping):  # the kind with the most cells of these names, and the fewest others
        cells = {kind: set(each.cells) for kind, each in KINDS.items()}
        return max(cells, key=lambda kind: (len(cells[kind] & set(source)), -len(cells[kind] - set(source))))
    return None


def load_prior(
    source: Any = None, space: Space | None = None, kind: str | None = None, say: Callable[[str], None] = streams.out
) -> Prior:
    """Loads a prior.

    Args:
        source: None or `"uniform"`; the path of a search's work directory, whose alphas are read (see
            `searched.found_alphas`), or if missing its genotype; a genotype, its name, file or text, which stands for
            itself and its neighbours; the path of an `.npz` file with alphas; alphas by cell,
            `{"normal": (14, 8), "reduce": (14, 8)}` or `{"recurrent": (36, 5)}`; or a `Prior`.
        space: The space that it must fit; None for that of the source, which for `uniform` is the paper's.
        kind: A key of `genotypes.KINDS`, `"conv"` or `"recurrent"`, to accept only that kind of cell; None for any,
            with image cells if the source does not determine the kind.
        say: Called with a line if the prior is not the final state of a search.

    Raises:
        UserError: It does not exist, is damaged, or does not fit the space; one line.
    """
    if kind not in (None, *KINDS):
        raise UserError(f"kind must be {' or '.join(KINDS)}. Received: kind={kind!r}.")
    if isinstance(source, Prior):
        found = source
    elif source is None or (isinstance(source, str) and source == "uniform"):
        found = _uniform(space or Space.of(kind or "conv"))
    elif isinstance(source, Genotype):
        found = _of_genotype(source, space)
    elif isinstance(source, Mapping):
        found = _of_alphas(source, space, "the prior")
    elif isinstance(source, str | os.PathLike):
        found = _of_path(source, space, kind, say)
    else:
        raise UserError(
            "A prior is a work directory, a genotype, alphas by cell, or None for uniform. "
            f"Received: {type(source).__name__}."
        )
    if kind not in (None, found.space.kind):
        raise UserError(
            f"The prior has cells of another kind. Expected {kind} cells, which the settings train; choose another "
            f"preset, or another prior. Received: {found.space.kind} ones from {source}."
        )
    if space is not None and found.space != space:
        raise UserError(f"The prior does not fit the space. Expected {space}. Received: {found.space}.")
    return found


def _uniform(space):
    alphas = {cell: np.zeros(space.shape) for cell in space.cells}
    return Prior(space, alphas, _no_edges(space), None)


def _no_edges(space):
    return {cell: np.zeros(space.shape[0]) for cell in space.cells}


def _of_genotype(genotype, space):
    if space is None:
        usual = genotype.primitives
        space = space_of(genotype, [*usual, *(name for name in genotype.operations if name not in usual)])
    space.check(genotype)
    alphas, edges = {cell: np.zeros(space.shape) for cell in space.cells}, _no_edges(space)
    for cell in space.cells:
        for row, operation in space.edges(genotype, cell):
            alphas[cell][row, space.primitives.index(operation)] = GENOTYPE_OPERATION
            edges[cell][row] = GENOTYPE_EDGE
    return Prior(space, alphas, edges, genotype)


def _of_alphas(alphas, space, where, strength=selection.strengths, select=selection.select):
    """Logits whose softmax gives each operation its share of an edge's strength, and each edge its strength."""
    space = space or Space.of(kind_of(alphas) or "conv")
    if set(alphas) != set(space.cells):
        raise UserError(
            f"{where} holds alphas of other cells. Expected {', '.join(space.cells)}. "
            f"Received: {some_of(alphas) or 'none'}."
        )
    try:
        sizes = space.primitives, space.num_nodes, space.concat[0]
        first = genotypes.derive(space.genotype, alphas, *sizes, strength=strength, select=select)
    except UserError as error:
        raise UserError(f"{where} does not fit the space of {space.num_nodes} nodes: {error}") from error
    alphas = {cell: np.asarray(alphas[cell], np.float64) for cell in space.cells}
    found = strength(alphas)
    if all(np.array_equal(found[cell], selection.softmax(alphas[cell])) for cell in space.cells):
        return Prior(space, alphas, _no_edges(space), first)
    # Strengths need not be fractions: those of sigmoids do not sum to one, and edges may have their own weights.
    found = {cell: np.maximum(found[cell], np.finfo(np.float32).tiny) for cell in space.cells}
    edges = {cell: np.log(found[cell].sum(1)) for cell in space.cells}
    return Prior(space, {cell: np.log(found[cell]) for cell in space.cells}, edges, first)


def _of_path(source, space, kind, say):
    path = user_path(source, "the prior")
    try:
        is_directory, is_archive = path.is_dir(), path.suffix == ".npz"
    except OSError:  # a genotype's text is too long for a path
        is_directory = is_archive = False
    if is_archive:
        return _of_archive(path, space)
    if is_directory and (found := found_alphas(path, say)):
        own, alphas, strength, select = found
        return _of_alphas(alphas, space or own, f"The search in {path}", strength, select)
    return _of_genotype(genotypes.load(source, kind), space)


def _of_archive(path, space):
    arrays = npz.read(path)
    if "about" not in arrays:
        return _of_alphas(arrays, space, str(path))
    try:
        about = parse_json(str(arrays["about"]))
        if not isinstance(about, dict):
            raise ValueError(f"'about' is a {type(about).__name__}, not an object")
        first = about.pop("first")
        own = Space.of(**about)
        alphas = {cell: _finite(arrays, cell, own.shape) for cell in own.cells}
        edges = {cell: _finite(arrays, f"edges/{cell}", own.shape[:1]) for cell in own.cells}
        return Prior(own, alphas, edges, first and genotypes.from_json(first))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}. Expected a prior written by darts-tune.") from error


def _finite(arrays, name, shape):
    found = arrays[name]
    if found.shape != tuple(shape) or found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise ValueError(f"{name!r} must be finite numbers of shape {tuple(shape)}, not {found.dtype} of {found.shape}")
    return found
