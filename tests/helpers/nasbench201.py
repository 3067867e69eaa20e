"""The weights of NAS-Bench-201's networks in AutoDL-Projects, in ours: by the original's names."""

import numpy as np

from darts_tf.interop.conv import Slot
from darts_tf.spaces.nasbench201.cells import TOPOLOGY, ResidualBlock, SearchCell
from darts_tf.spaces.nasbench201.operations import NorConv

NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def slots(network):
    """Returns where each array of the original lies, by its name."""
    found = [*_conv(network.stem, "stem.0.weight", "stem.1")]
    for index, cell in enumerate(network.cells):
        prefix = f"cells.{index}."
        if isinstance(cell, ResidualBlock):
            found += block_slots(cell, prefix)
        elif isinstance(cell, SearchCell):
            for state, mixed in enumerate(cell.mixed):
                edges = TOPOLOGY.leaving(state)
                for part, (_, node) in enumerate(edges):
                    for number, operation in enumerate(mixed.operations):
                        name = f"{prefix}edges.{node}<-{state}.{number}."
                        found += operation_slots(operation, name, part, len(edges))
        else:
            for number, operation in enumerate(cell.operations):
                found += operation_slots(operation, f"{prefix}layers.{number}.")
    found += _norm(network.last_bn, "lastact.0")
    found += [Slot("classifier.weight", network.classifier, (1, 0)), Slot("classifier.bias", network.bias, (0,))]
    return {slot.name: slot for slot in found}


def operation_slots(operation, prefix="", part=0, parts=1):
    if isinstance(operation, NorConv):
        yield Slot(f"{prefix}op.1.weight", operation.conv, (2, 3, 1, 0), 3, part, parts)
        yield from _norm(operation.bn, f"{prefix}op.2", part, parts)


def block_slots(block, prefix=""):
    for name in ("conv_a", "conv_b"):
        yield from _conv(getattr(block, name), f"{prefix}{name}.op.1.weight", f"{prefix}{name}.op.2")
    yield from _conv(block.shortcut, f"{prefix}downsample.1.weight", None)


def _conv(layer, kernel, norm):
    yield Slot(kernel, layer.conv, (2, 3, 1, 0))
    if layer.bn is not None:
        yield from _norm(layer.bn, norm)


def _norm(norm, prefix, part=0, parts=1):
    for attribute, theirs in NORM.items():
        if (variable := getattr(norm, attribute)) is not None:
            yield Slot(f"{prefix}.{theirs}", variable, (0,), 0, part, parts)


def unbiased(arrays):
    """Returns the original's arrays without the biases in front of batch norms: these go into the moving means."""
    arrays = {name: np.array(array, np.float64) for name, array in arrays.items()}
    for name in [name for name in arrays if name.endswith("op.1.bias")]:
        bias = arrays.pop(name)
        if (mean := name.replace("op.1.bias", "op.2.running_mean")) in arrays:
            arrays[mean] = arrays[mean] - bias
    return arrays


def load(places, arrays):
    """Puts arrays, named as in the original and `unbiased`, where `slots` says."""
    assert places.keys() == arrays.keys(), sorted(places.keys() ^ arrays.keys())
    new = {id(slot.variable): (slot.variable, slot.variable.numpy().copy()) for slot in places.values()}
    for name, slot in places.items():
        slot.write(new[id(slot.variable)][1], arrays[name])
    for variable, array in new.values():
        variable.assign(array)


def named(places, values):
    """Returns `[(variable, array)]` under the original's names; what it lacks is left out."""
    given = {id(variable): np.asarray(array) for variable, array in values}
    return {name: slot.read(given[id(slot.variable)]) for name, slot in places.items() if id(slot.variable) in given}
