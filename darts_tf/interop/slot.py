"""Which part of which variable of ours an array of the original is, and how its axes are permuted."""

import dataclasses
from typing import Any

import numpy as np

from darts_tf.system.types import Variable


@dataclasses.dataclass(frozen=True)
class Slot:
    """One array of the original inside one of our variables.

    Attributes:
        name: Its name in the original's state dict.
        variable: The variable that holds it.
        turn: The axes of our array in the original's order: `ours = theirs.transpose(turn)`.
        axis: Axis along which the edges are concatenated.
        part: Index of the edge.
        parts: Number of edges.
    """

    name: str
    variable: Variable
    turn: tuple[int, ...]
    axis: int = 0
    part: int = 0
    parts: int = 1

    @property
    def _index(self):
        size = self.variable.shape[self.axis] // self.parts
        return (*[slice(None)] * self.axis, slice(self.part * size, (self.part + 1) * size))

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape in the original."""
        ours = list(self.variable.shape)
        ours[self.axis] //= self.parts
        return tuple(ours[self.turn.index(axis)] for axis in range(len(ours)))

    def read(self, array: Any) -> np.ndarray:
        """Extracts the original's array from ours."""
        return np.asarray(array)[self._index].transpose(np.argsort(self.turn))

    def write(self, array: np.ndarray, theirs: Any) -> None:
        """Writes the original's array into ours, in place."""
        array[self._index] = np.asarray(theirs).transpose(self.turn)
