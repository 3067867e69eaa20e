"""A notebook as a page: its text, its code and what the code printed and drew. Standard library only."""

import html
import json

_PICTURES = ("image/svg+xml", "text/html", "image/png")  # the first that an output has is shown


def markdown(text: str) -> str:
    """The Markdown of a notebook.

    Args:
        text: The content of an `.ipynb` file with its outputs.
    """
    blocks = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        elif source:
            blocks += [f"````python\n{source}\n````", *(_shown(output) for output in cell["outputs"])]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _shown(output):
    data = output.get("data", {})
    for kind in _PICTURES:
        if kind in data:
            content = "".join(data[kind]).strip()
            picture = f'<img alt="" src="data:image/png;base64,{content.replace(chr(10), "")}">'
            return f"<div>{picture if kind == 'image/png' else _one_block(content)}</div>"
    plain = "".join(data.get("text/plain", output.get("text", ""))).rstrip()
    return f"<pre>{_one_block(html.escape(plain))}</pre>" if plain else ""


def _one_block(content):
    """HTML without empty lines, which would end it for Markdown."""
    return "\n".join(line if line.strip() else "&#8203;" for line in content.splitlines())
