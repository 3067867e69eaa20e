"""Loads weights of the original PyTorch networks into ours, and returns ours under the original's names.

The original keeps one array for each edge and operation; here the kernels of all edges that leave a node are
concatenated.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from darts_tf.system.keras_settings import keras
from darts_tf.interop import recurrent as interop_recurrent
from darts_tf.interop import state_dicts
from darts_tf.interop.slot import Slot
from darts_tf.spaces.conv import norm
from darts_tf.spaces.conv import operations as ops
from darts_tf.spaces.conv.cells import MixedOp, SearchCell
from darts_tf.spaces.conv.derived import DerivedNetwork, ImageNetNetwork
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.nasbench201.operations import NorConv
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.types import Path, Variable

# Attribute of the operation -> its name in the original; norms have no axis order.
_KERNELS = {
    ops.SepConv: {
        "depthwise_1": "op.1.weight",
        "pointwise_1": "op.2.weight",
        "bn_1": "op.3",
        "depthwise_2": "op.5.weight",
        "pointwise_2": "op.6.weight",
        "bn_2": "op.7",
    },
    ops.DilConv: {"depthwise": "op.1.weight", "pointwise": "op.2.weight", "bn": "op.3"},
    ops.FactorizedReduce: {"conv_1": "conv_1.weight", "conv_2": "conv_2.weight", "bn": "bn"},
    ops.ReLUConvBN: {"conv": "op.1.weight", "bn": "op.2"},
    NorConv: {"conv": "op.1.weight", "bn": "op.2"},
    ops.Pool: {"bn": "1"},
    ops.Conv7x1: {"conv_1x7": "1.weight", "conv_7x1": "2.weight", "bn": "3"},
}
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def _operation_slots(operation, prefixes):
    names = next((names for kind, names in _KERNELS.items() if isinstance(operation, kind)), {})
    for attribute, theirs in names.items():
        value = getattr(operation, attribute)
        for part, prefix in enumerate(prefixes):
            if value is None:
                continue
            if isinstance(value, norm.BatchNorm):
                yield from _norm_slots(value, prefix + theirs, part, len(prefixes))
            elif "depthwise" in attribute:
                yield Slot(prefix + theirs, value, (2, 3, 0, 1), 2, part, len(prefixes))
            else:
                yield Slot(prefix + theirs, value, (2, 3, 1, 0), 3, part, len(prefixes))


def _norm_slots(norm, prefix, part=0, parts=1):
    for attribute, theirs in _NORM.items():
        if getattr(norm, attribute) is not None:
            yield Slot(f"{prefix}.{theirs}", getattr(norm, attribute), (0,), 0, part, parts)


def _mixed_slots(mixed, prefixes):
    """The original numbers the operations of each edge; `having` says which edges have an operation, if they differ."""
    counts = [0] * len(prefixes)
    for operation, own in zip(mixed.operations, mixed.having, strict=True):
        if operation is not None:
            yield from _operation_slots(operation, [f"{prefixes[edge]}_ops.{counts[edge]}." for edge in own])
        for edge in own:
            counts[edge] += 1


def _cell_slots(cell, prefix):
    yield from _operation_slots(cell.preprocess0, [f"{prefix}preprocess0."])
    yield from _operation_slots(cell.preprocess1, [f"{prefix}preprocess1."])
    if isinstance(cell, SearchCell):
        for state, mixed in enumerate(cell.mixed):
            yield from _mixed_slots(mixed, [f"{prefix}_ops.{row}." for row, _ in cell.topology.leaving(state)])
    else:
        for number, operation in enumerate(cell.operations):
            yield from _operation_slots(operation, [f"{prefix}_ops.{number}."])


def _conv_slots(conv, kernel, norm):
    yield Slot(kernel, conv.conv, (2, 3, 1, 0))
    if conv.bn is not None:
        yield from _norm_slots(conv.bn, norm)


def _linear_slots(layer, prefix):
    yield Slot(f"{prefix}.weight", layer.classifier, (1, 0))
    yield Slot(f"{prefix}.bias", layer.bias, (0,))


def _network_slots(network):
    if isinstance(network, ConvSupernet):
        yield Slot("stem.0.weight", network.stem, (2, 3, 1, 0))
        yield from _norm_slots(network.stem_bn, "stem.1")
    elif isinstance(network, ImageNetNetwork):
        yield from _conv_slots(network.stem0_1, "stem0.0.weight", "stem0.1")
        yield from _conv_slots(network.stem0_2, "stem0.3.weight", "stem0.4")
        yield from _conv_slots(network.stem1, "stem1.1.weight", "stem1.2")
    else:
        yield from _conv_slots(network.stem, "stem.0.weight", "stem.1")
    for index, cell in enumerate(network.cells):
        yield from _cell_slots(cell, f"cells.{index}.")
    if (head := getattr(network, "auxiliary_head", None)) is not None:
        yield from _conv_slots(head.conv_1, "auxiliary_head.features.2.weight", "auxiliary_head.features.3")
        yield from _conv_slots(head.conv_2, "auxiliary_head.features.5.weight", "auxiliary_head.features.6")
        yield from _linear_slots(head, "auxiliary_head.classifier")
    if network.classifier is not None:
        yield from _linear_slots(network, "classifier")


def slots(layer: keras.layers.Layer) -> dict[str, Slot]:
    """Returns the location of each array of the original, by its name in the original's state dict.

    Args:
        layer: A `ConvSupernet`, `SearchCell`, `MixedOp`, `Operation` (with one edge), `CifarNetwork`,
            `ImageNetNetwork`, `RecurrentSupernet` or `RecurrentNetwork`.

    Source: the names of `state_dict()` in `cnn/model_search.py` and `cnn/model.py`; `interop_recurrent`.

    Example:
        >>> import darts_tf
        >>> network = darts_tf.build("DARTS_V2", (8, 8, 3), 2, channels=4, cells=3)
        >>> darts_tf.interop.slots(network)["stem.0.weight"].shape
        (12, 3, 3, 3)
    """
    found: Iterable[Slot]
    if isinstance(layer, ConvSupernet | DerivedNetwork):
        found = _network_slots(layer)
    elif isinstance(layer, interop_recurrent.NETWORKS):
        found = interop_recurrent.slots(layer)
    elif isinstance(layer, SearchCell):
        found = _cell_slots(layer, "")
    elif isinstance(layer, MixedOp):
        found = _mixed_slots(layer, [""])
    else:
        found = _operation_slots(layer, [""])
    return {slot.name: slot for slot in found}


def to_arrays(layer: keras.layers.Layer, values: Iterable[tuple[Variable, Any]] | None = None) -> dict[str, np.ndarray]:
    """Returns weights and moving statistics (or anything shaped like them) under the original's names.

    Args:
        layer: See `slots`.
        values: `[(variable, array)]`, such as gradients; missing variables are left out. None for the variables' own
            values.

    Returns:
        Arrays in the original's layout.

    Example:
        >>> import darts_tf
        >>> network = darts_tf.build("DARTS_V2", (8, 8, 3), 2, channels=4, cells=3)
        >>> darts_tf.interop.to_arrays(network)["classifier.weight"].shape
        (2, 64)
    """
    given = None if values is None else {id(variable): array for variable, array in values}
    arrays = {}
    for name, slot in slots(layer).items():
        if given is None:
            arrays[name] = slot.read(slot.variable)
        elif id(slot.variable) in given:
            arrays[name] = slot.read(given[id(slot.variable)])
    return arrays


def load_arrays(layer: keras.layers.Layer, arrays: Any) -> None:
    """Loads arrays with the original's names and shapes into a layer; nothing is written unless all of them fit.

    Args:
        layer: See `slots`.
        arrays: Name -> array, or a checkpoint that holds them; wrappers' prefixes are removed from the names, see
            `state_dicts`. `num_batches_tracked`, a counter of later PyTorch, is ignored. A supernet also takes
            `alphas_normal` and `alphas_reduce`, a recurrent one `alphas`, which the original leaves out of its state
            dict.

    Raises:
        UserError: Arrays are missing, surplus or have another shape; the message names a few of each.

    Example:
        >>> import darts_tf
        >>> one, other = (darts_tf.build("DARTS_V2", (8, 8, 3), 2, channels=4, cells=3) for _ in "ab")
        >>> darts_tf.interop.load_arrays(other, darts_tf.interop.to_arrays(one))
        >>> bool((one.bias == other.bias).numpy().all())
        True
    """
    wanted = slots(layer)
    alphas = {v.name: Slot(v.name, v, (0, 1)) for v in getattr(layer, "arch_variables", ())}
    arrays = state_dicts.unwrapped(state_dicts.unnested(arrays), wanted, alphas)
    if isinstance(layer, interop_recurrent.NETWORKS):
        arrays = interop_recurrent.untied(arrays)
    every = wanted | {name: slot for name, slot in alphas.items() if name in arrays}
    problems, unfit = [], []
    if missing := [name for name in wanted if name not in arrays]:
        problems.append(f"missing: {some_of(missing)}")
    if surplus := [name for name in arrays if name not in every]:
        problems.append(f"unexpected: {some_of(surplus)}")
    for name, slot in every.items():
        if name in arrays and arrays[name].shape != slot.shape:
            unfit.append(f"{name} has shape {arrays[name].shape}, expected {slot.shape}")
        elif name in arrays and not np.issubdtype(arrays[name].dtype, np.number):
            unfit.append(f"{name} has dtype {arrays[name].dtype}, expected numbers")
    if unfit:
        problems.append(some_of(unfit, separator="; "))
    if problems:
        raise UserError(
            f"The arrays do not fit the network (check its sizes, cells and primitives): {'; '.join(problems)}."
        )
    new = {}
    for name, slot in every.items():
        key = id(slot.variable)
        if key not in new:
            new[key] = (slot.variable, np.asarray(slot.variable).copy())
        slot.write(new[key][1], arrays[name])
    for variable, array in new.values():
        variable.assign(array)


def load(layer: keras.layers.Layer, path: Path) -> None:
    """Loads a file of the original's weights into a layer, see `state_dicts.read` and `load_arrays`.

    Example:
        >>> import darts_tf, numpy
        >>> network = darts_tf.build("DARTS_V2", (8, 8, 3), 2, channels=4, cells=3)
        >>> numpy.savez("weights.npz", **darts_tf.interop.to_arrays(network))
        >>> darts_tf.interop.load(network, "weights.npz")
    """
    load_arrays(layer, state_dicts.read(path))
