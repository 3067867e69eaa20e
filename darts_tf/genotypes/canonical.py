"""Compares genotypes up to the numbering of their nodes."""

from darts_tf.genotypes import Genotype


def canonical(genotype: Genotype) -> tuple:
    """A form that isomorphic genotypes share and others do not.

    Nodes may be renumbered and the edges of a node may come in any order: this only permutes the channels of a cell's
    output. The cell's inputs are not interchangeable, nor are nodes that the output reads with nodes that it does not.
    An edge of `none` counts as no edge.

    Returns:
        For each cell the smallest list, over all renumberings, of each node's `(sorted (input, operation), in output)`.
    """
    forms = []
    for cell, concat in genotype.cells.items():
        topology = genotype.topology_of(cell)
        nodes = [
            [edge for edge in edges if edge[0] != "none"] for _, edges in topology.by_node(getattr(genotype, cell))
        ]
        forms.append(_smallest(nodes, topology.num_inputs, frozenset(getattr(genotype, concat))))
    return tuple(forms)


def _smallest(nodes, first, concat):
    """Places the nodes one after the other, always one with the smallest code; if several have it, tries each.

    Among nodes with the same code that nothing reads, only one is tried; otherwise eight equal nodes would be tried in
    40,320 orders.
    """
    read = {source for edges in nodes for _, source in edges}
    states = [{source: source for source in range(first)}]  # old number -> new number; all states share one form
    form = []
    for _ in nodes:
        best = None
        following: list[dict[int, int]] = []
        for state in states:
            leaf_tried = False
            for index, edges in enumerate(nodes):
                node = first + index
                if node in state or any(source not in state for _, source in edges):
                    continue
                code = tuple(sorted((state[source], operation) for operation, source in edges)), node in concat
                if best is not None and code > best:
                    continue
                if best is None or code < best:
                    best, following, leaf_tried = code, [], False
                if node not in read:
                    if leaf_tried:
                        continue
                    leaf_tried = True
                following.append({**state, node: len(state)})
        form.append(best)
        states = following
    return tuple(form)
