"""Links of the repository, and what they are on the site. Standard library only: the tests use it, too."""

import ast
import os
import pathlib
import posixpath
import re
from collections.abc import Iterator

ROOT_PAGES = {
    "README.md": "index.md",
    "BUILD.md": "development/build.md",
    "CHANGELOG.md": "development/changelog.md",
    "CONTRIBUTING.md": "development/contributing.md",
}
"""Pages at the root of the repository -> where they are on the site."""

_FENCE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1`*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^()\s]+)(\))|((?:src|href)=\")([^\"]+)(\")")


def relative(text: str) -> Iterator[re.Match]:
    """The links of a page that lead to files of the repository, or to a place on the page; none in code blocks."""
    blocks = [match.span() for match in _FENCE.finditer(text)]
    for match in _LINK.finditer(text):
        target = match[2] or match[5]
        if not re.match(r"[a-z+]+:|//", target) and not any(a <= match.start() < b for a, b in blocks):
            yield match


def place(origin: str, target: str) -> tuple[str, str]:
    """Where a link leads.

    Args:
        origin: Path of the page that has it, in the repository.
        target: Of the link.

    Returns:
        `(path in the repository, anchor)`; the anchor is empty where there is none.
    """
    path, _, anchor = target.partition("#")
    return (posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)) if path else origin), anchor


def origin_of(page: str) -> str:
    """The path in the repository of a page of the site."""
    return {site: root for root, site in ROOT_PAGES.items()}.get(page, f"docs/{page}")


def page_of(path: str | os.PathLike) -> str:
    """The path on the site of a file of the repository: of a page, of a picture, or of a page that shows the code."""
    path = os.fspath(path)
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.endswith(".ipynb"):
        return path.removeprefix("docs/").removesuffix(".ipynb") + ".md"
    is_page = path.startswith("docs/") and not path.endswith(".py")
    return path.removeprefix("docs/") if is_page else f"source/{path}.md"


def line_of(code: str, name: str) -> int | None:
    """The line, from 1, of a definition in Python, such as `unrolled_gradient` or `Objective.probe`; None for none."""
    body, line = ast.parse(code).body, None
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.ClassDef)
        found = next((node for node in body if isinstance(node, kinds) and node.name == part), None)
        if found is None:
            return None
        body, line = found.body, found.lineno
    return line


def code(root: pathlib.Path, page: str, text: str) -> set[pathlib.PurePosixPath]:
    """The files of code that a page of the site links to."""
    paths = {place(origin_of(page), match[2] or match[5])[0] for match in relative(text)}
    shown = (path for path in paths if page_of(path).startswith("source/") and (root / path).is_file())
    return set(map(pathlib.PurePosixPath, shown))


def rewritten(root: pathlib.Path, page: str, text: str) -> str:
    """The text of a page with the links of the repository turned into those of the site."""
    origin, out, end = origin_of(page), [], 0
    for match in relative(text):
        target = match[2] or match[5]
        path, anchor = place(origin, target)
        if path != origin:
            if path.endswith(".py") and anchor:
                anchor = f"__codelineno-0-{line_of((root / path).read_text(encoding='utf-8'), anchor)}"
            target = posixpath.relpath(page_of(path), posixpath.dirname(page) or ".")
            target += f"#{anchor}" if anchor else ""
        out += [text[end : match.start()], match[1] or match[4], target, match[3] or match[6]]
        end = match.end()
    return "".join(out) + text[end:]
