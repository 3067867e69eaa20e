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
