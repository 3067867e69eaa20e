"""Draws a genotype: a cell's inputs on the left, its nodes, its output on the right, an operation on every edge."""

import os
import pathlib
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable

import graphviz

from darts_tf.errors import UserError
from darts_tf.files import user_path, write_atomically
from darts_tf.genotype import Genotype

FORMATS = ("svg", "png", "pdf")
_FILES = {"normal": "normal", "reduce": "reduction", "recurrent": "recurrent"}
_FONT = "Helvetica"
_GREEN, _BLUE, _YELLOW = "#cfe8c6", "#c9dff2", "#f6e3ae"
_SECONDS = 60  # a cell takes milliseconds


def to_digraph(genotype: Genotype, cell: str) -> graphviz.Digraph:
    """The drawing of one cell in the language of Graphviz.

    Deviation: the original leads every node to the output; here only those that the genotype concatenates (or, in a
    recurrent cell, averages) do, which differs for NASNet, AmoebaNet and ENAS.

    Args:
        genotype: Whose cell is drawn.
        cell: `"normal"` or `"reduce"` of a `ConvGenotype`, `"recurrent"` of a `RecurrentGenotype`.

    Raises:
        UserError: The genotype has no such cell.
    """
    if cell not in genotype.cells:
        raise UserError(f"cell: a {genotype.kind} genotype has {', '.join(genotype.cells)}. Received: {cell!r}")
    graph = graphviz.Digraph(
        _FILES[cell],
        graph_attr={
            "rankdir": "LR",
            "nodesep": "0.3",
            "ranksep": "0.6",
            "bgcolor": "white",
            "pad": "0.2",
        },
        node_attr={
            "shape": "box",
            "style": "filled,rounded",
            "color": "#00000055",
            "fontname": _FONT,
            "fontsize": "16",
            "height": "0.45",
            "width": "0.5",
            "margin": "0.15,0.06",
        },
        edge_attr={"fontname": _FONT, "fontsize": "12", "color": "#555555", "arrowsize": "0.7"},
    )
    # Plain labels as in the original: `graphviz-pure` does not lower the index of an HTML label.
    if genotype.kind == "recurrent":  # node 0 is the start state, made of the word and the hidden state
        outside, output, inputs, first = ["x_{t}", "h_{t-1}"], "h_{t}", ["0"], 1
        graph.node("0", fillcolor=_BLUE)
        graph.edges([(source, "0") for source in outside])
    else:
        outside, output, inputs, first = ["c_{k-2}", "c_{k-1}"], "c_{k}", ["c_{k-2}", "c_{k-1}"], 0
    with graph.subgraph(graph_attr={"rank": "source"}) as group:
        for source in outside:
            group.node(source, fillcolor=_GREEN)
    states = inputs + [str(first + node) for node in range(len(getattr(genotype, cell)) // genotype.edges_per_node)]
    for node in states[len(inputs) :]:
        graph.node(node, fillcolor=_BLUE)
    graph.node(output, fillcolor=_YELLOW)
    for index, (operation, source) in enumerate(getattr(genotype, cell)):
        graph.edge(states[source], states[len(inputs) + index // genotype.edges_per_node], f" {operation} ")
    for node in getattr(genotype, genotype.cells[cell]):
        graph.edge(states[node], output, color="#bbbbbb")
    return graph


def draw(
    genotype: Genotype, directory: str | os.PathLike, formats: Iterable[str] = ("svg", "png")
) -> list[pathlib.Path]:
    """Writes `normal.*` and `reduction.*`, or `recurrent.*`: the Graphviz source as `.gv` and its pictures.

    Pictures are made by Graphviz' own `dot` where it is installed, else by `graphviz-pure` from the Python package of
    that name. Without either there is one warning, and the source.

    Args:
        genotype: What to draw.
        directory: Where to; made if missing.
        formats: Out of `FORMATS`; may be empty.

    Returns:
        The paths of the files written.

    Raises:
        UserError: A format that is not one of `FORMATS`.
        OSError: The directory cannot be written to.
    """
    formats = list(dict.fromkeys(formats))
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: expected some of {', '.join(FORMATS)}. Received: {name!r}")
    directory = user_path(directory, "output_dir")
    written, missing, reasons = [], [], []
    for cell in genotype.cells:
        source = to_digraph(genotype, cell).source
        written.append(write_atomically(directory / f"{_FILES[cell]}.gv", source))
        for name in formats:
            picture = render(source, name, reasons)
            if picture is None:
                missing.append(f"{_FILES[cell]}.{name}")
            else:
                written.append(write_atomically(directory / f"{_FILES[cell]}.{name}", picture))
    if missing:
        reason = reasons[0] if reasons else "neither `dot` nor `graphviz-pure` was found"
        warnings.warn(
            f"{', '.join(missing)} not drawn: {reason}; `pip install graphviz-pure` or install Graphviz. "
            f"The drawings' source is in {directory} as .gv files.",
            stacklevel=2,
        )
    return written


def _programs():
    beside = str(pathlib.Path(sys.executable).parent)  # a virtual environment that was not activated
    found = [shutil.which("dot"), shutil.which("graphviz-pure"), shutil.which("graphviz-pure", path=beside)]
    return list(dict.fromkeys(program for program in found if program))


def render(source: str, name: str, reasons: list[str] | None = None) -> bytes | None:
    """Returns a picture of a Graphviz source in one of `FORMATS`, or None where nothing can draw it.

    Args:
        source: In the language of Graphviz.
        name: Of the format.
        reasons: Is given what failed, a line each.
    """
    reasons = [] if reasons is None else reasons
    if name == "png":  # not in the source: Graphviz 2.43 cuts three quarters off an SVG of twice its usual resolution
        source = source.replace("{", "{\n\tdpi=144", 1)
    for program in _programs():
        try:
            done = subprocess.run(
                [program, f"-T{name}"], input=source.encode(), capture_output=True, timeout=_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{program} failed: {error}")
            continue
        if done.stdout:
            return done.stdout
        reasons.append(f"{program} made no {name}")
    return None
