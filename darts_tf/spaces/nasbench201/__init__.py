"""The search space NAS-Bench-201, in which the true accuracy of every cell is known: see `query`."""

from darts_tf.genotypes.benchmark import DATASETS, Record, accuracies, query

__all__ = ["DATASETS", "Record", "accuracies", "query"]
