"""Which genotype to try next: samples of a prior, updated by the scores of earlier trials."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from darts_tf.genotypes import Genotype
from darts_tf.genotypes.canonical import canonical
from darts_tf.genotypes.selection import log_softmax
from darts_tf.tuner.prior import Prior
from darts_tf.tuner.space import Space

ATTEMPTS = 200  # samples between two increases of the temperature, once everything probable has been tried
FLAT = 0.01  # a spread of logits that counts as none

Tables = dict[str, np.ndarray]


def refined(
    prior: Prior, temperature: float, scored: Iterable[tuple[Genotype, float]], rate: float
) -> tuple[Tables, Tables]:
    """Returns the logits of the next sample.

    Each choice of a tried genotype gains `rate` times the genotype's score, standardised over all tried genotypes: one
    ascent step on the expected score for every trial, as in REINFORCE with a baseline.

    Args:
        prior: The prior.
        temperature: Divisor of its logits; above 1 is closer to uniform.
        scored: Finished genotypes with their scores, higher is better.
        rate: Logits per standard deviation; 0 for samples of the prior alone.

    Returns:
        `(operations, edges)`: for each cell log probabilities of the operations that can be chosen, `(edges,
        operations)`, and logits of edges, `(edges,)`.
    """
    space, scored = prior.space, list(scored)
    columns = [space.primitives.index(name) for name in space.operations]
    gains = {cell: np.zeros((space.shape[0], len(columns))) for cell in space.cells}
    kept = {cell: np.zeros(space.shape[0]) for cell in space.cells}
    for (genotype, _), score in zip(scored, _standardised([score for _, score in scored]), strict=True):
        for cell in space.cells:
            for row, operation in space.edges(genotype, cell):
                gains[cell][row, space.operations.index(operation)] += rate * score
                kept[cell][row] += rate * score
    operations, edges = {}, {}
    for cell in space.cells:
        # Even if `none` cannot be chosen, it takes part in the softmax, and thus in an edge's strength.
        own = log_softmax(prior.alphas[cell] / temperature)[:, columns]
        operations[cell] = log_softmax(own + gains[cell])
        edges[cell] = own.max(1) + prior.edges[cell] / temperature + kept[cell]
    return operations, edges


def _standardised(scores):
    scores = np.asarray(scores, np.float64)
    if len(scores) < 2 or not scores.std() > 0:
        return np.zeros(len(scores))
    return (scores - scores.mean()) / scores.std()


def sample(space: Space, operations: Tables, edges: Tables, random: np.random.Generator) -> Genotype:
    """Draws a genotype: for each node its inputs by Gumbel's top k, without replacement; then an operation for each."""
    fields: dict[str, Any] = {}
    topology = space.topology
    for (cell, concat), outputs in zip(space.genotype.cells.items(), space.concat, strict=True):
        pairs = []
        for node, sources, kept in zip(topology.nodes, topology.sources, topology.kept, strict=True):
            rows = topology.rows(node)
            noisy = edges[cell][rows] + random.gumbel(size=len(rows))
            for index in sorted(np.argsort(-noisy)[:kept]):
                logits = operations[cell][rows[index]]
                chosen = space.operations[int(np.argmax(logits + random.gumbel(size=len(logits))))]
                pairs.append((chosen, sources[index]))
        fields |= {cell: pairs, concat: outputs}
    return space.genotype(**fields)


def propose(
    prior: Prior,
    temperature: float,
    tried: Iterable[Genotype],
    scored: Iterable[tuple[Genotype, float]],
    rate: float,
    random: np.random.Generator,
) -> Genotype | None:
    """Returns the next genotype that is not isomorphic to a tried one: first the most probable, then samples.

    Args:
        prior: The prior.
        temperature: Temperature of the samples.
        tried: All genotypes that were started, with any outcome.
        scored: See `refined`.
        rate: See `refined`.
        random: A `numpy.random.Generator`; the only source of randomness here.

    Returns:
        A genotype; None if no new one could be found, as in an exhausted small space.
    """
    forms = {canonical(genotype) for genotype in tried}
    if not forms and prior.first is not None:
        return prior.first
    operations, edges = refined(prior, temperature, scored, rate)
    while True:
        for _ in range(ATTEMPTS):
            found = sample(prior.space, operations, edges, random)
            if canonical(found) not in forms:
                return found
        if max(np.ptp(table) for table in (*operations.values(), *edges.values())) < FLAT:
            return None
        operations = {cell: log_softmax(table / 2) for cell, table in operations.items()}
        edges = {cell: table / 2 for cell, table in edges.items()}
