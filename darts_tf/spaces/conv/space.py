"""The search space of the paper's convolutional cells."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from darts_tf.genotypes import ConvGenotype
from darts_tf.spaces.conv.cells import cell_kind
from darts_tf.spaces.conv.derived import CifarNetwork, DerivedNetwork, ImageNetNetwork
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.spaces.space import Place, Space

NETWORKS = {"cifar": CifarNetwork, "imagenet": ImageNetNetwork}


class Conv(Space):
    """Normal and reduction cells of image networks, see `Space`."""

    genotype = ConvGenotype
    operations = OPERATIONS

    def supernet(self, config: Any, method: Any, image_shape: Sequence[int], num_classes: int) -> ConvSupernet:
        """Builds the supernet of a `SearchConfig`."""
        add_operations(config.operations_file)
        keras.utils.set_random_seed(config.seed)
        return ConvSupernet(
            num_classes,
            image_shape,
            config.init_channels,
            config.num_cells,
            config.num_nodes,
            config.concat,
            config.stem_multiplier,
            config.primitives,
            config.alpha_init,
            config.alpha_init_scale,
            method.mixed_operation(MixedOp) if method else MixedOp,
            config.masks,
        )

    def network(self, config: Any, image_shape: Sequence[int], num_classes: int) -> DerivedNetwork:
        """Builds the derived network of a `TrainConfig`."""
        add_operations(config.operations_file)
        keras.utils.set_random_seed(config.seed)
        return NETWORKS[config.network](
            config.genotype, num_classes, image_shape, config.init_channels, config.num_cells, config.auxiliary
        )

    def places(self, network: Any) -> Iterator[tuple[str, list[Place]]]:
        """See `Space.places`: the edges from a reduction cell's inputs have stride 2."""
        _, size = network.stem_macs()
        for cell in network.cells:
            kind, (_, out) = cell_kind(cell.reduction), cell.macs(*size)
            strided, plain = Place(cell.channels, 2, *size), Place(cell.channels, 1, *out)
            edges, inputs = cell.topology.edges, cell.topology.num_inputs
            yield kind, [strided if cell.reduction and source < inputs else plain for source, _ in edges]
            size = out
