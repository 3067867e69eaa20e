"""What MkDocs does in addition to rendering `docs/`: pages from elsewhere in the repository, links, formulas.

Links in `docs/` are those of the repository, so that they work where its files are read one by one. On the site a link
to a file of code leads to a page with that code, `gradients.py#unrolled_gradient` to the line of that definition.
"""

import html
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))  # `darts_tf`, and `docs.hooks` as tests know it

import latex2mathml.converter
from mkdocs.structure.files import File

from docs.hooks import links, notebook, reference

ROOT = pathlib.Path(__file__).parents[2]
MATH = re.compile(r'<(span|div) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.DOTALL)
LINE = re.compile(r'id="(__codelineno-\d+-\d+)"')


def on_files(files, config):
    """Adds the pages that are no files of `docs/`."""
    for path, page in links.ROOT_PAGES.items():
        _add(files, config, page, (ROOT / path).read_text(encoding="utf-8"))
    tutorial = ROOT / "docs" / "tutorial.ipynb"
    if tutorial.exists():
        _add(files, config, "tutorial.md", notebook.markdown(tutorial.read_text(encoding="utf-8")))
    linked = {target for file in files.documentation_pages() for target in links.code(ROOT, file.src_uri, _text(file))}
    for path in sorted(linked):
        language = {".py": "python", ".toml": "toml", ".yml": "yaml"}.get(path.suffix, "text")
        code = (ROOT / path).read_text(encoding="utf-8")
        _add(files, config, links.page_of(path), f'# {path}\n\n````{language} linenums="1"\n{code}\n````\n')
    return files


def on_page_markdown(markdown, page, **_):
    """Fills in what is generated from the code, and turns links of the repository into links of the site."""
    return links.rewritten(ROOT, page.file.src_uri, reference.filled(markdown))


def on_page_content(content, page, **_):
    """Turns formulas into MathML, which browsers show without a script."""
    page.present_anchor_ids |= set(LINE.findall(content))  # MkDocs does not see the anchors that a highlighter makes
    return MATH.sub(_formula, content)


def _formula(match):
    display = "block" if match[1] == "div" else "inline"
    return latex2mathml.converter.convert(html.unescape(match[2]).strip(), display=display)


def _text(file):
    return file.content_string


def _add(files, config, page, text):
    files.append(File.generated(config, page, content=text))
