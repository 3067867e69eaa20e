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
            blocks += [f"````python\n{source}\n````", *map(_shown, _joined(cell["outputs"]))]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _joined(outputs):
    """The outputs of a cell, with what was printed line by line in one."""
    found = []
    for output in outputs:
        if "text" in output and found and "text" in found[-1]:
            found[-1] = {"text": [*found[-1]["text"], *output["text"]]}
        else:
            found.append(output)
    return found


def _shown(output):
    data = output.get("data", {})
    for kind in _PICTURES:
        if kind in data:
            content = "".join(data[kind]).strip()
            if kind == "image/png":
                content = f'<img alt="" src="data:image/png;base64,{content.replace(chr(10), "")}">'
            return f'<div style="overflow-x: auto">{_one_block(content)}</div>'
    plain = "".join(data.get("text/plain", output.get("text", ""))).rstrip()
    return f'<pre class="output">{_one_block(html.escape(plain))}</pre>' if plain else ""


def _one_block(content):
    """HTML without empty lines, which would end it for Markdown."""
    return "\n".join(line if line.strip() else "&#8203;" for line in content.splitlines())
