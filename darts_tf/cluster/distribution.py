"""Several devices, on one or several machines, that share a batch; the only file that uses `tf.distribute` classes.

Every derivative is a pure function of weights, alphas and a batch, and a mean over examples. So each device, a replica,
takes an equal part of the batch, and the mean over replicas is that of the whole batch: the weight gradient before the
virtual step, the vector before the probes, the alphas' gradient. Batch norms are synchronised within the pass.
Clipping, virtual step, optimisers and moving statistics follow on one device, from means that are the same for all; a
process has one copy of every variable, so no replica can drift.
"""

import functools
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from darts_tf.cluster import rendezvous
from darts_tf.config import Run
from darts_tf.passes.accumulation import split
from darts_tf.passes.context import within
from darts_tf.system import runtime, streams
from darts_tf.system.errors import UserError
from darts_tf.system.signals import at_once

GROUP = 1806_0905  # group of our collectives, separate from those that a strategy creates itself


class Distribution:
    """The devices of a run, and the agreement between its processes.

    Args:
        strategy: A `tf.distribute.Strategy`.
        worker: Index of this process, from 0; process 0, the chief, writes the run's files and decides.
        workers: Number of processes.

    Attributes:
        replicas: Number of devices that share a batch.
    """

    def __init__(self, strategy: tf.distribute.Strategy, worker: int = 0, workers: int = 1):
        self.strategy, self.worker, self.workers = strategy, worker, workers
        self.replicas = strategy.num_replicas_in_sync
        self._sum = tf.function(self._summed, autograph=False, reduce_retracing=True)

    def replication(self, batch: Any, outputs: Any) -> "Replication":
        """Returns an object that distributes a pass over the replicas; see `Replication`."""
        return Replication(self.strategy, batch, outputs)

    def agree(self, stop: bool, save: bool, steps: int) -> tuple[bool, bool, int]:
        """Returns the same values in all processes: whether any of them stops, and the chief's other two values."""
        found = self._total([float(stop), *((float(save), float(steps)) if self.worker == 0 else (0.0, 0.0))])
        return bool(found[0]), bool(found[1]), int(found[2])

    def share(self, data: bytes) -> bytes:
        """Returns the chief's bytes; those of other processes are ignored."""
        mine = np.frombuffer(data, np.uint8) if self.worker == 0 else np.zeros(0, np.uint8)
        # Two numbers for the length, since float32 only counts to 2^24.
        high, low = (int(part) for part in self._total(divmod(len(mine), 2**20)))
        whole = np.zeros(high * 2**20 + low, np.float32)
        whole[: len(mine)] = mine
        return self._total(whole).astype(np.uint8).tobytes()

    def lost(self, error: Exception, kept: str) -> UserError:
        """Returns the error that reports that another process is no longer reachable.

        Args:
            error: TensorFlow's error.
            kept: The state from which the run resumes.
        """
        told = [line.strip() for line in str(error).splitlines() if "rror" in line and "Graph execution" not in line]
        return UserError(
            f"Worker {self.worker} of {self.workers} has lost the others: one of them has died or cannot be reached "
            f"({type(error).__name__}{': ' if told else ''}{told[-1][:200] if told else ''}). {kept}; the same command "
            "on all machines resumes from there."
        )

    def _total(self, numbers: Any) -> np.ndarray:
        return self._sum(tf.constant(numbers, tf.float32)).numpy()

    def _summed(self, numbers):
        def replica():
            context = tf.distribute.get_replica_context()
            first = int(tf.get_static_value(context.replica_id_in_sync_group)) % (self.replicas // self.workers) == 0
            return context.all_reduce("SUM", tf.identity(numbers) if first else tf.zeros_like(numbers))

        return self.strategy.experimental_local_results(self.strategy.run(replica))[0]


def peers(distribution: Distribution | None) -> Distribution | None:
    """Returns the distribution if it has other processes, with which this one must agree; otherwise None."""
    return None if distribution is None or distribution.workers == 1 else distribution


def same(distribution: Distribution | None, numbers: dict[str, Any]) -> dict[str, Any]:
    """Returns the chief's numbers: a GPU may round differently in each process, and decisions depend on them."""
    others = peers(distribution)
    return numbers if others is None else json.loads(others.share(json.dumps(numbers).encode()))


def of(config: Run) -> Distribution | None:
    """Returns the devices of a `config.Run`; None for one device, TensorFlow's default.

    Raises:
        UserError: There are fewer devices, the batch cannot be split over them, or this is not a cluster.
    """
    if config.strategy == "none":
        return None
    found = _opened(config.strategy, config.replicas)
    if config.batch_size % (config.accumulate * found.replicas):
        raise UserError(
            f"The batch cannot be split evenly: expected batch_size to be a multiple of {found.replicas} replicas"
            + (f" times accumulate={config.accumulate}" if config.accumulate > 1 else "")
            + f". Received: batch_size={config.batch_size}. Use another batch_size."
        )
    return found


@functools.cache  # a process can join a cluster only once
def _opened(kind, count):
    if kind == "multi_worker":
        worker, addresses = runtime.cluster()
        rendezvous.wait(worker, addresses, streams.out)
        with runtime.quiet_stderr(), at_once():
            try:
                strategy = tf.distribute.MultiWorkerMirroredStrategy()
            except (RuntimeError, ValueError, tf.errors.OpError) as error:
                reason = " ".join(str(error).split("\n")[0].split())[:300]
                raise UserError(
                    f"The cluster cannot be joined: {reason}. Expected {len(addresses)} processes that reach one "
                    "another at the addresses in TF_CONFIG, none of which has used TensorFlow before."
                ) from error
        return Distribution(strategy, worker, len(addresses))
    gpus, devices = tf.config.list_logical_devices("GPU"), tf.config.list_logical_devices("CPU")
    devices = gpus or devices
    if count > len(devices):
        raise UserError(
            f"There are not enough devices: expected replicas to be at most {len(devices)}. Received: replicas={count}."
        )
    chosen = [each.name for each in devices[: count or None]]
    return Distribution(tf.distribute.MirroredStrategy(chosen))


class Replication:
    """Splits a batch over the replicas of a strategy; the counterpart of `accumulation.Accumulation`.

    The pass is traced once, whatever the number of replicas, and called on each device. Its collective operations have
    fixed keys, so a call must not begin before the previous one has ended.

    Args:
        strategy: A `tf.distribute.Strategy`.
        batch: Axes of the batch, see `accumulation.split`.
        outputs: Axes of a pass's per-example outputs; None for a mean over them.
    """

    def __init__(self, strategy: tf.distribute.Strategy, batch: Any, outputs: Any):
        self.strategy, self.batch, self.outputs = strategy, batch, outputs
        self.count = strategy.num_replicas_in_sync
        self._hint = "nccl" if "GPU" in strategy.extended.worker_devices[0] else "ring"
        self._last: list[tf.Tensor] = []

    def over(self, function: Callable) -> Callable:
        """Returns `function`, see `Accumulation.over`, for a whole batch; for use inside a `tf.function`."""

        # Not inlined: the loops and the collectives of all replicas must keep the same names.
        @tf.function(autograph=False, experimental_attributes={"_noinline": True})
        def replica(rank, common, part):
            with within(replicas=self.count, mean=self._means):
                means, outputs = function(common, part)
            axes = [
                *[None] * len(tf.nest.flatten(means)),
                *tf.nest.flatten(self.outputs if tf.nest.flatten(outputs) else ()),
            ]
            return self._shared(rank, (means, outputs), axes)

        def whole(common, batch):
            parts = split(batch, self.batch, self.count)
            concrete = replica.get_concrete_function(tf.constant(0), common, parts[0])
            concrete.add_to_graph(_graph())

            def call():
                rank = int(tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group))
                arguments = tf.nest.flatten((tf.constant(rank), common, parts[rank]))
                # Stateless, although it holds collectives: stateful calls would wait for one another forever.
                return tf.raw_ops.PartitionedCall(
                    args=[a for a in arguments if a is not None] + concrete.captured_inputs,
                    Tout=[output.dtype for output in concrete.outputs],
                    f=concrete.name,
                )

            with tf.control_dependencies(self._of_this_graph(self._last)):
                results = [self.strategy.experimental_local_results(each) for each in self.strategy.run(call)]
            self._last = list(itertools.chain(*results))
            with tf.control_dependencies(self._last):  # otherwise the others, whose results are not read, would not run
                found = iter([tf.identity(each[0]) for each in results])
            structure = concrete.structured_outputs
            leaves = [None if leaf is None else next(found) for leaf in tf.nest.flatten(structure)]
            return tf.nest.pack_sequence_as(structure, leaves)

        return whole

    def _shared(self, rank, results, axes):
        """Combines replicas' results into those of the whole batch, with one collective operation.

        Args:
            rank: Index of this replica, a scalar tensor.
            results: A structure of tensors.
            axes: For each of its leaves the axis of examples, None for a mean over examples.
        """
        leaves = tf.nest.flatten(results)
        mine = tf.one_hot(rank, self.count, float(self.count))  # a sum over replicas from their mean
        placed = [
            tf.tensordot(tf.cast(mine, leaf.dtype), leaf, 0) if axis is not None and leaf is not None else leaf
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        found = iter(self._means([leaf for leaf in placed if leaf is not None]))

        def joined(leaf, axis):
            whole = next(found)
            return whole if axis is None else tf.concat(tf.unstack(whole), axis)

        whole = [None if leaf is None else joined(leaf, axis) for leaf, axis in zip(leaves, axes, strict=True)]
        return tf.nest.pack_sequence_as(results, whole)

    def _means(self, tensors):
        """Returns tensors' means over the replicas, with one collective operation."""
        sizes = [math.prod(t.shape) if t.shape.is_fully_defined() else tf.size(t) for t in tensors]
        vector = self._mean(tf.concat([tf.reshape(t, (-1,)) for t in tensors], 0))
        parts = zip(tf.split(vector, sizes), tensors, strict=True)
        return [tf.reshape(p, t.shape if t.shape.is_fully_defined() else tf.shape(t)) for p, t in parts]

    def _mean(self, vector):
        # The gradient of a mean over replicas, summed over replicas like all gradients, is again a mean.
        @tf.custom_gradient
        def mean(vector):
            return self._collective(vector), self._mean

        return mean(vector)

    def _collective(self, vector):
        """Adds the operation to the graph, after the previous one: all replicas run them in the same order."""
        with tf.control_dependencies(self._of_this_graph(self._last)):
            result = tf.raw_ops.CollectiveReduce(
                input=vector,
                group_size=self.count,
                group_key=GROUP,
                instance_key=next(_keys),
                merge_op="Add",
                final_op="Div",
                subdiv_offsets=[0],
                communication_hint=self._hint,
            )
        self._last = [result]
        return result

    @staticmethod
    def _of_this_graph(tensors):
        return [tensor for tensor in tensors if tensor.graph is _graph()]


_keys = itertools.count(1)


def _graph():
    return tf.compat.v1.get_default_graph()
