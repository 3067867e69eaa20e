"""The published accuracies of all cells of NAS-Bench-201. Needs no TensorFlow.

Every cell was trained by the benchmark's authors for 12 and for 200 epochs. The table, `tables/nasbench201.npz`, holds
these accuracies exactly, as whole numbers; parameters and multiply-adds follow from the cell.

Source: Dong and Yang, NAS-Bench-201, arXiv:2001.00326; D-X-Y/NAS-Bench-201, see `tables/nasbench201.txt` for its
licence.
"""

import dataclasses
import functools
import importlib.resources
import io

import numpy as np

from darts_tf import genotypes
from darts_tf.genotypes import NasBench201Genotype
from darts_tf.genotypes.text import show
from darts_tf.system.errors import UserError

DATASETS = ("cifar10", "cifar100", "imagenet16_120")
# For the CIFAR-10 network with 16 channels and 17 cells: without its cells, and per edge of a kind.
_PARAMETERS = 73_306, {"nor_conv_1x1": 28_000, "nor_conv_3x3": 243_040}
_MULTIPLY_ADDS = 7_783_050, {"nor_conv_1x1": 3_932_160, "nor_conv_3x3": 35_389_440}


@dataclasses.dataclass(frozen=True)
class Record:
    """The benchmark's record of a cell; accuracies are in percent, by `DATASETS`.

    Attributes:
        index: The cell's number.
        string: The cell's string.
        parameters: Weights of the network that was trained on CIFAR-10, including batch norms.
        flops: Multiply-adds of that network for one image, which the benchmark calls FLOPs.
        test: Test accuracy after 200 epochs, mean over the available seeds.
        valid_12: Validation accuracy after 12 epochs.
        test_12: Test accuracy after 12 epochs.
    """

    index: int
    string: str
    parameters: int
    flops: int
    test: dict[str, float]
    valid_12: dict[str, float]
    test_12: dict[str, float]


def query(cell: str | int | NasBench201Genotype) -> Record:
    """Returns the benchmark's record of a cell.

    Args:
        cell: The benchmark's string or number, or a genotype.

    Raises:
        UserError: It is not a cell of the benchmark; one line.
    """
    if isinstance(cell, str):
        cell = NasBench201Genotype(cell)
    elif not isinstance(cell, NasBench201Genotype):
        cell = NasBench201Genotype.of_index(cell)
    index, names = cell.index, [name for name, _ in cell.nasbench201]
    parameters, flops = (base + sum(own.get(name, 0) for name in names) for base, own in (_PARAMETERS, _MULTIPLY_ADDS))
    figures = {
        measure: {dataset: float(accuracies(dataset, measure)[index]) for dataset in DATASETS}
        for measure in ("test", "valid_12", "test_12")
    }
    return Record(index, cell.string, parameters, flops, **figures)


def accuracies(dataset: str = "cifar10", measure: str = "test") -> np.ndarray:
    """Returns the accuracies of all cells in percent, `(15625,)`, in the order of their numbers.

    Args:
        dataset: One of `DATASETS`.
        measure: An attribute of `Record` that holds accuracies.

    Raises:
        UserError: The data set is unknown.
    """
    if dataset not in DATASETS:
        raise UserError(f"expected one of the data sets {', '.join(DATASETS)}. Received: {show(dataset)}")
    return _table()[f"{dataset}/{measure}"]


@functools.cache
def _table():
    file = importlib.resources.files(genotypes) / "tables" / "nasbench201.npz"
    with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
        names, per_percent, counts = arrays["names"], arrays["per_percent"], arrays["counts"]
    table = dict(zip(map(str, names), counts / per_percent[:, None], strict=True))
    for column in table.values():
        column.flags.writeable = False  # it is shared
    return table
