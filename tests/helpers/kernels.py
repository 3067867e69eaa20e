"""Which operations of a graph have no kernel for a GPU, by TensorFlow's registry: no GPU is needed to ask.

The registry of a wheel that was built with CUDA lists the kernels of GPUs on every machine.
"""

import functools

import tensorflow as tf
from tensorflow.python.framework import kernels

_PLACEHOLDERS = {"Placeholder", "NoOp"}  # of a function's arguments and of its control flow


def available():
    """Whether the registry knows the kernels of GPUs."""
    return tf.test.is_built_with_cuda()


@functools.cache
def _of_a_gpu(operation):
    """The kernels of an operation that a GPU has."""
    registered = kernels.get_registered_kernels_for_op(operation).kernel
    return [kernel for kernel in registered if kernel.device_type in ("GPU", "DEFAULT")]


def _fits(kernel, attributes, as_type):
    """Whether a kernel takes a node's types."""
    for constraint in kernel.constraint:
        allowed = set(constraint.allowed_values.list.type)
        value = attributes.get(constraint.name)
        if value is None:
            continue
        types = value.list.type if value.WhichOneof("value") == "list" else [value.type]
        if allowed and not {as_type.get(each, each) for each in types} <= allowed:
            return False
    return True


def missing_on_a_gpu(concrete, as_type=None):
    """Returns the operations, with their types, that would run on the CPU of a machine with a GPU.

    Args:
        concrete: A concrete function; those that it calls are looked into.
        as_type: Types to take for others, such as `{tf.float64: tf.float32}`, for a graph of the same operations.
    """
    as_type = {one.as_datatype_enum: other.as_datatype_enum for one, other in (as_type or {}).items()}
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    functions, found, seen = {function.signature.name for function in graph.library.function}, set(), {}
    for node in nodes:
        if node.op in _PLACEHOLDERS or node.op in functions:
            continue
        types = {
            name: [as_type.get(each, each) for each in (value.list.type or [value.type])]
            for name, value in node.attr.items()
            if value.WhichOneof("value") == "type" or value.list.type
        }
        key = node.op, str(types)
        if key not in seen:
            seen[key] = any(_fits(kernel, node.attr, as_type) for kernel in _of_a_gpu(node.op))
        if not seen[key]:
            names = {name: [tf.as_dtype(each).name for each in each_of] for name, each_of in types.items()}
            found.add((node.op, str(names)))
    return sorted(found)


def assert_kernels(concrete, as_type=None):
    """Asserts, where the registry says it, that nothing is missing; see `missing_on_a_gpu`."""
    if available():
        assert missing_on_a_gpu(concrete, as_type) == []
