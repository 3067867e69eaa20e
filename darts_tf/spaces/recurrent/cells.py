"""The recurrent search cell, the cell of a derived network, and their loop over time.

A cell turns words `(steps, batch, inputs)` and a state `(batch, units)` into states `(steps, batch, units)`. Every node
is a highway layer, `s + sigmoid(c) * (f(h) - s)` with `(c, h) = (s * mask) W`, of a state s before it; W belongs to the
node, whichever state it reads and whichever activation f it applies. The next state is the average of the nodes.

Products and activations are computed in the words' dtype, which may be narrower than that of the states, since these
accumulate.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from darts_tf import genotypes
from darts_tf.genotypes import RECURRENT_PRIMITIVES, RecurrentGenotype
from darts_tf.passes import graph
from darts_tf.passes.graph import reader
from darts_tf.passes.recomputation import recomputed
from darts_tf.spaces.candidates import check_nodes, check_primitives
from darts_tf.spaces.recurrent.masks import Masks, masked
from darts_tf.spaces.recurrent.norm import NodeNorm
from darts_tf.system.errors import UserError

ACTIVATIONS = {
    "none": None,
    "tanh": tf.tanh,
    "relu": tf.nn.relu,
    "sigmoid": tf.sigmoid,
    "identity": tf.identity,
}
SCALE = 0.04  # half the width of the uniform distribution of the initial weights


def uniform() -> keras.initializers.Initializer:
    """Returns the initializer of all recurrent weights."""
    return keras.initializers.RandomUniform(-SCALE, SCALE)


def highway(state: tf.Tensor, product: tf.Tensor, activation: Callable) -> tf.Tensor:
    """Returns `s + sigmoid(c) * (f(h) - s)`, `(batch, units)`, for a product `(c, h)`, `(batch, 2 * units)`."""
    gate, candidate = tf.split(product, 2, -1)
    change = tf.sigmoid(gate) * (activation(candidate) - tf.cast(state, gate.dtype))
    return state + tf.cast(change, state.dtype)


def mixed_highway(
    states: tf.Tensor, products: tf.Tensor, weights: tf.Tensor, activations: Sequence[Callable]
) -> tf.Tensor:
    """Equation 2 for all edges into a node: the sum of `weight * highway(state, product, activation)`, fused.

    A highway layer is linear in its activation, so these are mixed first; a test checks that the result equals the
    plain sum.

    Args:
        states: `(n, batch, units)`.
        products: `(n, batch, 2 * units)`.
        weights: `(1 + len(activations), n, 1, 1)`: first the sum of the weights, then the weight of each activation.
        activations: Functions.

    Returns:
        `(batch, units)`.
    """
    gates, candidates = tf.split(products, 2, -1)
    total, *weights = tf.unstack(weights)
    read = reader(candidates)
    candidates = graph.total([weight * f(read()) for weight, f in zip(weights, activations, strict=True)])
    kept = total * states
    return tf.reduce_sum(kept + tf.sigmoid(gates) * (candidates - kept), 0)


class _Cell(keras.layers.Layer):
    """The weights that both cells have, and their computation before the loop over time.

    Attributes:
        start: The matrix of the start state, `(inputs + units, 2 * units)`.
        nodes: One matrix for each node, `(units, 2 * units)`.
    """

    def __init__(self, inputs: int, units: int, num_nodes: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.inputs, self.units, self.num_nodes = inputs, units, num_nodes
        self.start = self.add_weight(shape=(inputs + units, 2 * units), initializer=uniform(), name="start")
        self.nodes = [
            self.add_weight(shape=(units, 2 * units), initializer=uniform(), name=f"node{index}")
            for index in range(num_nodes)
        ]
        self.built = True

    @property
    def weight_variables(self) -> list:
        """The weights in the original's order."""
        return [self.start, *self.nodes]

    def _projected(self, x, mask):
        """Returns the words' part of the start state's product for all time steps, `(steps, batch, 2 * units)`.

        One large product instead of one for each step.
        """
        rows = tf.reshape(masked(x, mask), (-1, self.inputs))
        product = tf.matmul(rows, tf.cast(self.start.value[: self.inputs], x.dtype))
        return tf.reshape(product, (-1, x.shape[1] or tf.shape(x)[1], 2 * self.units))

    def _kernels(self, dtype):
        """Returns the matrices of the start state and of the nodes in a given dtype."""
        return [tf.cast(w, dtype) for w in (self.start.value[self.inputs :], *[w.value for w in self.nodes])]


class RecurrentSearchCell(_Cell):
    """A cell in which every node reads every earlier state through every activation, mixed by weights.

    `none` has a column but no term: its share of the weights is lost.

    Args:
        inputs: Width of a word.
        units: Width of a state.
        num_nodes: Number of nodes.
        concat: How many of the last nodes are averaged; 0 for all.
        primitives: Names in `ACTIVATIONS`.
        shared_norm: See `norm.NodeNorm`.

    Raises:
        UserError: An unknown activation, none at all, or a wrong number of nodes.

    Source: `rnn/model_search.py`.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        num_nodes: int = 8,
        concat: int = 0,
        primitives: Sequence[str] = RECURRENT_PRIMITIVES,
        shared_norm: bool = False,
        **kwargs: Any,
    ):
        check_primitives(primitives, ACTIVATIONS)
        if not set(primitives) - {"none"}:
            raise UserError(f"Expected an activation other than 'none'. Received: primitives={list(primitives)}.")
        check_nodes(num_nodes, concat)
        super().__init__(inputs, units, num_nodes, **kwargs)
        self.concat, self.primitives = concat or num_nodes, tuple(primitives)
        self.norm = NodeNorm(num_nodes + 1, units, shared_norm)
        self.topology = RecurrentGenotype.topology(num_nodes)

    def call(
        self, x: tf.Tensor, state: tf.Tensor, mixing: Any, masks: Masks | None = None, training: bool = False
    ) -> tuple:
        """Runs the cell over time; writes nothing.

        Args:
            x: `(steps, batch, inputs)`.
            state: `(batch, units)`.
            mixing: Mixing weights `(num_edges, num_primitives)`, in the order of `topology.edges`.
            masks: `Masks`, of which `x` and `hidden` are applied here.
            training: Whether batch norm uses the batch's statistics.

        Returns:
            `(states, statistics)`: `(steps, batch, units)`, and what `norm.moved` takes; None without training.
        """
        masks = masks or Masks()
        mixing = self._by_node(tf.cast(mixing, x.dtype))
        start, *nodes = self._kernels(x.dtype)
        projected = self._projected(x, masks.x)
        aside = tf.zeros((2 * self.norm.nodes, self.units), state.dtype) if training else None

        @recomputed
        def advance(projected, state, start, *others):
            nodes, mixing = others[: self.num_nodes], others[self.num_nodes :]
            states, statistics = self._step(projected, state, start, nodes, mixing, masks.hidden, training)
            return graph.total(states[-self.concat :]) / self.concat, *statistics

        def step(carried, projected):
            return tuple(advance(projected, carried[0], start, *nodes, *mixing))

        outputs = tf.scan(step, projected, (state,) if aside is None else (state, aside))
        return outputs[0], self.norm.pooled(outputs[1], tf.shape(state)[0]) if training else None

    def _by_node(self, mixing):
        """Returns for each node the weights that `mixed_highway` takes."""
        active = [index for index, name in enumerate(self.primitives) if ACTIVATIONS[name]]
        weights = tf.gather(tf.transpose(mixing), active)
        weights = tf.concat([tf.reduce_sum(weights, 0, keepdims=True), weights], 0)[..., None, None]
        return tf.split(weights, [len(own) for own in self.topology.sources], 1)

    def _step(self, projected, state, start, nodes, mixing, mask, training):
        """Returns the states of one time step and, in a list, the statistics of their norms if `training`."""
        activations = [ACTIVATIONS[name] for name in self.primitives if ACTIVATIONS[name]]
        states: list[Callable] = []
        operands: list[Callable] = []
        statistics: list[tf.Tensor] = []

        def add(s):
            s = tf.cast(s, state.dtype)
            if training:
                s, *moments = self.norm.training(s)
                statistics.extend(moments)
            else:
                s = self.norm.inference(s, len(states))
            states.append(reader(s))
            operands.append(reader(masked(tf.cast(states[-1](), start.dtype), mask)))

        read = reader(state)
        first = projected + tf.matmul(masked(tf.cast(read(), start.dtype), mask), start)
        add(highway(read(), first, tf.tanh))
        for count, (weight, mix) in enumerate(zip(nodes, mixing, strict=True), 1):
            # One product for all edges into a node: its matrix is read once.
            product = tf.matmul(tf.reshape(tf.stack([read() for read in operands]), (-1, self.units)), weight)
            product = tf.reshape(product, (count, -1, 2 * self.units))
            inputs = tf.cast(tf.stack([read() for read in states]), start.dtype)
            add(mixed_highway(inputs, product, mix, activations))
        return [read() for read in states[1:]], [tf.stop_gradient(tf.stack(statistics))] if training else []


class RecurrentCell(_Cell):
    """The cell of a derived network: every node reads one state through one activation. No batch norm.

    Args:
        genotype: A `RecurrentGenotype`, or anything that `genotype.load` takes.
        inputs: Width of a word.
        units: Width of a state.

    Raises:
        UserError: There is no such genotype, it is an image cell, or an activation is unknown.

    Source: `rnn/model.py`.
    """

    def __init__(self, genotype: Any, inputs: int, units: int, **kwargs: Any):
        genotype = genotypes.load(genotype, "recurrent")
        genotype.check_operations([name for name in ACTIVATIONS if name != "none"])
        super().__init__(inputs, units, genotype.num_nodes, **kwargs)
        self.genotype = genotype

    def call(self, x: tf.Tensor, state: tf.Tensor, masks: Masks | None = None) -> tf.Tensor:
        """Runs the cell over time.

        Args:
            x: `(steps, batch, inputs)`.
            state: `(batch, units)`.
            masks: `Masks`, of which `x` and `hidden` are applied here.

        Returns:
            States, `(steps, batch, units)`.
        """
        masks = masks or Masks()
        start, *nodes = self._kernels(x.dtype)

        def operand(state):
            return masked(tf.cast(state, x.dtype), masks.hidden)

        @recomputed
        def advance(projected, state, start, *nodes):
            read = reader(state)
            states = [reader(highway(read(), projected + tf.matmul(operand(read()), start), tf.tanh))]
            operands = [reader(operand(states[0]()))]
            for (name, source), weight in zip(self.genotype.recurrent, nodes, strict=True):
                product = tf.matmul(operands[source](), weight)
                states.append(reader(highway(states[source](), product, ACTIVATIONS[name])))
                operands.append(reader(operand(states[-1]())))
            return graph.total([states[node]() for node in self.genotype.concat]) / len(self.genotype.concat)

        def step(state, projected):
            return advance(projected, state, start, *nodes)

        return tf.scan(step, self._projected(x, masks.x), state)
