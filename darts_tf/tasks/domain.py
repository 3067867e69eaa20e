"""What a domain is, images or language: the protocol. Search and training are written once, over it."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self

import tensorflow as tf

from darts_tf.spaces.space import Space
from darts_tf.tasks.evaluators import Evaluators

TRAIN, VALID = 0, 1  # the streams of a run's seed


def seeds(seed: int, number: Any) -> tuple:
    """Returns a seed for each stream of a step, `(2,)` integers each; `number` is that of the step."""
    return tuple(tf.stack([tf.constant(2 * seed + stream, tf.int64), number]) for stream in (TRAIN, VALID))


class Domain(Protocol):
    """The data of one run, how a step reads them and what it carries over, and how a result is measured.

    There are two of each domain: of a search, whose data are in two parts, and of a training.

    Args:
        config: The settings of the run.
        data: What Python code hands over, if `config.dataset` is "memory".

    Attributes:
        config: The settings of the run.
        space: The search space of its cells.
        sizes: What networks have to know of the data, see `Space.supernet`.
        epoch_steps: Steps of each epoch.
        longest: Steps in time of the longest batch, for the estimate of memory; 1 for images.
        splits: Parts of the data whose reading may fail in the middle of a run, see `data.reading`.
        held_out: What is measured after an epoch, in words: "validation" where networks are selected by it.
        batch_axes: Where examples lie in `(inputs, labels)`, see `accumulation.split`.
        output_axes: The same for what `measure` returns.
        reported: Names of the numbers that `report` returns.
        virtual_step: Arguments of `architect.VirtualStep`.
        carried: Variables that are carried from batch to batch: of training data, then of validation data.
        figure: What epochs are compared by, of those that `evaluate` returns.
        measures: What the summary of a training states.
        max_rollbacks: How often a loss that is not finite sends a training back to its last checkpoint.
        evaluators: Those of the networks that have been evaluated, see `Evaluators`.
        tests_at_the_end: Whether there are test data which were not watched all along.
    """

    config: Any
    space: Space
    sizes: tuple
    epoch_steps: list[int]
    longest: int
    splits: tuple
    held_out: str
    batch_axes: Any
    output_axes: ClassVar[Any]
    reported: ClassVar[tuple[str, ...]]
    virtual_step: dict[str, Any]
    carried: list
    figure: ClassVar[str]
    measures: tuple[str, ...]
    max_rollbacks: int
    evaluators: Evaluators
    tests_at_the_end: bool

    def __init__(self, config: Any, data: Any = None) -> None: ...

    # The run and its work directory.

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads the data; returns itself.

        Args:
            say: Is given lines while they are read.

        Raises:
            UserError: The data are missing or bad; one line.
        """

    def check(self, directory: pathlib.Path) -> None:
        """Raises UserError where the data are not those of the run in a directory, if there is one."""

    def save(self, directory: pathlib.Path) -> None:
        """Writes what inference and a resumed run have to know of the data."""

    def describe(self) -> dict:
        """Returns numbers and words that identify these data; the processes of a cluster compare them."""

    def lines(self, network: Any) -> list[str]:
        """Returns lines for the user about data and network, printed at the start."""

    # The networks.

    def supernet(self, method: Any) -> Any:
        """Builds the supernet of a search; its start values are a function of `config.seed`."""

    def network(self) -> Any:
        """Builds the derived network of a training; its start values are a function of `config.seed`."""

    def attach(self, network: Any) -> None:
        """Makes what is carried from batch to batch for the network that the steps are taken with."""

    # A step, inside the graph.

    def optimizers(self, weights: list) -> dict[bool, Any]:
        """Returns the optimisers of packed weights: under False the usual one, under True one that averages, if any."""

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Returns the loss that gradients are taken of, a scalar in nats."""

    def measure(self, loss: Any, outputs: Any, labels: Any) -> Any:
        """Returns what a pass reports, see `SupernetLoss`."""

    def seeds(self, number: Any) -> tuple:
        """Returns the seeds of a search step, `(2,)` integers each: of training data and of validation data."""

    def rate_of(self, rate: Any, piece: Any) -> Any:
        """Returns the learning rate for a batch."""

    def batch(self, piece: Any, seed: Any, drop_path: Any = None, held_out: bool = False) -> tuple:
        """Returns `(inputs, labels)` of what a stream gives.

        Args:
            piece: What the stream gives.
            seed: `(2,)` integers: decides what is dropped.
            drop_path: Probability of drop path, of networks that have it.
            held_out: Whether it is of the validation data, which move the alphas.
        """

    def unrolled_batch(self, batch: tuple, piece: Any, seed: Any) -> Any:
        """Returns the batch of training data as the passes for the alphas see it, see `BatchObjective`."""

    def carry(self, outputs: Any, held_out: bool = False) -> None:
        """Keeps what is carried from a batch to the next, given what the pass measured."""

    def report(self, told: Any, norm: Any, piece: Any) -> dict:
        """Returns the numbers of a step, scalars that are added up over an epoch; `loss` among them."""

    # An epoch, outside of the graph.

    def open(self, step: int) -> None:
        """Opens the streams at a global step; each is a function of the seed and the step."""

    def streams(self, epoch: int) -> list:
        """Returns iterators over what `batch` takes: of training data and, in a search, of validation data."""

    def rate(self, epoch: int, rollbacks: int = 0) -> float:
        """Returns the learning rate in an epoch (from 0)."""

    def drop_path(self, epoch: Any) -> Any:
        """Returns the probability of drop path in an epoch (from 0); of edges in a search, of operations later."""

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        """Turns sums over the steps of (a part of) an epoch into metrics; `steps` is one of the sums."""

    def evaluate_supernet(
        self, supernet: Any, mixing: Callable[[], Mapping[str, Any]], say: Callable[[str], None]
    ) -> dict:
        """Measures a supernet on held-out data; no estimate of what a derived network reaches.

        Args:
            supernet: The network.
            mixing: Returns its present mixing weights.
            say: Is given a warning where nothing can be measured.
        """

    def judge(self, supernet: Any, mixing: Mapping[str, Any], batches: int = 0) -> tuple[float, float]:
        """Measures a supernet at any mixing weights, with the statistics of each batch; no variable is written.

        Args:
            supernet: The network.
            mixing: Tensors.
            batches: How many batches of held-out data, the same at each call; 0 for all.

        Returns:
            `(loss, error)`: nats, and the share of examples or words that are wrong.
        """

    def evaluate(self, network: Any, test: bool = False) -> dict[str, float]:
        """Measures a derived network on held-out data or on the test data."""

    def curvature_batch(self) -> tuple:
        """Returns `(inputs, labels)` of held-out data on which the dominant eigenvalue is measured."""

    def epoch_facts(self, epoch: int, averaging: bool) -> dict[str, float]:
        """Returns what the record of an epoch of a training says next to the learning rate."""

    def averages_after(self, figures: list[float]) -> bool:
        """Returns whether weights are averaged after epochs with these figures."""

    def facts(self, network: Any, history: list[dict], rollbacks: int) -> dict:
        """Returns what the summary of a training says of data and network."""
