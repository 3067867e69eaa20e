"""The protocol of a search method: the hooks at which Algorithm 1 consults it, and no others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from darts_tf import genotypes, spaces
from darts_tf.genotypes import selection
from darts_tf.genotypes.topology import Topology

Alphas = Mapping[str, Any]  # name of an architecture variable -> its value: a tensor, or an array outside of the graph
Mixing = Mapping[str, Any]  # name of a kind of cell -> its mixing weights, (num_edges, num_primitives)


class Judge(Protocol):
    """Evaluates the trained supernet at other weights in eq. 2, without writing to it."""

    def __call__(self, relaxed: Mixing, what: str, batches: int = 0) -> tuple[float, float]:
        """Evaluates on held-out data, with the statistics of each batch; the batches are the same in every call.

        Args:
            relaxed: Arrays like those of `Method.relax`, before the methods' adjustments.
            what: Name of what is judged, in the file of judgements and in progress lines.
            batches: Number of batches; 0 for all.

        Returns:
            `(loss, error)`: nats, and the fraction of examples or words that are wrong; infinity in place of NaN.
        """

    def train(self, number: int, rates: Sequence[float]) -> Mapping[str, np.ndarray]:
        """Trains the supernet further, weights and alphas; like a judgement, this is done only once.

        Args:
            number: Number of this training, from 0; the first begins without momentum.
            rates: Learning rate of the weights in each of its epochs.

        Returns:
            What `relax` returns now without noise, as arrays.
        """


class Method(Protocol):
    """A search method. Hooks that a subclass does not override behave as in DARTS.

    The hooks of a step are pure functions of tensors and of what was fixed before: the settings, and what `variables`
    keeps, as that of `cost` does. The exception is `darts_pt`: its `choose` records decisions, which `noise` reads.

    `alphas` are always all architecture variables by name: the space's, one for each kind of cell, and the method's.

    Args:
        config: A `config.Search`, whose settings the method reads.

    Attributes:
        whole: All methods of the search combined; this one if it is alone.
        moves_alphas: Whether Algorithm 1 updates the alphas; if not, a step costs only that of the weights.
        sparse: Whether most mixing weights of a step are 0. The step of the weights then leaves out operations that no
            edge uses; the gradient of the alphas needs all of them.
    """

    config: Any
    whole: "Method"
    moves_alphas: bool = True
    sparse: bool = False

    def __init__(self, config: Any = None):
        self.config = config
        self.whole = self

    @property
    def cells(self) -> tuple[str, ...]:
        """The genotype's names for the kinds of cell in the search space."""
        return tuple(spaces.get(self.config.space).genotype.cells)

    @property
    def topology(self) -> Topology:
        """The edges of these cells."""
        return spaces.get(self.config.space).genotype.topology(self.config.num_nodes)

    @property
    def masks(self) -> Mapping[str, np.ndarray]:
        """Which operations each edge may have, by cell, if they differ; `Combined` sets other alphas low."""
        return getattr(self.config, "masks", None) or {}

    def check(self, relaxation: "Method") -> None:
        """Raises UserError if other settings, or the relaxation that the method is combined with, contradict it."""
        return None

    def variables(self, supernet: Any) -> dict[str, Any]:
        """Makes architecture variables in addition to the space's: `keras.Variable`s, trained in the same way."""
        return {}

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns the random or scheduled values of a step: a structure of tensors, the same in all passes of the step.

        Args:
            alphas: Tensors.
            seed: `(2,)` integers, a function of the run's seed and the step.
            epoch: Epoch, from 0, a scalar tensor of the alphas' dtype.
        """
        return ()

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Relaxes the choice of operations: maps the alphas of each kind of cell to its weights in eq. 2.

        Only one of several combined methods may override this.

        Args:
            alphas: Tensors.
            noise: The result of `noise`; None outside of a step, where its mean takes its place.
        """
        return {name: tf.nn.softmax(logits) for name, logits in alphas.items()}

    def settle(self, relaxed: Mixing, noise: Any) -> Mixing:
        """Returns relaxed weights in which decisions already made replace the values from the alphas.

        Args:
            relaxed: The result of `relax`.
            noise: See `relax`.
        """
        return relaxed

    def adjust(self, mixing: Mixing, alphas: Alphas, noise: Any) -> Mixing:
        """Changes relaxed weights, for example by a factor for each edge; combined methods apply in turn.

        Args:
            mixing: Tensors; arrays when called by `strength`.
            alphas: See `relax`.
            noise: See `relax`.
        """
        return mixing

    def mixing_weights(self, alphas: Alphas, noise: Any) -> Mixing:
        """Returns the mixing weights of each kind of cell: relaxed, then adjusted."""
        return self.adjust(self.relax(alphas, noise), alphas, noise)

    def training_alphas(self, alphas: Alphas, noise: Any, training: Callable[[Mixing], tuple[Any, Mixing]]) -> Alphas:
        """Returns the alphas at which the weight step is taken.

        Args:
            alphas: See `relax`.
            noise: See `relax`.
            training: Computes the training loss in evaluation mode at given relaxed weights, and its gradients with
                respect to these.
        """
        return alphas

    def mixed_operation(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a factory for mixed operations of image supernets, called like `usual`, the `MixedOp` of eq. 2."""
        return usual

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """Returns a scalar whose gradient is added to that of the alphas before their Adam step; None for no penalty.

        Args:
            alphas: Tensors.
            mixing: The mixing weights without noise, functions of the alphas.
            epoch: Epoch, from 0, a scalar tensor.
        """
        return None

    def ranked(self, alphas: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Returns the values that rank the operations of each edge, before `adjust`: arrays like the alphas."""
        return selection.strengths(alphas)

    def strength(self, alphas: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the strength of each operation of each edge, which selection, monitor, reports and tuner use."""
        found = self.adjust(self.ranked(alphas), alphas, None)
        # Columns that a method has added are not operations that a cell may keep.
        return {name: np.asarray(each)[:, : np.shape(alphas[name])[-1]] for name, each in found.items()}

    def derive(
        self, alphas: Mapping[str, np.ndarray], chosen: Mapping[str, np.ndarray] | None = None
    ) -> genotypes.Genotype:
        """Returns the genotype of given alphas, or of a choice in place of their strength, see `choose`."""
        c, kind = self.config, spaces.get(self.config.space).genotype
        how: dict[str, Any] = {
            "strength": self.strength if chosen is None else lambda alphas: dict(chosen),
            "select": self.selection(selection.select),
        }
        outputs = kind.output_nodes(c.num_nodes, c.concat)
        return genotypes.derive(kind, alphas, c.primitives, c.num_nodes, outputs, **how)

    def facts(self, mixing: Mixing, genotype: Any) -> Mapping[str, float]:
        """Returns numbers to add to the record of an epoch.

        Args:
            mixing: The current mixing weights, tensors.
            genotype: The genotype derived from the current alphas.
        """
        return {}

    def selection(self, usual: Callable[..., list]) -> Callable[..., list]:
        """Returns the function that chooses a cell's pairs, called like `usual`, see `genotypes.selection.select`."""
        return usual

    def choose(self, relaxed: Mapping[str, np.ndarray], judge: Judge) -> Mapping[str, np.ndarray]:
        """Chooses the cells after the last epoch, in place of `strength`, if a method defines it.

        It is a pure function of its arguments and the settings: a resumed search calls it again from the start, and
        earlier judgements are not repeated.

        Args:
            relaxed: The result of `relax` without noise, as arrays.
            judge: See `Judge`.

        Returns:
            Arrays `(num_edges, num_primitives)` by cell: one for the operation that an edge keeps; a row of zeros for
            an edge that is left out.
        """
        return relaxed


def with_column(mixing: Mixing, value: Any) -> Mixing:
    """Returns mixing weights with a column appended that holds one value: a scalar, or 0 for None."""
    column = 0.0 if value is None else value
    return {
        cell: tf.concat([rows, tf.fill([rows.shape[0], 1], tf.cast(column, rows.dtype))], -1)
        for cell, rows in mixing.items()
    }


def overrides(method: Method, hook: str) -> bool:
    """Returns whether a method overrides a hook of the protocol."""
    return getattr(type(method), hook) is not getattr(Method, hook)
