"""The space as hyperparameters, and which of its cells are the same."""

import dataclasses

import numpy as np
import pytest

from darts_tf import genotypes, spaces
from darts_tf.genotypes import ConvGenotype, Genotype, RecurrentGenotype
from darts_tf.genotypes.canonical import canonical
from darts_tf.system.errors import UserError
from darts_tf.tuner import genotype_from, values_from
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.space import Space
from tests.helpers import toy_space
from tests.helpers.derivation import derive_conv, derive_recurrent
from tests.helpers.tuners import TARGET, alphas, oracle, write_search

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
    # Models that are loaded for their weights alone have no optimizer state.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]


@pytest.mark.parametrize("name", genotypes.names("conv"))
def test_values_and_genotypes_are_the_same(name):
    genotype = genotypes.load(name, "conv")
    try:
        values = values_from(genotype)
    except UserError as error:
        assert "reads one input twice" in str(error)
        return
    again = genotype_from(dict(reversed(values.items())))
    assert canonical(again) == canonical(genotype)
    assert values_from(again) == values


def test_the_papers_space_has_36_hyperparameters_of_which_24_are_active():
    hp = oracle().get_space()
    assert len(hp.space) == 36 and len(values_from(TARGET)) == 24
    proposed = oracle().populate_space("0")["values"]
    assert len(proposed) == 24


def test_recurrent_genotypes_too():
    genotype = genotypes.load("DARTS_V2", "recurrent")
    assert genotype_from(values_from(genotype)) == genotype
    prior = {"recurrent": np.random.default_rng(0).normal(size=(36, 5))}
    first = genotype_from(oracle(prior).populate_space("0")["values"])
    assert first == derive_recurrent(prior["recurrent"])


def test_a_smaller_output_rides_along():
    genotype = derive_conv(*alphas().values(), concat=(4, 5))
    assert genotype_from(values_from(genotype)).normal_concat == (4, 5)
    assert genotype_from(oracle(genotype).populate_space("0")["values"]).reduce_concat == (4, 5)


def test_values_without_a_genotype():
    with pytest.raises(UserError, match="hold no genotype.*Received: rate"):
        genotype_from({"rate": 0.1})
    values = values_from(TARGET)
    del values["normal/node2/from1"]
    with pytest.raises(UserError, match="normal/node2/from1 is missing"):
        genotype_from(values)


@dataclasses.dataclass(frozen=True)
class Chain(Genotype):
    """A cell of another space: a node reads one or two of the two states before it."""

    chain: tuple
    outputs: tuple

    kind = "chain"
    cells, names, inputs = {"chain": "outputs"}, {"chain": "chain"}, ("in",)
    primitives, usual_nodes = ("none", "scale", "skip_connect"), 3

    @classmethod
    def sources(cls, node):
        """The states that a node may read."""
        return range(max(0, node - 2), node)

    @classmethod
    def kept(cls, node):
        """How many edges it keeps."""
        return min(2, node)


def test_another_kind_of_cell(tmp_path, monkeypatch):
    """Nothing but its class is needed, for the space, the prior, proposals and the oracle."""
    monkeypatch.setitem(genotypes.KINDS, "chain", Chain)
    monkeypatch.setitem(spaces.SPACES, "chain", type("ChainSpace", (toy_space.Chain,), {"genotype": Chain})())
    prior = {"chain": np.random.default_rng(0).normal(size=(5, 3))}
    found = load_prior(prior)
    assert found.space == Space.of("chain") and found.first == genotypes.derive(Chain, prior)
    assert load_prior(found.first).first == found.first and load_prior(None, kind="chain").space == found.space
    write_search(tmp_path, prior, space="chain", num_nodes=3, primitives=list(Chain.primitives))
    assert load_prior(tmp_path).digest() == found.digest()
    tried = []
    while (one := propose(found, 1.0, tried, (), 0.0, np.random.default_rng(len(tried)))) is not None:
        assert canonical(genotype_from(values_from(one))) == canonical(one)
        tried.append(one)
    assert len(tried) == 32  # five edges, all kept, of two operations
    assert genotype_from(oracle(prior).populate_space("0")["values"]) == genotype_from(values_from(found.first))


def renumbered(pairs, order, num_inputs=2):
    """Puts nodes into another order; `order[i]` is the old node at place i."""
    step = 2 if num_inputs == 2 else 1
    nodes = [pairs[i : i + step] for i in range(0, len(pairs), step)]
    new = {old + num_inputs: place + num_inputs for place, old in enumerate(order)}
    return [(name, new.get(source, source)) for old in order for name, source in reversed(nodes[old])]


def test_isomorphic_cells_count_as_one():
    normal = [("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 2), ("f", 0), ("g", 3), ("h", 4)]
    one = ConvGenotype(normal, range(2, 6), normal, range(2, 6))
    other = ConvGenotype(renumbered(normal, (1, 0, 2, 3)), range(2, 6), normal, range(2, 6))
    assert one != other and canonical(one) == canonical(other)
    swapped = ConvGenotype([(n, {0: 1, 1: 0}.get(s, s)) for n, s in normal], range(2, 6), normal, range(2, 6))
    assert canonical(one) != canonical(swapped)  # a cell's two inputs are different things


def test_twins_are_told_apart_by_what_reads_them():
    tail = [("a", 2), ("b", 0)], [("a", 3), ("b", 0)]
    twins = [("x", 0), ("x", 1)] * 2
    same = ConvGenotype([*twins, *tail[0], *tail[0]], range(2, 6), twins, range(2, 4))
    each = ConvGenotype([*twins, *tail[0], *tail[1]], range(2, 6), twins, range(2, 4))
    mirrored = ConvGenotype([*twins, *tail[1], *tail[0]], range(2, 6), twins, range(2, 4))
    assert canonical(same) != canonical(each) == canonical(mirrored)


def test_eight_equal_nodes_are_quick():
    genotype = RecurrentGenotype([("tanh", 0)] * 8, range(1, 9))
    assert len(canonical(genotype)[0]) == 8
    chained = RecurrentGenotype([("tanh", 0)] * 4 + [("tanh", 1 + i) for i in range(4)], range(1, 9))
    other = RecurrentGenotype(renumbered(chained.recurrent, (3, 2, 1, 0, 7, 5, 6, 4), 1), range(1, 9))
    assert chained != other and canonical(chained) == canonical(other)
