"""The true accuracy of the cells found by searches in NAS-Bench-201, over their epochs."""

from collections.abc import Sequence

import numpy as np

from darts_tf.genotypes import NasBench201Genotype, benchmark
from darts_tf.report import charts
from darts_tf.report.markup import Html
from darts_tf.report.runs import Run
from darts_tf.system.errors import UserError


def points(found: Run, dataset: str) -> charts.Points:
    """Returns `(epoch, accuracy)`, the table's test accuracy of each epoch's genotype, then that of the result.

    Empty for other spaces.
    """
    known = benchmark.accuracies(dataset) / 100
    curve = [(epoch, known[each.index]) for epoch, each in found.genotypes if isinstance(each, NasBench201Genotype)]
    if curve and isinstance(found.genotype, NasBench201Genotype):
        return charts.ending(curve, known[found.genotype.index])
    return curve


def chart(found: Sequence[Run], dataset: str) -> Html | None:
    """Returns a chart of the true test accuracy over the epochs, with the mean of all cells and the best cell.

    Args:
        found: Searches; those in other spaces are left out.
        dataset: One of `benchmark.DATASETS`; empty for no chart.

    Returns:
        The figure; None without points.
    """
    curves = [(each.name, curve) for each in found if (curve := points(each, dataset))] if dataset else []
    if not curves:
        return None
    epochs = sorted({epoch for _, curve in curves for epoch, _ in curve})
    known = benchmark.accuracies(dataset) / 100
    for name, level in (("mean of all cells", np.mean(known)), ("best of all cells", np.max(known))):
        curves.append((name, [(epoch, float(level)) for epoch in dict.fromkeys((epochs[0], epochs[-1]))]))
    return charts.chart(f"true test accuracy on {dataset}, according to NAS-Bench-201", curves, "accuracy")


def check(found: Sequence[Run], dataset: str) -> None:
    """Raises UserError if a data set is given but unknown, or no run is a search in NAS-Bench-201."""
    every = list(found)
    while any(each.parts for each in found):
        found = [part for each in found for part in each.parts]
        every += found
    if dataset and not any(points(each, dataset) for each in every):
        raise UserError(
            "Only searches in NAS-Bench-201 have a true accuracy. Expected a run of darts-search --space=nasbench201 "
            f"with at least one finished epoch. Received: nasbench201={dataset} and other runs."
        )
