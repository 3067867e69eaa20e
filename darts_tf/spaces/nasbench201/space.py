"""The search space NAS-Bench-201."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from darts_tf.genotypes import NasBench201Genotype
from darts_tf.spaces.nasbench201.cells import Cell
from darts_tf.spaces.nasbench201.networks import NasBench201Network, NasBench201Supernet
from darts_tf.spaces.nasbench201.operations import OPERATIONS, NasBench201MixedOp
from darts_tf.spaces.space import Place, Space
from darts_tf.system.errors import UserError


class NasBench201(Space):
    """One kind of cell, whose published accuracies are known; see `Space`.

    `num_cells` counts the two residual blocks: the benchmark's networks have 17. The stem always has `init_channels`
    channels.

    Reference: Dong and Yang, NAS-Bench-201, arXiv:2001.00326.
    """

    genotype = NasBench201Genotype
    operations = OPERATIONS

    def supernet(self, config: Any, method: Any, image_shape: Sequence[int], num_classes: int) -> NasBench201Supernet:
        """Builds the supernet of a `SearchConfig`. Raises UserError for settings that are not of this space."""
        NasBench201Genotype.output_nodes(config.num_nodes, config.concat)
        keras.utils.set_random_seed(config.seed)
        return NasBench201Supernet(
            num_classes,
            image_shape,
            config.init_channels,
            config.num_cells,
            config.primitives,
            config.alpha_init,
            config.alpha_init_scale,
            method.mixed_operation(NasBench201MixedOp) if method else NasBench201MixedOp,
            config.masks,
        )

    def network(self, config: Any, image_shape: Sequence[int], num_classes: int) -> NasBench201Network:
        """Builds the derived network of a `TrainConfig`. Raises UserError for settings that are not of this space."""
        if config.auxiliary or config.drop_path:
            raise UserError(
                "The networks of NAS-Bench-201 have neither an auxiliary head nor drop path. Expected auxiliary=False "
                f"and drop_path=0. Received: auxiliary={config.auxiliary}, drop_path={config.drop_path}."
            )
        keras.utils.set_random_seed(config.seed)
        return NasBench201Network(config.genotype, num_classes, image_shape, config.init_channels, config.num_cells)

    def places(self, network: Any) -> Iterator[tuple[str, list[Place]]]:
        """See `Space.places`: the residual blocks between the cells do not count as cells."""
        size = network.image_shape[:2]
        for cell in network.cells:
            if isinstance(cell, Cell):
                place = Place(cell.operations[0].channels, 1, *size)
                yield network.genotype.kind, [place] * len(cell.operations)
            _, size = cell.macs(*size)
