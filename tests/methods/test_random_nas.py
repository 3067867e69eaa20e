"""RandomNAS: its cells, its steps, how it chooses."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.genotypes import ConvGenotype, NasBench201Genotype, RecurrentGenotype
from darts_tf.methods.random_nas import mean_rows, random_rows
from darts_tf.system.errors import UserError
from tests.helpers.steps import array, batches, rate, step_of

TOPOLOGIES = {
    "conv": (ConvGenotype.topology(3), ("none", "skip_connect", "sep_conv_3x3")),
    "nasbench201": (NasBench201Genotype.topology(3), NasBench201Genotype.primitives),
    "recurrent": (RecurrentGenotype.topology(3), ("none", "tanh", "relu")),
}


@pytest.mark.parametrize("space", TOPOLOGIES)
def test_random_cells(space):
    """Each keeps as many edges of each node as a genotype; the mean over many is that of uniform draws."""
    topology, primitives = TOPOLOGIES[space]
    draws = 3000
    seeds = tf.stack([tf.fill([draws], tf.constant(5, tf.int64)), tf.range(draws, dtype=tf.int64)], 1)

    def draw(seed):
        return random_rows(topology, primitives, seed, tf.float64)

    rows = tf.function(lambda: tf.map_fn(draw, seeds, fn_output_signature=tf.float64), autograph=False)().numpy()
    assert set(np.unique(rows)) == {0, 1}
    for node, kept in zip(topology.nodes, topology.kept, strict=True):
        assert (rows[:, list(topology.rows(node))].sum((1, 2)) == kept).all()
    assert rows.sum(-1).max() == 1
    expected = mean_rows(topology, primitives)
    assert expected.sum() == pytest.approx(topology.num_pairs)
    deviation = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(rows.mean(0) - expected) <= 5 * deviation).all()
    np.testing.assert_array_equal(draw(seeds[7]), rows[7])
    genotype = {"conv": ConvGenotype, "nasbench201": NasBench201Genotype, "recurrent": RecurrentGenotype}[space]
    cells = dict.fromkeys(genotype.cells, rows[3])
    found = genotypes.derive(genotype, cells, primitives, 3, strength=lambda alphas: alphas)
    for cell in genotype.cells:
        for number, (name, source) in enumerate(getattr(found, cell)):
            assert rows[3][topology.row(source, topology.edge_of(number)), primitives.index(name)] == 1


@pytest.mark.parametrize("order", ["first", "second"])
def test_a_step_costs_one_pass_of_the_weights(float64, order):
    step = step_of("random_nas", **({} if order == "first" else {"kind": "exact"}))
    before, weights = (
        [array(v) for v in group] for group in (step.functions.arch.values(), step.supernet.weight_variables)
    )
    report = step(*batches(), tf.constant(1, tf.int64), rate(0.1), rate(0.0))
    assert "valid_loss" not in report and step.functions.gradients.cache_info().misses == 1
    for old, variable in zip(before, step.functions.arch.values(), strict=True):
        np.testing.assert_array_equal(old, array(variable))
    assert any(
        not np.array_equal(old, array(v)) for old, v in zip(weights, step.supernet.weight_variables, strict=True)
    )


def test_a_step_is_that_of_the_cell(float64):
    """A step at the rows that it has drawn is the step with these rows as they are."""
    step, other = step_of("random_nas"), step_of("random_nas")
    seed = step.domain.seeds(tf.constant(1, tf.int64))[0]
    drawn = step.method.noise(step.functions.named([v.value for v in step.functions.arch.values()]), seed, 0)
    step(*batches(), tf.constant(1, tf.int64), rate(0.1), rate(0.0))
    weights = other.functions.weights.pack(other.supernet.weight_variables)
    alphas = [v.value for v in other.functions.arch.values()]
    other.weight_step(batches()[0], rate(0.1), weights, alphas, drawn)
    for mine, theirs in zip(step.supernet.weight_variables, other.supernet.weight_variables, strict=True):
        np.testing.assert_array_equal(array(mine), array(theirs))


@pytest.mark.parametrize("kind", ["images", "text"])
def test_the_best_of_many(kind):
    """Ten of thirty are judged on all batches; of equal errors the loss decides, of a text the loss alone."""
    asked = {}

    def judge(cell, what, batches=0):
        number = int(what.split()[1].strip(","))
        asked[number, batches] = cell
        if batches:
            return 100.0 - number, 0.5  # the last ten are the best
        return {25: (3.0, 0.2), 28: (2.0, 0.2), 29: (1.0, 0.3)}.get(number, (4.0, 0.4))

    config = SearchConfig if kind == "images" else LanguageSearchConfig
    method = methods.make(config(method="random_nas", random_nas_cells=30, random_nas_batches=3))
    found = method.chooser.choose({}, judge)
    assert [number for number, batches in asked if batches] == [*range(1, 31)] and len(asked) == 40
    assert {batches for _, batches in asked} == {3, 0}
    assert {number for number, batches in asked if not batches} == set(range(21, 31))
    best = asked[28 if kind == "images" else 29, 0]
    assert found is best
    cells = [np.concatenate([np.ravel(rows) for rows in cell.values()]) for (_, b), cell in asked.items() if b]
    assert len(np.unique(cells, axis=0)) > 25


def test_what_contradicts_it_is_refused():
    for changes, message in (
        ({"method": "random_nas,gdas"}, "gdas, random_nas each relax"),
        (
            {"method": "random_nas,beta_darts"},
            "beta_darts adds to the gradient of the alphas, which random_nas does not",
        ),
        (
            {"method": "random_nas", "max_skips": 2},
            "max_skips and max_parameter_free limit .*Received: min_skips=0, max_skips=2, max_parameter_free=-1",
        ),
        ({"method": "random_nas", "early_stop": "eigenvalue"}, "early_stop takes .*Received: early_stop=eigenvalue"),
        (
            {"method": "random_nas", "random_nas_cells": 0},
            "random_nas_cells must be at least 1. Received: random_nas_cells=0",
        ),
        ({"method": "random_nas", "random_nas_batches": 0}, "random_nas_batches must be at least 1"),
        ({"random_nas_cells": 5}, "random_nas_cells is a setting of the method random_nas"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            methods.make(SearchConfig(**changes))
        assert "\n" not in str(caught.value)
