"""What a search method decides: the protocol. Algorithm 1 asks at these places and nowhere else."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from darts_tf import spaces
from darts_tf.genotypes import selection
from darts_tf.genotypes.topology import Topology

Alphas = Mapping[str, Any]  # name of an architecture variable -> its value: a tensor, or an array outside of the graph
Mixing = Mapping[str, Any]  # name of a kind of cell -> its mixing weights, (num_edges, num_primitives)


class Judge(Protocol):
    """Says how good the trained supernet is at other weights in eq. 2; nothing is written to it."""

    def __call__(self, relaxed: Mixing, what: str, batches: int = 0) -> tuple[float, float]:
        """Measures on held-out data, with the statistics of each batch; the same batches in every call.

        Args:
            relaxed: Arrays like those of `Method.relax`; what the methods adjust follows.
            what: Names what is judged: in the file of judgements and in lines of progress.
            batches: How many; 0 for all.

        Returns:
            `(loss, error)`: nats, and the share of examples or words that are wrong; infinity where it is no number.
        """

    def train(self, number: int, rates: Sequence[float]) -> Mapping[str, np.ndarray]:
        """Trains the supernet further, weights and alphas; this is done once, as a judgement is.

        Args:
            number: Of this training, from 0; the first begins without momentum.
            rates: Learning rate of the weights in each of its epochs.

        Returns:
            What `relax` returns now without noise, as arrays.
        """


class Method(Protocol):
    """A search method. What a subclass leaves out is as in DARTS, and all of it is a pure function of tensors.

    `alphas` are always all architecture variables by name: the space's, one for each kind of cell, and the method's.

    Args:
        config: A `config.Search`, whose settings the method reads.

    Attributes:
        moves_alphas: Whether Algorithm 1 moves the alphas; without, its step costs that of the weights only.
    """

    config: Any
    moves_alphas: bool = True

    def __init__(self, config: Any = None):
        self.config = config

    @property
    def cells(self) -> tuple[str, ...]:
        """The genotype's names of the kinds of cell of the search's space."""
        return tuple(spaces.get(self.config.space).genotype.cells)

    @property
    def topology(self) -> Topology:
        """The edges of these cells."""
        return spaces.get(self.config.space).genotype.topology(self.config.num_nodes)

    @property
    def masks(self) -> Mapping[str, np.ndarray]:
        """Which operations each edge may have, by cell, where they differ; `Combined` has the alphas of others low."""
        return getattr(self.config, "masks", None) or {}

    def check(self, relaxation: "Method") -> None:
        """Raises UserError where other settings of the search, or the relaxation it is combined with, contradict it."""
        return None

    def variables(self, supernet: Any) -> dict[str, Any]:
        """Makes architecture variables in addition to the space's, `keras.Variable`s that are trained like those."""
        return {}

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """Returns what is random or scheduled in a step: a structure of tensors, the same in every pass of that step.

        Args:
            alphas: Tensors.
            seed: `(2,)` integers, a function of the seed of the run and of the step.
            epoch: From 0, a scalar tensor of the alphas' type.
        """
        return ()

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Relaxes the choice of operations: from the alphas of each kind of cell to its weights in eq. 2.

        Only one of the methods that are combined may say how.

        Args:
            alphas: Tensors.
            noise: What `noise` returned; None outside of a step, where its mean takes its place.
        """
        return {name: tf.nn.softmax(logits) for name, logits in alphas.items()}

    def settle(self, relaxed: Mixing) -> Mixing:
        """Returns relaxed weights in which what has been decided takes the place of what the alphas say."""
        return relaxed

    def adjust(self, mixing: Mixing, alphas: Alphas, noise: Any) -> Mixing:
        """Changes relaxed weights, such as by factors of whole edges; what each of the combined methods does in turn.

        Args:
            mixing: Tensors; or arrays, where `strength` asks.
            alphas: See `relax`.
            noise: See `relax`.
        """
        return mixing

    def mixing_weights(self, alphas: Alphas, noise: Any) -> Mixing:
        """Returns the mixing weights of each kind of cell: relaxed, then adjusted."""
        return self.adjust(self.relax(alphas, noise), alphas, noise)

    def training_alphas(self, alphas: Alphas, noise: Any, training: Callable[[Mixing], tuple[Any, Mixing]]) -> Alphas:
        """Returns the alphas at which the step of the weights is taken.

        Args:
            alphas: See `relax`.
            noise: See `relax`.
            training: Computes the training loss in evaluation mode at some relaxed weights, and its gradients in them.
        """
        return alphas

    def mixed_operation(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Returns what makes the mixed operations of image supernets, called like `usual`, the `MixedOp` of eq. 2."""
        return usual

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """Returns a scalar whose gradient is added to that of the alphas before their Adam; None for none.

        Args:
            alphas: Tensors.
            mixing: The mixing weights without noise, functions of the alphas.
            epoch: From 0, a scalar tensor.
        """
        return None

    def ranked(self, alphas: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Returns by what the operations of each edge are ranked, before `adjust`: arrays like the alphas."""
        return selection.strengths(alphas)

    def strength(self, alphas: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns how strong each operation of each edge is: what selection, monitor, reports and tuner go by."""
        found = self.adjust(self.ranked(alphas), alphas, None)
        # Columns that a method has added are no operations that a cell may keep.
        return {name: np.asarray(each)[:, : np.shape(alphas[name])[-1]] for name, each in found.items()}

    def facts(self, mixing: Mixing, genotype: Any) -> Mapping[str, float]:
        """Returns numbers that the record of an epoch should have.

        Args:
            mixing: The present mixing weights, tensors.
            genotype: What is derived from the present alphas.
        """
        return {}

    def selection(self, usual: Callable[..., list]) -> Callable[..., list]:
        """Returns what chooses the pairs that a cell keeps, called like `usual`, see `genotypes.selection.select`."""
        return usual

    def choose(self, relaxed: Mapping[str, np.ndarray], judge: Judge) -> Mapping[str, np.ndarray]:
        """Chooses the cells once the last epoch is over, instead of by `strength`, where a method brings it.

        It is a pure function of its arguments and the settings: a resumed search calls it again from its start, and
        what was judged before is not judged again.

        Args:
            relaxed: What `relax` returns without noise, as arrays.
            judge: See `Judge`.

        Returns:
            Arrays `(num_edges, num_primitives)` by cell: a one for what an edge keeps; zeros where it is left out.
        """
        return relaxed


def overrides(method: Method, hook: str) -> bool:
    """Returns whether a method differs from DARTS at one place of the protocol."""
    return getattr(type(method), hook) is not getattr(Method, hook)
