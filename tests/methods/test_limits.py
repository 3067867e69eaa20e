"""Limits of the skip connections in a derived normal cell; P-DARTS' golden cells are in `test_golden_methods`."""

import numpy as np
import pytest

from darts_tf import methods
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.genotypes import ConvGenotype, selection
from darts_tf.methods import limits
from darts_tf.system.errors import UserError


@pytest.mark.parametrize("method", ["darts", "pc_darts", "p_darts"])
def test_an_upper_limit_that_cannot_be_met_is_refused_at_once(method):
    with pytest.raises(UserError, match="max_skips: the cell has no other operations left.*it needs 8 of skip_connect"):
        methods.make(SearchConfig(method=method, primitives=("none", "skip_connect"), max_skips=1))
    with pytest.raises(UserError, match="max_parameter_free: .*Received: max_parameter_free=0"):
        methods.make(SearchConfig(method=method, primitives=("max_pool_3x3", "skip_connect"), max_parameter_free=0))


def test_an_edge_that_has_nothing_but_a_skip_keeps_it_and_others_lose_theirs():
    topology, names = ConvGenotype.topology(1), ("skip_connect", "sep_conv_3x3")
    select = limits.limited(selection.select, limits.SKIPS, 1, "max_skips")
    pairs = select(np.array([[0.5, -1.0], [0.9, 0.1]]), topology, names, "normal")
    assert pairs == [("sep_conv_3x3", 1), ("skip_connect", 0)]
    with pytest.raises(UserError, match="it needs 1 of skip_connect"):
        limits.limited(selection.select, limits.SKIPS, 0, "max_skips")(
            np.array([[0.5, -1.0], [0.9, 0.1]]), topology, names, "normal"
        )


def test_a_cell_has_at_least_so_many_skips():
    """They take the edges where they lose least; the edges stay the same, and so does the cell that has enough."""
    names, topology = ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"), ConvGenotype.topology(4)
    rng = np.random.default_rng(1)
    for _ in range(50):
        strength = np.float32(selection.softmax(rng.normal(size=(14, 4))))
        plain = selection.select(strength, topology, names, "normal")
        rows = [topology.row(source, topology.edge_of(index)) for index, (_, source) in enumerate(plain)]
        losses = [
            strength[row, names.index(name)] - strength[row, 1] for row, (name, _) in zip(rows, plain, strict=True)
        ]
        for least in range(9):
            pairs = limits.with_skips(selection.select, least)(strength, topology, names, "normal")
            changed = sorted(range(8), key=lambda index: losses[index])[:least]
            expected = [
                ("skip_connect" if index in changed else name, source) for index, (name, source) in enumerate(plain)
            ]
            assert pairs == expected
            assert limits.with_skips(selection.select, least)(strength, topology, names, "reduce") == plain


def test_limits_on_both_sides():
    """With both limits, cells hold as many as these allow, also where a limit on pools works against it."""
    names, topology, rng = SearchConfig().primitives, ConvGenotype.topology(4), np.random.default_rng(2)
    seen = set()
    for _ in range(200):
        config = SearchConfig(min_skips=2, max_skips=3, max_parameter_free=4)
        select = methods.make(config).selection(selection.select)
        strength = selection.softmax(rng.normal(size=(14, 8)) + 2 * rng.normal(size=8))
        cell = [name for name, _ in select(strength, topology, names, "normal")]
        seen.add(cell.count("skip_connect"))
        assert sum(name in limits.FREE for name in cell) <= 4
    assert seen == {2, 3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_skips": 3, "max_skips": 2}, "must not exceed.*Received: min_skips=3, max_skips=2"),
        ({"min_skips": 3, "max_parameter_free": 1}, "must not exceed.*max_parameter_free=1"),
        ({"min_skips": 9}, "only 8 edges of the normal cell may have skip_connect; lower it. Received: min_skips=9"),
        ({"min_skips": 1, "primitives": ("none", "max_pool_3x3")}, "not among the primitives.*Received: min_skips=1"),
        ({"min_skips": 1, "method": "p_darts"}, "must be 0 for p_darts"),
        ({"min_skips": 1, "method": "darts_pt"}, "leave them at 0, -1 and -1. Received: min_skips=1"),
    ],
)
def test_a_lower_limit_that_cannot_be_met_is_refused_at_once(settings, message):
    with pytest.raises(UserError, match=message):
        methods.make(SearchConfig(**settings))
    with pytest.raises(UserError, match="not among the primitives"):
        methods.make(LanguageSearchConfig(min_skips=1))
