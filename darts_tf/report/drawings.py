"""Cells inside a page: as drawings, and as lists of edges."""

import functools
import itertools
import operator
import re
from collections.abc import Sequence

from darts_tf.genotypes import Genotype
from darts_tf.genotypes import drawing as visualize
from darts_tf.report.markup import Html, join, tag


def cell_figure(genotype: Genotype, cell: str, caption: str) -> Html:
    """Returns a figure of one cell: its drawing, if it can be drawn, and its edges in words."""
    topology, rows = genotype.topology_of(cell), []
    labels = ["h0", *topology.labels[1:]] if genotype.outside else topology.labels
    for node, edges in topology.by_node(getattr(genotype, cell)):
        terms = [
            tag("span", f"{'+' if index else '='} {operation} of {labels[source]} ")
            for index, (operation, source) in enumerate(edges)
        ]
        rows.append(tag("li", tag("b", labels[node]), " ", *terms))
    picture = _drawn(visualize.to_digraph(genotype, cell).source)
    drawing = tag("div", picture, class_="drawing") if picture else None
    return tag("figure", drawing, tag("figcaption", tag("b", caption), tag("ul", *rows)), class_="cell")


@functools.cache
def _drawn(source: str) -> Html | None:
    """The picture of a Graphviz source in a form for the page, or None."""
    # Top to bottom with two-line labels: the narrowest form, which a phone can show.
    source = source.replace("rankdir=LR", "rankdir=TB").replace("ranksep=0.6", "ranksep=0.35")
    source = re.sub(r'label=" (\w+?)_(\d+x\d+\w*) "', r'label=" \1 \\n \2 "', source)
    source = source.replace("bgcolor=white", "bgcolor=transparent").replace("nodesep=0.3", "nodesep=0.1")
    svg = visualize.render(source, "svg")
    if svg is None:
        return None
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<title>.*?</title>|\n", " ", text, flags=re.DOTALL)
    text = re.sub(r' (id|xmlns(:xlink)?)="[^"]*"', "", text)  # ids would occur twice
    text = re.sub(r'<svg width="[^"]*" height="[^"]*"', '<svg role="img"', text)
    return Html(re.sub(r"\s{2,}", " ", text))


Stretch = tuple[str, tuple[int, int], Genotype]
"""A cell's name, the first and last epoch of a period without changes, and a genotype that contains it."""


def timeline(genotypes: Sequence[tuple[int, Genotype]]) -> list[Stretch]:
    """Returns each range of epochs in which a cell did not change.

    Args:
        genotypes: `(epoch, genotype)`, ascending.
    """
    found = []
    for cell, concat in (genotypes[0][1].cells if genotypes else {}).items():
        states = [((getattr(each, cell), getattr(each, concat)), epoch, each) for epoch, each in genotypes]
        for _, group in itertools.groupby(states, operator.itemgetter(0)):
            stretch = list(group)
            _, start, genotype = stretch[0]
            found.append((cell, (start, stretch[-1][1]), genotype))
    return found


def stretch_figure(stretch: Stretch) -> Html:
    """Returns the figure of a cell, with its epochs."""
    cell, epochs, genotype = stretch
    return cell_figure(genotype, cell, f"{genotype.names[cell]} cell, {_words(epochs)}")


def _words(epochs):
    first, last = epochs
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def cells(genotype: Genotype) -> Html:
    """Returns a genotype's cells side by side, and its text to copy."""
    figures = [cell_figure(genotype, cell, f"{genotype.names[cell]} cell") for cell in genotype.cells]
    text = tag("details", tag("summary", "as text"), tag("p", tag("code", genotype.to_text())))
    return join(tag("div", *figures, class_="grid wide"), text)


def every_cell(genotypes: Sequence[tuple[int, Genotype]]) -> Html | None:
    """Returns collapsible drawings of all cells of a search."""
    columns: dict[str, list[Html]] = {}
    for stretch in timeline(genotypes):
        cell, (first, last), genotype = stretch
        operations = [operation for operation, _ in getattr(genotype, cell)]
        counts = sorted({name: operations.count(name) for name in operations}.items(), key=lambda item: -item[1])
        about = tag("small", ", ".join(f"{n} {name}" for name, n in counts))
        summary = tag("summary", f"{genotype.names[cell]}, {_words((first, last))} ", about)
        folded = tag("details", summary, stretch_figure(stretch), data_first=first, data_last=last)
        columns.setdefault(cell, []).append(folded)
    return tag("div", *[tag("div", *column) for column in columns.values()], class_="grid wide") if columns else None
