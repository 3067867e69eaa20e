"""The page that `--help` prints: paragraphs, and flags under headings in two columns, as wide as the terminal."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

Row = tuple[str, str]  # what stands in the left column, and its text
Part = str | tuple[str, Sequence[Row]]  # a paragraph, or a heading and its rows

_LEFT = 28  # maximum width of the left column; a longer flag gets its own line


def page(parts: Iterable[Part]) -> str:
    """The text of a page, 60 to 100 characters wide; all left columns have the width of the widest."""
    width = min(max(shutil.get_terminal_size((100, 24)).columns, 60), 100)
    parts = list(parts)
    forms = [form for part in parts if not isinstance(part, str) for form, _ in part[1]]
    left = min(max(map(len, forms), default=0), _LEFT) + 4
    blocks = []
    for part in parts:
        if isinstance(part, str) and part.strip():
            blocks.append(_wrapped(part, width, "", ""))
        elif not isinstance(part, str) and part[1]:
            blocks.append("\n".join([f"{part[0]}:", *(_row(*row, left, width) for row in part[1])]))
    return "\n\n".join(blocks)


def row(flag: flags.Flag, value: Any = None, text: str | None = None) -> Row:
    """The row of a flag.

    Args:
        flag: The flag, as defined.
        value: The value if the flag is not given, for the end of the text; None for no value.
        text: Description; the flag's own help if None.
    """
    if text is None:
        choices = getattr(flag.parser, "enum_values", ())
        text = flag.help.removeprefix(f"<{'|'.join(choices)}>: ")  # prepended to the help by absl
        if any(choice not in text for choice in choices):
            text = f"{', '.join(choices)}: {text}"
    form = "--help" if flag.name == "help" else f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}=..."
    form += f", -{flag.short_name}" if flag.short_name else ""
    return form, f"{text} ({shown(value)})" if shown(value) else text


def shown(value: Any) -> str:
    """A setting's value as shown on the page; empty if there is nothing to show."""
    if value is None or isinstance(value, bool):
        return {None: "", True: "on", False: "off"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _row(form: str, text: str, left: int, width: int) -> str:
    start = f"  {form}".ljust(left)
    if len(start) > left or not start.endswith("  "):
        return f"  {form}\n" + _wrapped(text, width, " " * left, " " * left)
    return _wrapped(text, width, start, " " * left)


def _wrapped(text: str, width: int, first: str, others: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
