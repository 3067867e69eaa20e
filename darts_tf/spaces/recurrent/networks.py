"""The language models of searches and of derived cells, in one file because they only differ in their cells."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from darts_tf.system.keras_settings import of_one_type
from darts_tf.genotypes import RECURRENT_PRIMITIVES
from darts_tf.passes import graph
from darts_tf.passes.precision import narrowed
from darts_tf.spaces.candidates import softmax
from darts_tf.spaces.network import Network
from darts_tf.spaces.recurrent.cells import RecurrentCell, RecurrentSearchCell, uniform
from darts_tf.spaces.recurrent.masks import Masks, masked
from darts_tf.system.errors import UserError
from darts_tf.system.types import Tensors


class Inputs(NamedTuple):
    """The inputs of a language model.

    Attributes:
        tokens: Word numbers, `(steps, batch)` integers; the number of steps may differ from call to call.
        state: Hidden state before the first word, `(batch, units)`.
        masks: Dropout masks.
    """

    tokens: tf.Tensor
    state: tf.Tensor
    masks: Masks = Masks()


class Outputs(NamedTuple):
    """The outputs of a language model.

    Attributes:
        logits: Logits of the word that follows each, `(steps, batch, vocabulary_size)`.
        states: Hidden states, `(steps, batch, units)`.
        dropped: The same after dropout: the decoder's input.
        state: The last of the states, `(batch, units)`, with which the next call begins.
    """

    logits: tf.Tensor
    states: tf.Tensor
    dropped: tf.Tensor
    state: tf.Tensor


class _LanguageModel(Network):
    """Embedding, cell, and a decoder that shares the embedding's matrix; a subclass makes the cell.

    Called with a state, it runs one window of a text, as training does, and returns `Outputs`. Called with tokens only,
    as `predict`, `evaluate`, `fit` and `export` do, it behaves like any Keras model: the batch axis comes first, every
    text begins with a zero state, and the result is the logits `(batch, steps, vocabulary_size)`.

    Args:
        vocabulary_size: Number of words, at least 2.
        units: Width of words and states, which are equal because the decoder shares the embedding's matrix.

    Attributes:
        embedding: `(vocabulary_size, units)`.
        bias: Bias of the decoder, `(vocabulary_size,)`.
    """

    def __init__(self, vocabulary_size, units, **kwargs):
        super().__init__(**kwargs)
        if vocabulary_size < 2 or units < 1:
            raise UserError(
                f"Expected at least 2 words and 1 unit. Received: vocabulary_size={vocabulary_size}, units={units}."
            )
        self.vocabulary_size, self.units = vocabulary_size, units
        self.embedding = self.add_weight(shape=(vocabulary_size, units), initializer=uniform(), name="embedding")
        self.bias = self.add_weight(shape=(vocabulary_size,), initializer="zeros", name="bias")

    @property
    def known_input(self) -> keras.InputSpec:
        """See `Network`."""
        return keras.InputSpec(shape=(None, None), dtype="int32")

    @property
    def weight_variables(self) -> list:
        """The network's weights w in the original's order, without the alphas; the embedding comes first."""
        return [self.embedding, *self.cell.weight_variables, self.bias]

    @property
    def parameters(self) -> int:
        """Number of weights; the shared matrix counts once."""
        return sum(math.prod(v.shape) for v in self.weight_variables)

    def call(
        self,
        tokens: tf.Tensor,
        state: tf.Tensor | None = None,
        masks: Masks | None = None,
        training: bool = False,
        mixing: Any = None,
    ) -> Outputs | tf.Tensor:
        """Runs the network; writes nothing.

        Args:
            tokens: `(steps, batch)` integers.
            state: `(batch, units)`. Without a state the tokens are `(batch, steps)`, each text begins with a zero
                state, and training writes the moving statistics.
            masks: `Masks`; None for no dropout.
            training: Whether batch norm uses the batch's statistics; without dropout this may also be an evaluation.
                A derived network has none: its training differs in its masks only.
            mixing: Mixing weights by the name of `alphas`; None for the softmax of the alphas.

        Returns:
            `Outputs`; without a state the logits `(batch, steps, vocabulary_size)`.
        """
        if state is None:
            return self._logits_of_texts(tokens, masks, training)
        return self._run(Inputs(tokens, state, masks or Masks()), training, mixing)[0]

    def initial_state(self, batch_size):
        """Returns the state at the start of a text, zeros `(batch_size, units)`."""
        return tf.zeros((batch_size, self.units), self.embedding.dtype)

    def _logits_of_texts(self, texts, masks=None, training=False):
        """Returns the logits `(batch, steps, vocabulary_size)` of texts `(batch, steps)`, each from a zero state."""
        tokens = tf.transpose(tf.cast(texts, tf.int32))
        inputs = Inputs(tokens, self.initial_state(tf.shape(tokens)[1]), masks or Masks())
        outputs, statistics = self._run(inputs, training)
        if training:
            moved = self.moved_state([v.value for v in self.state_variables], statistics)
            for variable, value in zip(self.state_variables, moved, strict=True):
                variable.assign(value)
        return tf.ensure_shape(tf.transpose(outputs.logits, (1, 0, 2)), (*texts.shape, self.vocabulary_size))

    def _embedded(self, inputs):
        words = tf.gather(self.embedding.value, inputs.tokens)
        if inputs.masks.embedding is not None:
            # Words are dropped, not rows of the matrix: the decoder needs all of them.
            words *= tf.gather(inputs.masks.embedding, inputs.tokens)
        return narrowed(masked(words, inputs.masks.input))

    def _decoded(self, states: tf.Tensor, masks: Masks) -> Outputs:
        read = graph.reader(states)
        dropped = masked(read(), masks.output)
        rows = narrowed(tf.reshape(dropped, (-1, self.units)))
        logits = tf.matmul(rows, tf.cast(self.embedding.value, rows.dtype), transpose_b=True)
        logits = tf.cast(logits, self.bias.dtype) + self.bias.value
        batch = states.shape[1] or tf.shape(states)[1]
        return Outputs(tf.reshape(logits, (-1, batch, self.vocabulary_size)), read(), dropped, read()[-1])

    def stateless(self, weights, mixing, inputs, training=True):
        """Runs the network on given weights; no variable is read or written.

        Args:
            weights: Tensors in the order of `weight_variables`.
            mixing: The mixing weights of the cell, by the name of `alphas`; none in a derived network.
            inputs: `Inputs`.
            training: Whether it runs in training mode.

        Returns:
            `(outputs, statistics)`: `Outputs`, and the argument of `moved_state`.
        """
        mapping = list(zip(self.weight_variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return self._run(Inputs(*inputs), training, mixing)


@keras.saving.register_keras_serializable(package="darts_tf")
class RecurrentSupernet(_LanguageModel):
    """The language model whose cell holds all candidate activations on every edge, mixed by weights.

    The weights are computed from the alphas; without mixing weights it uses softmax(alpha).

    Args:
        vocabulary_size: Number of words, at least 2.
        units: Width of words and states.
        num_nodes: Nodes of the cell.
        concat: How many of the last nodes are averaged into the state; 0 for all.
        primitives: Names in `cells.ACTIVATIONS`.
        alpha_init: `"normal"` (the original's code) or `"zeros"` (the paper's text).
        alpha_init_scale: Standard deviation of the normal initial values.
        shared_norm: Whether all nodes and time steps share one batch norm's moving statistics, as in the original; see
            `norm.NodeNorm`. This affects inference only.

    Raises:
        UserError: A bad size, or an unknown activation.

    Source: `rnn/model_search.py` of the original.
    """

    @of_one_type
    def __init__(
        self,
        vocabulary_size: int,
        units: int = 300,
        num_nodes: int = 8,
        concat: int = 0,
        primitives: Sequence[str] = RECURRENT_PRIMITIVES,
        alpha_init: str = "normal",
        alpha_init_scale: float = 1e-3,
        shared_norm: bool = False,
        **kwargs: Any,
    ):
        super().__init__(vocabulary_size, units, **kwargs)
        self.cell = RecurrentSearchCell(units, units, num_nodes, concat, primitives, shared_norm)
        self.primitives, self.num_nodes, self.shared_norm = self.cell.primitives, num_nodes, shared_norm
        shape = self.cell.topology.num_edges, len(self.primitives)
        self.make_alphas({"recurrent": "alphas"}, shape, alpha_init, alpha_init_scale)
        self.build((None, None))

    @property
    def state_variables(self) -> list:
        """Moving statistics of the batch norms."""
        return [self.cell.norm.moving]

    def _run(self, inputs, training, mixing=None):
        weights = (softmax(self.alphas) if mixing is None else mixing)["recurrent"]
        states, statistics = self.cell(
            self._embedded(inputs), inputs.state, weights, masks=inputs.masks, training=training
        )
        return self._decoded(states, inputs.masks), [] if statistics is None else [statistics]

    def moved_state(self, state: Tensors, statistics: Tensors) -> list:
        """Returns the moving statistics after a pass; both in the order of `state_variables`, or packed to vectors."""
        return [self.cell.norm.moved(moving, batch) for moving, batch in zip(state, statistics, strict=True)]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = ("vocabulary_size", "units", "num_nodes", "alpha_init", "alpha_init_scale", "shared_norm")
        own = {name: getattr(self, name) for name in names} | {"concat": self.cell.concat}
        return {**super().get_config(), **own, "primitives": list(self.primitives)}


@keras.saving.register_keras_serializable(package="darts_tf")
class RecurrentNetwork(_LanguageModel):
    """The language model of a derived cell.

    Args:
        genotype: A `RecurrentGenotype`, or anything that `genotype.load` takes.
        vocabulary_size: Number of words, at least 2.
        units: Width of words and states.

    Raises:
        UserError: A bad size, or there is no such genotype.

    Source: `rnn/model.py` of the original.
    """

    @of_one_type
    def __init__(self, genotype: Any, vocabulary_size: int, units: int = 850, **kwargs: Any):
        super().__init__(vocabulary_size, units, **kwargs)
        self.cell = RecurrentCell(genotype, units, units)
        self.genotype = self.cell.genotype
        self.state_variables: list[keras.Variable] = []
        self.build((None, None))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = {"vocabulary_size": self.vocabulary_size, "units": self.units}
        return {**super().get_config(), "genotype": self.genotype.to_json(), **own}

    def next_word(self, tokens: tf.Tensor, state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs the network over a text and decodes once, at the end.

        Args:
            tokens: `(steps, batch)` integers.
            state: `(batch, units)`.

        Returns:
            `(logits, state)`: `(batch, vocabulary_size)` of the word that follows, `(batch, units)`.
        """
        outputs = self._decoded(self.cell(self._embedded(Inputs(tokens, state)), state)[-1:], Masks())
        return outputs.logits[0], outputs.state

    def _run(self, inputs, training, mixing=None):
        return self._decoded(self.cell(self._embedded(inputs), inputs.state, masks=inputs.masks), inputs.masks), []

    def moved_state(self, state: Tensors, statistics: Tensors) -> list:
        """Returns nothing: there are no moving statistics."""
        return []
