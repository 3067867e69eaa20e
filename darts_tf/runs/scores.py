"""Metrics by which networks are compared: which value is best, and how one is formatted. No TensorFlow here."""

from collections.abc import Sequence


def best(values: Sequence[float], better: str) -> int:
    """The index of the best value, the first of several equal ones; `better` is `higher` or `lower`."""
    return values.index(max(values) if better == "higher" else min(values))


def shown(value: float, metric: str) -> str:
    """A value as text; `metric` is `accuracy`, a share, `perplexity` or `bits_per_character`."""
    if metric == "accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:.4f}" if metric == "bits_per_character" else f"{value:.2f}"


def front(costs: Sequence[float], values: Sequence[float], better: str) -> list[int]:
    """The Pareto front: indices of those that no other one beats in cost or value without losing in the other one.

    Args:
        costs: Less is better.
        values: Of a metric.
        better: `higher` or `lower`.

    Returns:
        In the order of their costs; of several equal ones the first.
    """
    sign = 1 if better == "higher" else -1
    order = sorted(range(len(costs)), key=lambda each: (costs[each], -sign * values[each]))
    found: list[int] = []
    for each in order:
        if not found or sign * values[each] > sign * values[found[-1]]:
            found.append(each)
    return found
