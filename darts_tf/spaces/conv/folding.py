"""Folds batch norms into the convolutions before them, for inference: `BN(conv(x, k)) = conv(x, k f) + o`."""

import keras
import numpy as np


def fold(network: keras.Model) -> keras.Model:
    """Copies a derived network without its auxiliary head and with its batch norms folded; for inference only.

    In training mode the copy differs from the original network.

    Args:
        network: A `derived.DerivedNetwork`, or another with an `auxiliary_head`, which may be None.

    Returns:
        A network of the same class. `network(images)` is the same up to rounding.
    """
    config = network.get_config()
    folded = type(network).from_config(config | {"auxiliary": False} if "auxiliary" in config else config)
    head = network.auxiliary_head
    left_out = {id(variable) for variable in head.variables} if head is not None else set()
    kept = [variable for variable in network.variables if id(variable) not in left_out]
    for theirs, ours in zip(kept, folded.variables, strict=True):
        ours.assign(theirs.value)
    fold_in_place(folded)
    return folded


def fold_in_place(layers: keras.Layer) -> None:
    """Folds the batch norms of a network or an operation, for inference only."""
    for layer in layers._flatten_layers():
        for norm, kernels in getattr(layer, "folds", {}).items():
            if (norm := getattr(layer, norm)) is not None:
                _fold(norm, [getattr(layer, kernel) for kernel in kernels])


def _fold(norm, kernels):
    factor, offset = (np.asarray(v) for v in norm.affine_map(norm.gamma.value, norm.beta.value))
    start = 0
    for kernel in kernels:
        width = kernel.shape[-1]
        kernel.assign(np.asarray(kernel) * factor[start : start + width])
        start += width
    norm.beta.assign(offset)
    norm.folded = True
