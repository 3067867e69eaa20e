"""The search spaces, one folder each: operations, supernet, derived networks. Add your own with `add`."""

from darts_tf import genotypes
from darts_tf.spaces.conv.space import Conv
from darts_tf.spaces.nasbench201.space import NasBench201
from darts_tf.spaces.recurrent.space import Recurrent
from darts_tf.spaces.space import Space
from darts_tf.system.errors import UserError

SPACES: dict[str, Space] = {each.genotype.kind: each for each in (Conv(), Recurrent(), NasBench201())}
"""Kind of genotype -> search space."""


def add(space: Space) -> None:
    """Adds a search space, which settings then refer to by the kind of its genotypes."""
    SPACES[space.genotype.kind] = space
    genotypes.KINDS[space.genotype.kind] = space.genotype


def get(name: str) -> Space:
    """Returns the search space with a name. Raises UserError if there is none."""
    if name not in SPACES:
        raise UserError(
            f"space must be one of {', '.join(SPACES)}, or one added by `darts_tf.spaces.add`. Received: space={name}."
        )
    return SPACES[name]
