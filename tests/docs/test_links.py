"""Every link of the pages leads somewhere: to a file, to a heading, or to a definition in the code."""

import re

import pytest

from docs.hooks import links, reference
from tests.helpers.pages import PAGES
from tests.helpers.paths import ROOT


def anchors(text):
    """The anchors of a page's headings, as MkDocs and GitHub make them."""
    outside = re.sub(r"^(`{3,}).*?^\1", "", reference.filled(text), flags=re.MULTILINE | re.DOTALL)
    titles = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for title in re.findall(r"^#+ (.+)$", outside, re.MULTILINE))
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


def wrong(origin, text):
    """The links of a page that lead nowhere."""
    for match in links.relative(text):
        target = match[2] or match[5]
        path, anchor = links.place(origin, target)
        if target.startswith("/") or not (ROOT / path).is_file():
            yield f"{target}: no such file"
        elif anchor and path.endswith(".py"):
            if links.line_of((ROOT / path).read_text(encoding="utf-8"), anchor) is None:
                yield f"{target}: no such definition"
        elif anchor and anchor not in anchors((ROOT / path).read_text(encoding="utf-8")):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    assert not list(wrong(page, PAGES[page]))


def test_links_that_lead_nowhere_are_found():
    text = "[a](BUILD.md#set-up) [b](BUILD.md#nothing) [c](nothing.md) [d](darts_tf/bilevel/step.py#SearchStep.nothing)"
    text += '\n```\n[e](nothing.md)\n```\n[f](https://example.org/nothing) <img src="nothing.png"> [g](/BUILD.md)'
    assert [line.split(":")[0] for line in wrong("README.md", text)] == [
        "BUILD.md#nothing",
        "nothing.md",
        "darts_tf/bilevel/step.py#SearchStep.nothing",
        "nothing.png",
        "/BUILD.md",
    ]


def test_links_on_the_site():
    """A page of the root, a page of `docs/`, code with the line of a definition, and what is left alone."""
    text = "[a](docs/cost.md#latency) [b](BUILD.md) [c](darts_tf/methods/darts.py#Darts) [d](#here) [e](https://a.b/c)"
    assert links.rewritten(ROOT, "index.md", text) == (
        "[a](cost.md#latency) [b](development/build.md) "
        "[c](source/darts_tf/methods/darts.py.md#__codelineno-0-9) [d](#here) [e](https://a.b/c)"
    )
    assert links.rewritten(ROOT, "guides/own.md", "[a](../../README.md)") == "[a](../index.md)"
    assert {str(path) for path in links.code(ROOT, "index.md", text)} == {"darts_tf/methods/darts.py"}


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    listed = set(re.findall(r"[\w/-]+\.md", menu))
    assert listed >= {links.page_of(page) for page in PAGES}


def test_build_is_short():
    """What is not about set-up, tests, layers and release has its place in `docs/`."""
    assert len(PAGES["BUILD.md"].encode()) <= 8 * 1024
