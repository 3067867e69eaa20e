"""Draws a genotype: a cell's inputs on the left, its nodes, its output on the right, an operation on every edge."""

import functools
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable

import graphviz

from darts_tf.genotypes import Genotype
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path, write_atomically

FORMATS = ("svg", "png", "pdf")
_FONT = "Helvetica"
_GREEN, _BLUE, _YELLOW = "#cfe8c6", "#c9dff2", "#f6e3ae"
_SECONDS = 30  # a cell takes milliseconds
_MAGIC = {"svg": b"<svg", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF"}  # found in a picture's first 1,000 bytes
_PACKAGE = "graphviz-pure"
_hanging: set[str] = set()  # programs that have timed out in this process, so that a run does not wait for each picture


def to_digraph(genotype: Genotype, cell: str) -> graphviz.Digraph:
    """The drawing of one cell in the language of Graphviz.

    Deviation: the original connects every node to the output; here only those are connected that the genotype
    concatenates (or, in a recurrent cell, averages), which differs for NASNet, AmoebaNet and ENAS.

    Args:
        genotype: The genotype whose cell is drawn.
        cell: One of the genotype's `cells`, such as `"normal"`.

    Raises:
        UserError: The genotype has no such cell.

    Example:
        >>> import darts_tf
        >>> graph = darts_tf.visualize.to_digraph(darts_tf.genotype.load("DARTS_V2"), "normal")
        >>> "sep_conv_3x3" in graph.source
        True
    """
    if cell not in genotype.cells:
        raise UserError(f"cell: a {genotype.kind} genotype has {', '.join(genotype.cells)}. Received: {cell!r}")
    graph = graphviz.Digraph(
        genotype.names[cell],
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
    topology = genotype.topology_of(cell)
    states, inputs = topology.labels, list(genotype.inputs)
    outside = list(genotype.outside) or inputs
    if genotype.outside:
        graph.node(inputs[0], fillcolor=_BLUE)
        graph.edges([(source, inputs[0]) for source in outside])
    with graph.subgraph(graph_attr={"rank": "source"}) as group:
        for source in outside:
            group.node(source, fillcolor=_GREEN)
    for node in states[len(inputs) :]:
        graph.node(node, fillcolor=_BLUE)
    graph.node(genotype.output, fillcolor=_YELLOW)
    for index, (operation, source) in enumerate(getattr(genotype, cell)):
        graph.edge(states[source], states[topology.edge_of(index)], f" {operation} ")
    for node in getattr(genotype, genotype.cells[cell]):
        graph.edge(states[node], genotype.output, color="#bbbbbb")
    return graph


def draw(
    genotype: Genotype, directory: str | os.PathLike, formats: Iterable[str] = ("svg", "png")
) -> list[pathlib.Path]:
    """Writes `normal.*` and `reduction.*`, or `recurrent.*`: the Graphviz source as `.gv` and its pictures.

    Pictures are made by Graphviz' own `dot` if it is installed and works, otherwise by the Python package
    `graphviz-pure`, a port with its own fonts that is one of our dependencies; it makes no PDF. One warning names what
    neither can draw; the source is still written, and an older picture of the same name, which may show another cell,
    is removed.

    Args:
        genotype: What to draw.
        directory: Directory of the files; created if missing.
        formats: Some of `FORMATS`; may be empty.

    Returns:
        The paths of the files written.

    Raises:
        UserError: A format that is not one of `FORMATS`.
        OSError: The directory cannot be written to.

    Example:
        >>> import darts_tf
        >>> genotype = darts_tf.genotype.load("DARTS_V2")
        >>> [path.name for path in darts_tf.visualize.draw(genotype, "drawings", formats=["svg"])]
        ['normal.gv', 'normal.svg', 'reduction.gv', 'reduction.svg']
    """
    formats = list(dict.fromkeys(formats))
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"formats: expected some of {', '.join(FORMATS)}. Received: {name!r}")
    directory = user_path(directory, "output_dir")
    written, missing = [], []
    reasons: list[str] = []
    for cell in genotype.cells:
        source = to_digraph(genotype, cell).source
        written.append(write_atomically(directory / f"{genotype.names[cell]}.gv", source))
        for name in formats:
            picture = render(source, name, reasons)
            path = directory / f"{genotype.names[cell]}.{name}"
            if picture is None:
                missing.append(path.name)
                path.unlink(missing_ok=True)
            else:
                written.append(write_atomically(path, picture))
    if missing:
        ways = "install Graphviz (`apt install graphviz`)"
        if any(not name.endswith(".pdf") for name in missing):
            ways = f"`pip install {_PACKAGE}`, or {ways}"
        warnings.warn(
            f"{', '.join(missing)} not drawn: {_one_line(reasons)}; {ways}. The drawings' source is in {directory} as "
            ".gv files.",
            stacklevel=2,
        )
    return written


def _one_line(reasons):
    """The reasons for failures, once per program; cells and formats mostly fail for the same reason."""
    found = {reason.split(" ", 1)[0]: reason for reason in reversed(reasons)}
    return ", ".join(list(found.values())[::-1]) or f"neither `dot` nor `{_PACKAGE}` was found"


def _programs() -> list[str]:
    """Returns the programs that can draw, the best first: `dot`, and the program of the Python package."""
    beside = str(pathlib.Path(sys.executable).parent)  # in case the virtual environment was not activated
    found = [shutil.which("dot"), _of_package(), shutil.which(_PACKAGE), shutil.which(_PACKAGE, path=beside)]
    return list(dict.fromkeys(program for program in found if program))


@functools.cache
def _of_package() -> str | None:
    """Returns the program of the Python package, wherever it is installed."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = [pathlib.Path(file.locate()).resolve() for file in files if file.stem == _PACKAGE]
    return next((str(path) for path in paths if path.is_file()), None)


def render(source: str, name: str, reasons: list[str] | None = None) -> bytes | None:
    """Returns a picture of a Graphviz source in one of `FORMATS`, or None if nothing can draw it.

    Args:
        source: Source in the language of Graphviz.
        name: Name of the format.
        reasons: List to which a line about each failure is appended.

    Example:
        >>> import darts_tf
        >>> b"<svg" in darts_tf.visualize.render("digraph { a -> b }", "svg")
        True
    """
    reasons = [] if reasons is None else reasons
    if name == "png":  # not in the source: Graphviz 2.43 cuts three quarters off an SVG of twice its usual resolution
        source = source.replace("{", "{\n\tdpi=144", 1)
    for program in _programs():
        if program in _hanging:
            reasons.append(f"{program} did not finish within {_SECONDS} s")
            continue
        try:
            done = subprocess.run(
                [program, f"-T{name}"],
                input=source.encode(),
                capture_output=True,
                timeout=_SECONDS,
                start_new_session=True,  # Ctrl-C stops a run after its step, not the drawing
            )
        except subprocess.TimeoutExpired:
            _hanging.add(program)
            reasons.append(f"{program} did not finish within {_SECONDS} s")
        except OSError as error:
            reasons.append(f"{program} cannot be run: {error.strerror or error}")
        else:
            if not done.returncode and _MAGIC[name] in done.stdout[:1000]:
                return done.stdout
            said = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"])[0]
            reasons.append(f"{program} made no {name} ({said[:200]})")
    return None
