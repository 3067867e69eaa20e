"""Metrics by which networks are compared: which value is best, and how values are formatted. Needs no TensorFlow."""

from collections.abc import Sequence


def best(values: Sequence[float], better: str) -> int:
    """The index of the best value, the first among ties; `better` is `higher` or `lower`."""
    return values.index(max(values) if better == "higher" else min(values))


def shown(value: float, metric: str) -> str:
    """A value as text; `metric` is `accuracy`, a fraction, `perplexity` or `bits_per_character`."""
    if metric == "accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:.4f}" if metric == "bits_per_character" else f"{value:.2f}"


def front(costs: Sequence[float], values: Sequence[float], better: str) -> list[int]:
    """The Pareto front: indices of those that no other one beats in cost or value without being worse in the other.

    Args:
        costs: Costs; lower is better.
        values: Values of a metric.
        better: `higher` or `lower`.

    Returns:
        Indices in the order of their costs; the first among ties.
    """
    sign = 1 if better == "higher" else -1
    order = sorted(range(len(costs)), key=lambda each: (costs[each], -sign * values[each]))
    found: list[int] = []
    for each in order:
        if not found or sign * values[each] > sign * values[found[-1]]:
            found.append(each)
    return found
