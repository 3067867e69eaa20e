"""What a search method decides: the protocol. Algorithm 1 asks at these places and nowhere else."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from darts_tf.genotypes import selection
from darts_tf.genotypes.topology import Topology

Alphas = Mapping[str, Any]  # name of an architecture variable -> its value: a tensor, or an array outside of the graph


class Method(Protocol):
    """A search method. What a subclass leaves out is as in DARTS, and all of it is a pure function of tensors.

    `alphas` are always all architecture variables by name: the space's, one for each kind of cell, and the method's.

    Args:
        config: A `config.Search`, whose settings the method reads.
    """

    def __init__(self, config: Any = None) -> None: ...

    def variables(self, supernet: Any) -> dict[str, Any]:
        """Makes architecture variables in addition to the space's, such as weights of edges; trained like them."""
        return {}

    def noise(self, alphas: Alphas, seed: Any) -> Any:
        """Draws what is random in a step: a structure of tensors, the same in every pass of that step.

        Args:
            alphas: Tensors.
            seed: `(2,)` integers, a function of the seed of the run and of the step.
        """
        return ()

    def mixing_weights(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """Relaxes the choice of operations: the weights `(num_edges, num_primitives)` of each kind of cell, of eq. 2.

        Args:
            alphas: Tensors.
            noise: What `noise` drew; None outside of a step, where its mean takes its place.
        """
        return {name: tf.nn.softmax(logits) for name, logits in alphas.items()}

    def training_alphas(self, alphas: Alphas, noise: Any) -> Alphas:
        """Returns the alphas at which the step of the weights is taken."""
        return alphas

    def mixed_operation(self, usual: type) -> Callable[..., Any]:
        """Returns what makes the mixed operations of image supernets, called like `usual`, the `MixedOp` of eq. 2."""
        return usual

    def penalty(self, alphas: Alphas, epoch: Any) -> Any:
        """Returns a scalar whose gradient is added to that of the alphas before their Adam; None for none.

        Args:
            alphas: Tensors.
            epoch: From 0, a scalar tensor.
        """
        return None

    def strength(self, alphas: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns how strong each operation of each edge is: what selection, monitor, reports and tuner go by."""
        return selection.strengths(alphas)

    def select(self, strength: np.ndarray, topology: Topology, primitives: tuple[str, ...]) -> list[tuple[str, int]]:
        """Returns the pairs that a cell keeps, see `selection.select`."""
        return selection.select(strength, topology, primitives)
