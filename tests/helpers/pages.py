"""The pages that users read: README and its neighbours, and `docs/`; their links, blocks and commands."""

import re
from typing import NamedTuple

from darts_tf.bin import benchmark, evaluate, export, predict, protocol, report, search, train, tune, visualize
from docs.hooks import notebook
from tests.helpers.paths import ROOT

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
"""Path in the repository -> text; of the tutorial what the site shows."""
PAGES["docs/tutorial.ipynb"] = notebook.markdown((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))

BINARIES = {
    "darts-benchmark": benchmark,
    "darts-evaluate": evaluate,
    "darts-export": export,
    "darts-predict": predict,
    "darts-protocol": protocol,
    "darts-report": report,
    "darts-search": search,
    "darts-train": train,
    "darts-tune": tune,
    "darts-visualize": visualize,
}


class Block(NamedTuple):
    """A block of code: its language, the code, and what a comment before it says of it, such as `run`."""

    language: str
    code: str
    mark: str


def blocks(text: str, language: str = r"\w+") -> list[Block]:
    """The blocks of a page in one language, or in all."""
    found = re.finditer(rf"(?:^<!-- ([^\n]*) -->\n)?^```({language})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[2], match[3], match[1] or "") for match in found]


def commands(text: str) -> list[str]:
    """The commands of this package in the blocks of a page, each a line."""
    lines = "\n".join(block.code for block in blocks(text, "bash"))
    return [match[0] for match in re.finditer(rf"({'|'.join(BINARIES)})\b.*", lines)]


def smaller(code: str, changes: dict[str, str]) -> str:
    """The code with texts replaced, each of which it has."""
    for before, after in changes.items():
        assert before in code
        code = code.replace(before, after)
    return code
