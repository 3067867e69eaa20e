"""Several methods in one search: one defines the relaxation, the others modify it in turn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.methods.method import Alphas, Method, Mixing, overrides
from darts_tf.spaces.candidates import masked
from darts_tf.system.errors import UserError, some_of

OF_ALL_CANDIDATES = ("random_nas", "darts_pt")
"""The methods that sample or decide without the alphas, through which other methods exclude operations of an edge."""


class Combined(Method):
    """The methods of a search combined into one, see `Method` for each hook.

    If edges have their own candidate operations, the alphas of all other operations are set low.

    Args:
        config: A `config.Search`.
        parts: The methods by name, in the order in which they are applied.

    Attributes:
        chooser: The method that chooses the cells after the last epoch; None if the operations' strength does.

    Raises:
        UserError: Two methods relax the choice of operations, or contradict each other in another way.
    """

    def __init__(self, config: Any, parts: Mapping[str, Method]):
        super().__init__(config)
        self.parts: Sequence[Method] = tuple(parts.values())
        for part in self.parts:
            part.whole = self
        relaxing = self._only(parts, "relax", "relax the choice of operations")
        self.base: Method = parts[relaxing] if relaxing else self.parts[0]
        self.moves_alphas = all(part.moves_alphas for part in self.parts)
        self.sparse = any(part.sparse for part in self.parts)
        self.chooser: Method | None = self._chooser(parts)
        still = [name for name, part in parts.items() if not part.moves_alphas]
        if still and (others := [name for name, part in parts.items() if overrides(part, "penalty")]):
            raise UserError(
                f"method: {some_of(others)} adds to the gradient of the alphas, which {still[0]} does not update. "
                f"Received: method={config.method}."
            )

    def _only(self, parts, hook, what):
        """Returns the name of the method that overrides a hook, if any; refuses several."""
        names = [name for name, part in parts.items() if overrides(part, hook)]
        if len(names) > 1:
            raise UserError(
                f"method: {some_of(names)} each {what} in their own way; keep one of them. "
                f"Received: method={self.config.method}."
            )
        return names[0] if names else None

    def _chooser(self, parts):
        choosing = self._only(parts, "choose", "choose the cells")
        if choosing is None:
            return None
        if "limits" in parts:
            raise UserError(
                f"min_skips, max_skips and max_parameter_free limit the choice by strength, but {choosing} chooses "
                f"in another way; leave them at 0, -1 and -1. Received: min_skips={self.config.min_skips}, "
                f"max_skips={self.config.max_skips}, max_parameter_free={self.config.max_parameter_free}."
            )
        if "cost" in parts:
            raise UserError(
                f"method: cost makes cheap operations strong, but {choosing} chooses without regard to that; keep "
                f"one of them. Received: method={self.config.method}."
            )
        if self.config.early_stop != "none":
            raise UserError(
                f"early_stop takes the cells of an earlier epoch, but {choosing} chooses them after the last one; "
                f"leave it at none. Received: early_stop={self.config.early_stop}."
            )
        return parts[choosing]

    def check(self, relaxation: Method) -> None:
        """See `Method.check`."""
        if not all(rows.all() for rows in self.masks.values()):
            if wrong := [name for name in self.config.method.split(",") if name in OF_ALL_CANDIDATES]:
                raise UserError(
                    f"method: {some_of(wrong)} chooses among all primitives on every edge. Expected candidates "
                    f"that are the same for all edges, such as all or s2. Received: method={self.config.method}."
                )
        for part in self.parts:
            part.check(relaxation)

    def variables(self, supernet: Any) -> dict[str, Any]:
        """See `Method.variables`."""
        return {name: each for part in self.parts for name, each in part.variables(supernet).items()}

    def noise(self, alphas: Alphas, seed: Any, epoch: Any) -> Any:
        """See `Method.noise`."""
        alphas = masked(alphas, self.masks)
        fold = tf.random.experimental.stateless_fold_in  # so that no two of them draw the same numbers
        return tuple(
            part.noise(alphas, fold(seed, number), epoch) if overrides(part, "noise") else ()
            for number, part in enumerate(self.parts)
        )

    def _pairs(self, noise):
        return zip(self.parts, [None] * len(self.parts) if noise is None else noise, strict=True)

    def relax(self, alphas: Alphas, noise: Any) -> dict[str, Any]:
        """See `Method.relax`."""
        drawn = next(each for part, each in self._pairs(noise) if part is self.base)
        mixing = self.base.relax(masked(alphas, self.masks), drawn)
        return dict(self.settle({cell: mixing[cell] for cell in self.cells}, noise))

    def settle(self, relaxed: Mixing, noise: Any) -> Mixing:
        """See `Method.settle`."""
        for part, drawn in self._pairs(noise):
            relaxed = part.settle(relaxed, drawn)
        return relaxed

    def adjust(self, mixing: Mixing, alphas: Alphas, noise: Any) -> Mixing:
        """See `Method.adjust`."""
        alphas = masked(alphas, self.masks)
        for part, drawn in self._pairs(noise):
            mixing = part.adjust(mixing, alphas, drawn)
        return mixing

    def training_alphas(self, alphas: Alphas, noise: Any, training: Callable[[Mixing], tuple[Any, Mixing]]) -> Alphas:
        """See `Method.training_alphas`."""
        alphas = masked(alphas, self.masks)
        for part, drawn in self._pairs(noise):
            alphas = part.training_alphas(alphas, drawn, training)
        return alphas

    def mixed_operation(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """See `Method.mixed_operation`."""
        for part in self.parts:
            usual = part.mixed_operation(usual)
        return usual

    def penalty(self, alphas: Alphas, mixing: Mixing, epoch: Any) -> Any:
        """See `Method.penalty`."""
        alphas = masked(alphas, self.masks)
        found = [part.penalty(alphas, mixing, epoch) for part in self.parts]
        found = [each for each in found if each is not None]
        return sum(found) if found else None

    def facts(self, mixing: Mixing, genotype: Any) -> Mapping[str, float]:
        """See `Method.facts`."""
        return {name: each for part in self.parts for name, each in part.facts(mixing, genotype).items()}

    def ranked(self, alphas: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """See `Method.ranked`."""
        found = self.base.ranked(masked({name: np.asarray(each) for name, each in alphas.items()}, self.masks))
        return {cell: found[cell] for cell in self.cells}

    def selection(self, usual: Callable[..., list]) -> Callable[..., list]:
        """See `Method.selection`."""
        for part in self.parts:
            usual = part.selection(usual)
        return among_candidates(usual, self.masks) if self.masks else usual


def among_candidates(usual: Callable[..., list], masks: Mapping[str, np.ndarray]) -> Callable[..., list]:
    """Returns `usual` for edges with their own candidates: others rank below all of these, even if they underflow."""

    def select(strength: np.ndarray, topology: Any, primitives: Sequence[str], cell: str = "") -> list[Any]:
        return usual(np.where(masks[cell], strength, -1), topology, primitives, cell)

    return select
