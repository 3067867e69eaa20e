"""The protocol of a domain, images or language, over which search and training are written once."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, Self

import tensorflow as tf

from darts_tf import spaces
from darts_tf.spaces.space import Space

Show = Callable[[tf.Graph], None] | None
TRAIN, VALID = 0, 1  # the streams of a run's seed


class Domain(Protocol):
    """The data of one run, how a step reads them, what it carries over, and how a result is measured.

    Each domain has two classes: one for searches, whose data are in two parts, and one for trainings. They inherit the
    methods that have a body here.

    Args:
        config: The settings of the run.
        data: Data passed from Python code, if `config.dataset` is "memory".

    Attributes:
        config: The settings of the run.
        space: The search space of its cells.
        sizes: The sizes of the data that networks need, see `Space.supernet`.
        epoch_steps: Steps of each epoch.
        longest: Steps in time of the longest batch, for the estimate of memory; 1 for images.
        splits: Parts of the data that may become unreadable during a run, see `data.reading`.
        held_out: Name of the data measured after an epoch: "validation" if networks are selected by it.
        output_axes: The axis of examples in the result of `measure`, see `accumulation.split`.
        reported: Names of the numbers that `report` returns.
        virtual_step: Arguments of `architect.VirtualStep`.
        carried: Variables that are carried from batch to batch: of training data, then of validation data.
        figure: The key of `evaluate`'s result by which epochs are compared.
        measures: The measures in the summary of a training.
        max_rollbacks: How often a loss that is not finite sends a training back to its last checkpoint.
        tests_at_the_end: Whether there are test data that were not measured during the run.
    """

    config: Any
    space: Space
    sizes: tuple
    epoch_steps: list[int]
    longest: int = 1
    splits: tuple = ()
    held_out: str
    output_axes: ClassVar[Any]
    reported: ClassVar[tuple[str, ...]]
    virtual_step: dict[str, Any] = {}
    carried: list = []
    figure: ClassVar[str]
    measures: tuple[str, ...]
    max_rollbacks: int = 0
    tests_at_the_end: bool
    _data: Any

    def __init__(self, config: Any, data: Any = None):
        self.config, self.space, self._data = config, spaces.get(config.space), data

    # The run and its work directory.

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads the data; returns itself.

        Args:
            say: Called with lines while the data are read.

        Raises:
            UserError: The data are missing or bad; one line.
        """

    def check(self, directory: pathlib.Path) -> None:
        """Raises UserError if the data differ from those of the run in a directory, if there is one."""

    def save(self, directory: pathlib.Path) -> None:
        """Writes what inference and a resumed run need to know about the data."""

    def describe(self) -> dict:
        """Returns numbers and words that identify these data; the processes of a cluster compare them."""

    def lines(self, network: Any) -> list[str]:
        """Returns lines for the user about data and network, printed at the start."""

    # The networks.

    def supernet(self, method: Any) -> Any:
        """Builds the supernet of a search; its initial values are a function of `config.seed`."""
        return self.space.supernet(self.config, method, *self.sizes)

    def network(self) -> Any:
        """Builds the derived network of a training; its initial values are a function of `config.seed`."""
        return self.space.network(self.config, *self.sizes)

    def attach(self, network: Any) -> None:
        """Creates the variables carried from batch to batch for the network that takes the steps."""

    # A step, inside the graph.

    def batch_axes(self, network: Any) -> Any:
        """Returns the axis of examples in `(inputs, labels)` for a network, see `accumulation.split`."""

    def optimizers(self, weights: list) -> dict[bool, Any]:
        """Returns the optimisers of packed weights: under False the usual one, under True the averaging one, if any."""

    def loss(self, outputs: Any, labels: Any) -> Any:
        """Returns the loss to differentiate, a scalar in nats."""

    def measure(self, loss: Any, outputs: Any, labels: Any) -> Any:
        """Returns the measures that a pass reports, see `SupernetLoss`; the network's outputs."""
        return outputs

    def seeds(self, number: Any) -> tuple:
        """Returns the seeds of a search step, `(2,)` integers each: for training data and for validation data."""
        seed = 2 * self.config.seed
        return tuple(tf.stack([tf.constant(seed + stream, tf.int64), number]) for stream in (TRAIN, VALID))

    def rate_of(self, rate: Any, piece: Any) -> Any:
        """Returns the learning rate for a batch; the same for all."""
        return rate

    def batch(self, piece: Any, seed: Any, drop_path: Any = None, held_out: bool = False) -> tuple:
        """Returns `(inputs, labels)` for an element of a stream.

        Args:
            piece: An element of the stream.
            seed: `(2,)` integers that determine what is dropped.
            drop_path: Probability of drop path, for networks that have it.
            held_out: Whether it belongs to the validation data, which train the alphas.
        """

    def unrolled_batch(self, batch: tuple, piece: Any, seed: Any) -> Any:
        """Returns the batch of training data as the alphas' passes see it, see `BatchObjective`."""
        return batch

    def carry(self, outputs: Any, held_out: bool = False) -> None:
        """Stores the values carried to the next batch, given what the pass measured; none."""

    def report(self, told: Any, norm: Any, piece: Any) -> dict:
        """Returns the numbers of a step, scalars that are summed over an epoch, including `loss`."""

    # An epoch, outside of the graph.

    def open(self, step: int) -> None:
        """Opens the streams at a global step; each is a function of the seed and the step."""

    def steps_in(self, epoch: int) -> int:
        """Returns the steps of an epoch (from 0) of a search, also of one after the last, see `judgements`."""

    def streams(self, epoch: int) -> list:
        """Returns iterators over the elements that `batch` takes: training data and, in a search, validation data."""

    def rate(self, epoch: int, rollbacks: int = 0) -> float:
        """Returns the learning rate in an epoch (from 0)."""

    def drop_path(self, epoch: Any) -> Any:
        """Returns the drop path probability in an epoch (from 0), of edges in searches, of operations in trainings."""
        return 0.0

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        """Turns sums over the steps of (a part of) an epoch into metrics; `steps` is one of the sums."""

    def evaluate_supernet(
        self, supernet: Any, mixing: Callable[[], Mapping[str, Any]], say: Callable[[str], None], show: Show = None
    ) -> dict:
        """Measures a supernet on held-out data; this does not estimate what a derived network reaches.

        Args:
            supernet: The network.
            mixing: Returns its current mixing weights.
            say: Called with a warning if nothing can be measured.
            show: Called with the network's graph.
        """

    def judge(self, supernet: Any, mixing: Mapping[str, Any], batches: int = 0) -> tuple[float, float]:
        """Measures a supernet at any mixing weights, with the statistics of each batch; no variable is written.

        Args:
            supernet: The network.
            mixing: Mixing weights, tensors.
            batches: Number of batches of held-out data, the same at each call; 0 for all.

        Returns:
            `(loss, error)`: nats, and the fraction of examples or words that are wrong.
        """

    def evaluate(self, network: Any, test: bool = False, show: Show = None) -> dict[str, float]:
        """Measures a derived network on held-out data or on the test data; `show` as in `evaluate_supernet`."""

    def curvature_batch(self) -> tuple:
        """Returns `(inputs, labels)` of the held-out data on which the dominant eigenvalue is measured."""

    def epoch_facts(self, epoch: int, averaging: bool) -> dict[str, float]:
        """Returns what an epoch record of a training contains in addition to the learning rate."""

    def averages_after(self, figures: list[float]) -> bool:
        """Returns whether weights are averaged after epochs with these figures; never."""
        return False

    def facts(self, network: Any, history: list[dict], rollbacks: int) -> dict:
        """Returns what the summary of a training says about data and network."""
