"""The model card as a Markdown page: the contents of `model_card.json` in readable form."""

from collections.abc import Iterator, Mapping
from typing import Any

from darts_tf import genotypes

_SETTINGS = ("dataset", "epochs", "batch_size", "learning_rate", "init_channels", "num_cells", "num_units", "seed")
_SCORES = ("accuracy", "perplexity")  # each an object whose names say enough
_ELSEWHERE = ("name", "created", "versions", "genotype", "training_config", "checks", "label_values")


def markdown(card: Mapping[str, Any]) -> str:
    """Returns the page of a model card."""
    made = ", ".join(f"{package} {version}" for package, version in card["versions"].items())
    rows = [row for name, value in card.items() if name not in _ELSEWHERE for row in _rows(name, value)]
    config = card["training_config"]
    settings = [row for name in _SETTINGS if name in config for row in _rows(name, config[name])]
    return "\n".join(
        [
            f"# {card['name']}",
            "",
            f"Exported on {card['created']} with {made}.",
            "",
            *_table("", rows),
            *_table("Training", settings),
            *_table("Checks", [row for name, value in card["checks"].items() for row in _rows(name, value)]),
            "## Cell",
            "",
            f"`{genotypes.from_json(card['genotype']).to_text()}`",
            "",
        ]
    )


def _rows(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields `(words, value)`; for an object, one row for each of its values."""
    if isinstance(value, Mapping):
        for inner, each in value.items():
            alone = name in _SCORES or inner.startswith(name)
            yield from _rows(inner if alone else f"{name} {inner}", each)
    elif value is not None:
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        if isinstance(value, float):
            shown = f"{100 * value:.2f} %" if name.endswith(("accuracy", "agreement")) else f"{value:.4g}"
        elif isinstance(value, int) and not isinstance(value, bool):
            shown = f"{value:,}"
        elif isinstance(value, list):
            shown = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in value)
        yield name.replace("_", " "), str(shown).replace("|", "\\|")


def _table(heading: str, rows: list[tuple[str, str]]) -> list[str]:
    lines = [f"## {heading}", ""] if heading and rows else []
    return [*lines, *["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]] if rows else lines
