"""The peak memory of a traced function's tensors in bytes, by simulating its graph.

Nodes run in the order of creation, which is close to the executor's; a tensor lives from the node that creates it to
the last node that reads it; called functions and loops are simulated in the same way.
"""

import math
from collections.abc import Hashable

import tensorflow as tf

# The result shares the first operand's memory.
_VIEWS = {"Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient"}
_VIEWS |= {"TensorListFromTensor", "TensorListGetItem", "TensorListPopBack"}
_VIEWS |= {"OptionalFromValue", "OptionalGetValue"}  # what one branch keeps for its gradient, and the other lacks
# The result overwrites an operand that has no other reader.
_IN_PLACE = {"Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Maximum", "Neg", "Square", "Select", "SelectV2"}
_IN_PLACE |= {"Relu", "ReluGrad", "Sigmoid", "SigmoidGrad", "Tanh", "TanhGrad", "BiasAdd", "Exp", "Rsqrt"}
_CALLS = {"PartitionedCall": "f", "StatefulPartitionedCall": "f"}
_LOOPS = {"While": "body", "StatelessWhile": "body"}
_BRANCHES = {"If", "StatelessIf"}


class _Buffer:
    """Memory of one tensor, or of several that are views of one another.

    Attributes:
        size: Size in bytes.
        readers: Number of nodes that still have to read it.
        foreign: Whether it belongs to a caller, where its bytes are counted.
    """

    def __init__(self, size: int = 0, foreign: bool = False):
        self.size, self.readers, self.foreign = size, 0, foreign


class Liveness:
    """Simulates a graph.

    Args:
        length: Assumed value of unknown sizes and of a loop's number of iterations: the length of a text window.

    Attributes:
        nodes: Nodes of all functions, each counted once.
    """

    def __init__(self, length: int = 1):
        self.length, self.nodes = length, 0
        self._seen: set[tf.Graph] = set()

    def peak(self, concrete: tf.types.experimental.ConcreteFunction) -> int:
        """Returns the most bytes alive at once in a concrete function, without variables and arguments."""
        graph = concrete.graph
        given = [(_Buffer(_size(tensor, self.length), foreign=True), self.length) for tensor in graph.inputs]
        return self._run(graph, given)[0]

    def _run(self, graph, given):
        """Returns `(peak, results)` of a function; arguments and results are pairs of a buffer and an unknown size."""
        if graph not in self._seen:
            self._seen.add(graph)
            self.nodes += len(graph.get_operations())
        needed, readers = _readers(graph)
        found = {_key(tensor): pair for tensor, pair in zip(graph.inputs, given, strict=True)}
        live = peak = 0
        for op in _ordered(graph, needed):
            if op.outputs and _key(op.outputs[0]) in found:  # an argument
                continue
            inputs = [found[_key(t)] for t in op.inputs]
            inner, results = self._results(graph, op, inputs)
            peak = max(peak, live + inner)
            for tensor, (buffer, size) in zip(op.outputs, results, strict=True):
                if not buffer.readers and not buffer.foreign:
                    live += buffer.size
                buffer.readers += readers.get(_key(tensor), 0) or 1  # an unread one is released below
                found[_key(tensor)] = buffer, size
            peak = max(peak, live)
            done = [buffer for buffer, _ in inputs]
            done += [found[_key(t)][0] for t in op.outputs if not readers.get(_key(t))]
            for buffer in done:
                buffer.readers -= 1
                if not buffer.readers and not buffer.foreign:
                    live -= buffer.size
        return peak, [found[_key(tensor)] for tensor in graph.outputs]

    def _results(self, graph, op, inputs):
        if op.type in _CALLS:
            return self._call(graph, op, _CALLS[op.type], inputs)
        if op.type in _BRANCHES:
            return self._branches(graph, op, inputs[1:])
        if op.type in _LOOPS:
            return self._loop(graph, op, inputs)
        known = [size for tensor, (_, size) in zip(op.inputs, inputs, strict=True) if _unknown(tensor)]
        length = max(known, default=self.length)
        if op.type in _VIEWS:
            pairs = [inputs[min(i, len(inputs) - 1) if op.type == "IdentityN" else 0] for i in range(len(op.outputs))]
            return 0, [(pair[0], _length(t, pair[0].size, pair[1])) for pair, t in zip(pairs, op.outputs, strict=True)]
        if op.type in ("TensorListPushBack", "TensorListSetItem"):
            element = inputs[1 if op.type == "TensorListPushBack" else 2][0]
            return 0, [(_Buffer(0 if element.foreign else element.size), length)]
        sizes = [0 if op.type == "Const" else _size(tensor, length) for tensor in op.outputs]
        buffers = [_Buffer(size) for size in sizes]
        if op.type in _IN_PLACE:
            reused = (b for b, _ in inputs if b.readers == 1 and not b.foreign and b.size >= sizes[0] > 0)
            buffers[0] = next(reused, buffers[0])
        return 0, [(buffer, length) for buffer in buffers]

    def _call(self, graph, op, attribute, inputs):
        function = graph._get_function(op.get_attr(attribute).name)  # not part of TensorFlow's public interface
        given = [(_Buffer(b.size, foreign=True), size) for b, size in inputs]
        peak, results = self._run(function.graph, given)
        owners = {id(inner): outer for (inner, _), (outer, _) in zip(given, inputs, strict=True)}
        return peak, [(owners.get(id(buffer)) or _Buffer(buffer.size), size) for buffer, size in results]

    def _branches(self, graph, op, inputs):
        """Simulates both branches; which of them runs is not known, so the larger values count."""
        one, other = (self._call(graph, op, name, inputs) for name in ("then_branch", "else_branch"))
        larger = [max(pair, key=lambda result: result[0].size) for pair in zip(one[1], other[1], strict=True)]
        return max(one[0], other[0]), larger

    def _loop(self, graph, op, inputs):
        """Simulates a loop: it holds its results and, in lists, what every iteration adds; all iterations are alike."""
        body = graph._get_function(op.get_attr(_LOOPS[op.type]).name).graph
        given = [(_Buffer(b.size, foreign=True), size) for b, size in inputs]
        peak, results = self._run(body, given)
        found = []
        for (before, size), (after, _), (outer, _), tensor in zip(given, results, inputs, op.outputs, strict=True):
            if after is before:  # the same in every iteration
                found.append((outer, size))
            elif tensor.dtype == tf.variant:
                found.append((_Buffer(after.size * self.length), self.length))
            else:
                found.append((_Buffer(_size(tensor, size)), size))
        return peak, found


def _readers(graph):
    """Returns the nodes that a function's results need, and how many of them read each tensor, by its id."""
    waiting = [t.op for t in graph.outputs] + list(graph.control_outputs)
    needed: set[tf.Operation] = set()
    readers: dict[Hashable, int] = {}
    for tensor in graph.outputs:
        readers[_key(tensor)] = readers.get(_key(tensor), 0) + 1
    while waiting:
        op = waiting.pop()
        if op in needed:
            continue
        needed.add(op)
        waiting += [t.op for t in op.inputs] + list(op.control_inputs)
        for tensor in op.inputs:
            readers[_key(tensor)] = readers.get(_key(tensor), 0) + 1
    return needed, readers


def _ordered(graph, needed):
    """Returns nodes in the order of creation, but none before its inputs, as happens with rebuilt loops."""
    order, done = [], set()
    for first in graph.get_operations():
        waiting = [first] if first in needed else []
        while waiting:
            op = waiting[-1]
            before = [] if op in done else [other for t in op.inputs if (other := t.op) not in done]
            if before:
                waiting += before
                continue
            waiting.pop()
            if op not in done:
                done.add(op)
                order.append(op)
    return order


def _key(tensor):
    return tensor.op, tensor.value_index


def _unknown(tensor: tf.Tensor) -> bool:
    return tensor.shape.rank is not None and not tensor.shape.is_fully_defined()


def _size(tensor: tf.Tensor, length: int) -> int:
    """Returns a tensor's size in bytes, with unknown dimensions set to `length`; 0 for lists and variable handles."""
    if tensor.dtype in (tf.variant, tf.resource, tf.string) or tensor.shape.rank is None:
        return 0
    return tensor.dtype.size * math.prod(length if size is None else size for size in tensor.shape)


def _length(tensor: tf.Tensor, size: int, otherwise: int) -> int:
    """Returns the unknown size of a view of `size` bytes."""
    if not _unknown(tensor) or tensor.shape.as_list().count(None) != 1 or not size:
        return otherwise
    return max(1, size // max(1, _size(tensor, 1)))
