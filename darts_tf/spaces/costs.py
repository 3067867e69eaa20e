"""The cost of derived networks: each candidate operation at each of its places, and the part that every cell shares."""

import contextlib
import dataclasses
import functools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf import genotypes
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.genotypes import Genotype
from darts_tf.genotypes.topology import Topology
from darts_tf.spaces.space import Place, Space
from darts_tf.system.errors import UserError

UNITS = {"macs": "million_macs", "parameters": "million_parameters", "latency": "latency_ms"}
"""The unit of each kind of cost, as records name it."""
MILLION = 1e6


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs of all derived networks of a search, linear in the operations of their cells.

    Attributes:
        topology: The edges of a cell.
        primitives: Names of the candidate operations.
        operations: By kind of cell `(num_edges, num_primitives)`: each operation on each edge, summed over all cells of
            the kind. `none` costs nothing.
        fixed: The rest of the network: stem, preprocessing of the cells' inputs, classifier.
    """

    topology: Topology
    primitives: tuple[str, ...]
    operations: Mapping[str, np.ndarray]
    fixed: float

    @functools.cached_property
    def _groups(self):
        """Groups of rows among which a node keeps some, `(G, E)` ones and zeros, and how many it keeps, `(G,)`."""
        eye, groups, kept = np.eye(self.topology.num_edges), [], []
        for node, count in zip(self.topology.nodes, self.topology.kept, strict=True):
            own = eye[self.topology.rows(node)]
            groups.append(own if count == len(own) else own.sum(0, keepdims=True))
            kept.append(np.full(len(groups[-1]), 1 if count == len(own) else count))
        return np.concatenate(groups), np.concatenate(kept)

    def expected(self, mixing: Mapping[str, Any]) -> Any:
        """Returns the expected cost, a scalar tensor.

        A node that keeps all of its edges costs, on each, the mean over the operations weighted by the mixing weights.
        One that keeps only k edges costs k times the mean over all operations of all its edges, without `none`, since
        no derived edge has it. So one-hot weights cost exactly what their network does, and edge weights count.

        Args:
            mixing: By cell `(num_edges, num_primitives)`, at least 0; columns that a method has added do not count.
        """
        total: Any = 0.0
        choices = self.topology.choices(self.primitives)
        for cell, costs in self.operations.items():
            dtype = mixing[cell].dtype
            rows = tf.gather(mixing[cell], choices, axis=1)
            groups, kept = (tf.constant(each, dtype) for each in self._groups)
            cost = tf.reduce_sum(rows * tf.constant(costs[:, choices], dtype), -1, keepdims=True)
            means = tf.math.divide_no_nan(groups @ cost, groups @ tf.reduce_sum(rows, -1, keepdims=True))
            total += tf.reduce_sum(kept * means[:, 0])
        return total + self.fixed

    def of(self, genotype: Genotype) -> float:
        """Returns the cost of a genotype's network."""
        total = self.fixed
        for cell, costs in self.operations.items():
            for index, (name, source) in enumerate(getattr(genotype, cell)):
                row = self.topology.row(source, self.topology.edge_of(index))
                total += costs[row, self.primitives.index(name)]
        return float(total)

    def range(self, derive: Callable[[Mapping[str, np.ndarray]], Genotype]) -> tuple[float, float]:
        """Returns the costs of the cheapest and the most expensive network.

        Args:
            derive: Chooses the cells by the strengths of their operations, within the limits of a search.
        """
        highest = max(costs.max() for costs in self.operations.values()) or 1.0
        dear = {cell: costs / highest for cell, costs in self.operations.items()}
        cheap = {cell: 1 - share for cell, share in dear.items()}
        return self.of(derive(cheap)), self.of(derive(dear))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A context for networks whose initial values do not matter: random draws after it are the same as without them."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def network(space: Space, config: SearchConfig, genotype: Genotype, sizes: Sequence) -> Any:
    """Returns a derived network with a search's channels and cells, as it is served.

    Args:
        space: The search space.
        config: The settings of the search.
        genotype: The cells.
        sizes: Image shape and number of classes.

    Raises:
        UserError: Invalid channels or cells, or a space that defines no places.
    """
    if type(space).places is Space.places:
        raise UserError(
            "Costs are counted at the places of image operations, which this space does not define. Expected one "
            f"with `Space.places`. Received: space={config.space}."
        )
    own = {name: getattr(config, name) for name in ("space", "init_channels", "num_cells", "operations_file", "seed")}
    train = TrainConfig(**own, genotype=genotype.to_text(), auxiliary=False, drop_path=0.0)
    with _undisturbed():
        return space.network(train, *sizes)


def alike(space: Space, config: SearchConfig, name: str) -> Genotype:
    """Returns a genotype of a search in which all operations are the same, on edges that are not all alike."""
    kind, rng = space.genotype, np.random.default_rng(0)
    edges = {cell: rng.random((kind.topology(config.num_nodes).num_edges, 1)) for cell in kind.cells}
    outputs = kind.output_nodes(config.num_nodes, config.concat)
    return genotypes.derive(kind, edges, (name,), config.num_nodes, outputs, strength=dict)


def operation(space: Space, name: str, place: Place) -> Any:
    """Returns a candidate operation in the form that a derived network has at a place."""
    table: Any = space.operations
    with _undisturbed():
        return table[name](place.channels, place.stride, affine=True)


def priced(space: Space, config: SearchConfig, net: Any, price: Callable[[str, Place], float]) -> Costs:
    """Returns the costs of a search's derived networks, without the fixed part.

    Args:
        space: The search space.
        config: The settings of the search.
        net: A derived network of the search, with any genotype.
        price: `(operation, place) -> cost`, called once for each pair; not for `none`.
    """
    topology, price = space.genotype.topology(config.num_nodes), functools.cache(price)
    table = {cell: np.zeros((topology.num_edges, len(config.primitives))) for cell in space.genotype.cells}
    for cell, places in space.places(net):
        for row, place in enumerate(places):
            table[cell][row] += [0.0 if name == "none" else price(name, place) for name in config.primitives]
    return Costs(topology, tuple(config.primitives), table, 0.0)


def parameters(layer: Any) -> int:
    """Returns the number of weights of an operation."""
    return sum(math.prod(v.shape) for v in layer.trainable_variables)


def counted(space: Space, config: SearchConfig, sizes: Sequence, kind: str) -> Costs:
    """Returns the multiply-adds or the weights of a search's derived networks, in millions; see `network`.

    Args:
        space: The search space.
        config: The settings of the search.
        sizes: Image shape and number of classes.
        kind: `macs` or `parameters`.
    """

    def price(name, place):
        made = operation(space, name, place)
        return (made.macs(*place.output) if kind == "macs" else parameters(made)) / MILLION

    net = network(space, config, alike(space, config, next(n for n in config.primitives if n != "none")), sizes)
    total = (net.macs() if kind == "macs" else net.parameters) / MILLION
    costs = priced(space, config, net, price)
    return dataclasses.replace(costs, fixed=total - costs.of(net.genotype))
