"""DARTS-PT against numbers of its authors' code, and by hand."""

import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, ConvGenotype, NasBench201Genotype, RecurrentGenotype
from darts_tf.genotypes.selection import softmax
from darts_tf.methods.darts_pt import crowded
from darts_tf.methods.schedules import cosine
from darts_tf.spaces.nasbench201.networks import CELL, NasBench201Supernet
from darts_tf.system.errors import UserError
from darts_tf.tasks.evaluators import SupernetEvaluator
from tests.helpers import nasbench201
from tests.helpers.golden import nhwc, read, split
from tests.helpers.variants import CELLS, Variant, as_type

CHEAP = {"method": "darts_pt", "darts_pt_tuning_epochs": 0}
NASBENCH201 = {"space": "nasbench201", "num_nodes": 3, "primitives": NASBENCH201_PRIMITIVES}


class Judged:
    """A judge on the golden batches that keeps what it has found, by name; equal questions are answered once."""

    def __init__(self, net, arrays, dtype):
        self.dtype, self.found, self.known = dtype, [], {}
        batches = [
            (nhwc(x, dtype), tf.constant(y, tf.int32))
            for x, y in zip(arrays["valid_x"], arrays["valid_y"], strict=True)
        ]

        def forward(mixing, images, state):
            return net.stateless([v.value for v in net.weight_variables], mixing, images)[0], state

        self.measure = SupernetEvaluator(forward, lambda count: batches)

    def __call__(self, rows, what="", batches=0):
        key = b"".join(each.tobytes() for each in rows.values())
        if key not in self.known:
            self.known[key] = self.measure({cell: tf.constant(each, self.dtype) for cell, each in rows.items()})
        self.found.append((what, *self.known[key]))
        return self.known[key]

    def check(self, accuracies, losses):
        """Compares the next answers with golden ones."""
        count, tolerance = len(losses), as_type(self.dtype)["loss"]
        _, mine, errors = zip(*self.found[:count], strict=True)
        del self.found[:count]
        np.testing.assert_allclose(mine, losses, rtol=10 * tolerance)
        np.testing.assert_allclose(
            100 - 100 * np.array(errors), accuracies, atol=1e-6 if self.dtype == "float64" else 1e-4
        )


def decided(method, judged, rows, plan, steps):
    """Projects in the golden order; compares every answer, what is kept, and the rows at the end."""
    nodes = {cell: [3 + node for node in order] for cell, order in plan["node_order"].items()}  # of those with three
    found = method.project(rows, judged, plan["edge_order"], nodes)
    for step in steps:
        cell = step.get("kind", CELL)
        if step.get("what", "operation") == "operation":
            judged.check(step["accuracy"], step["loss"])
            assert found[cell][step["edge"]].argmax() == step["chosen"] or not found[cell][step["edge"]].any()
        else:  # each removal is judged once: the original judges those that are left again, to the same numbers
            first, *others = step["rounds"]
            judged.check(first["accuracy"], first["loss"])
            for other in others:
                numbers = dict(zip(first["edges"], first["loss"], strict=True))
                assert other["loss"] == [numbers[edge] for edge in other["edges"]]
            assert [edge for edge in first["edges"] if found[cell][edge].any()] == step["kept"]
    assert not judged.found
    return found


CRITERIA = {"loss": "loss", "acc": "accuracy"}


@pytest.mark.parametrize(
    ("criterion", "dtype"),
    [("loss", "float64"), pytest.param("acc", "float32", marks=pytest.mark.slow)],
    indirect=["dtype"],
)
def test_a_projection_in_the_darts_space(variants, criterion, dtype):
    variant = Variant(
        variants,
        "dartspt_network",
        dtype,
        **CHEAP,
        darts_pt_criterion=CRITERIA[criterion],
        darts_pt_batches=4,
    )
    facts, arrays = variant.config, variant.arrays
    judged = Judged(variant.net, arrays, dtype)
    rows = {cell: softmax(arrays[f"alpha_{cell}"], dtype) for cell in CELLS}
    judged(rows)
    judged.check([arrays["unmasked/accuracy"]], [arrays["unmasked/loss"]])
    sequence = facts["sequences"][criterion]
    found = decided(variant.method.chooser, judged, rows, facts, sequence["steps"])
    for cell in CELLS:
        np.testing.assert_array_equal(found[cell], arrays[f"{criterion}/final_weights_{cell}"])
    genotype = genotypes.derive(ConvGenotype, found, facts["primitives"], 4, strength=lambda each: each)
    assert genotype == genotypes.from_json(sequence["genotype"])


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_projection_in_nasbench201(variants, criterion, dtype):
    facts, arrays = read(variants, "dartspt_nb201_config.json"), read(variants, "dartspt_nb201.npz")
    net = NasBench201Supernet(facts["classes"], (facts["image"], facts["image"], 3), facts["C"], 3 * facts["N"] + 2)
    stored = split(arrays["param_flat"], list(facts["parameter_shapes"]), facts["parameter_shapes"])
    stored |= split(arrays["buffer_flat"], list(facts["buffer_shapes"]), facts["buffer_shapes"])
    nasbench201.load(nasbench201.slots(net), nasbench201.unbiased(stored))
    settings = SearchConfig(
        space="nasbench201",
        num_nodes=3,
        primitives=tuple(facts["operations"]),
        **CHEAP,
        darts_pt_criterion=CRITERIA[criterion],
    )
    judged, rows = Judged(net, arrays, dtype), {CELL: softmax(arrays["alpha"], dtype)}
    judged(rows)
    judged.check([arrays["unmasked/accuracy"]], [arrays["unmasked/loss"]])
    facts = facts | {"edge_order": {CELL: facts["edge_order"]}, "node_order": {CELL: []}}
    sequence = facts["sequences"][criterion]
    found = decided(methods.make(settings).chooser, judged, rows, facts, sequence["steps"])
    genotype = genotypes.derive(NasBench201Genotype, found, facts["operations"], 3, strength=lambda each: each)
    assert genotype == genotypes.parse(sequence["genotype"].strip())


def test_ties_and_what_may_be_kept():
    """Equal removals: the first operation stays and the last edge goes; `none` only where a cell may keep it."""
    for kind, settings in (
        (ConvGenotype, SearchConfig(**CHEAP, darts_pt_criterion="accuracy", num_nodes=3)),
        (RecurrentGenotype, LanguageSearchConfig(**CHEAP, darts_pt_criterion="accuracy", num_nodes=3)),
        (NasBench201Genotype, SearchConfig(**CHEAP, **NASBENCH201)),
    ):
        topology, names = kind.topology(3), settings.primitives
        asked = []

        def judge(rows, what, batches=0, asked=asked):
            asked.append(what)
            return 1.0, 0.25

        start = {cell: np.full((topology.num_edges, len(names)), 0.1) for cell in kind.cells}
        found = methods.make(settings).chooser.choose(start, judge)
        first = int(names[0] == "none" and not topology.none)
        for rows in found.values():
            for node, kept in zip(topology.nodes, topology.kept, strict=True):
                own = rows[list(topology.rows(node))]
                assert (own[:kept, first] == 1).all() and own.sum() == kept
        tried = len(names) - first
        more = sum(len(topology.rows(node)) for node in crowded(topology))
        assert len(asked) == len(set(asked)) == len(start) * (tried * topology.num_edges + more)
        assert any("without none" in what for what in asked) == topology.none
        assert (start[next(iter(start))] == 0.1).all()


def test_the_worst_removals_stay():
    """By a made-up supernet whose loss is a sum of what its operations are worth; each seed has its own order."""
    topology, rng = ConvGenotype.topology(3), np.random.default_rng(3)
    config = SearchConfig(**CHEAP, num_nodes=3, primitives=("max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    worth = {cell: rng.random((topology.num_edges, 3)) for cell in CELLS}
    orders = []
    for seed in (1, 2):
        asked = []

        def judge(rows, what, batches, asked=asked):
            asked.append((what, batches))
            return -sum((worth[cell] * rows[cell]).sum() for cell in CELLS), 0.5

        start = {cell: np.full(worth[cell].shape, 1 / 3) for cell in CELLS}
        method = methods.make(config.replace(seed=seed, darts_pt_batches=5)).chooser
        found = method.choose(start, judge)
        for cell in CELLS:
            one_hot = np.eye(3)[worth[cell].argmax(1)]
            for node, kept in zip(topology.nodes, topology.kept, strict=True):
                own = list(topology.rows(node))
                strongest = sorted(own, key=lambda edge, cell=cell: -worth[cell].max(1)[edge])
                one_hot[strongest[kept:]] = 0
            np.testing.assert_array_equal(found[cell], one_hot)
        orders.append([what for what, _ in asked])
        assert {batches for _, batches in asked} == {5}
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_a_removal_that_ruins_the_supernet_stays():
    config = SearchConfig(**CHEAP, **NASBENCH201)
    start = {CELL: np.full((6, 5), 0.2)}
    ruined = methods.make(config).chooser.choose(
        start, lambda rows, what, batches: (math.inf if "nor_conv_1x1" in what else 1.0, 0.5)
    )
    assert (ruined[CELL][:, 2] == 1).all()


@pytest.mark.parametrize(("settings", "count"), [({}, 16), (NASBENCH201, 5)], ids=["conv", "nasbench201"])
def test_training_between_the_decisions(settings, count):
    """As published: five epochs after each but the last, at a rate that falls once over all of them."""
    rates, asked = [], []

    class Judge:
        def __call__(self, rows, what, batches):
            asked.append({cell: each.copy() for cell, each in rows.items()})
            return 1.0, 0.5

        def train(self, number, own):
            assert number == len(rates) // 5 and len(own) == 5
            rates.extend(own)
            return {cell: np.full(each.shape, 1 / (2 + number)) for cell, each in asked[-1].items()}

    config = SearchConfig(method="darts_pt", **settings)
    cells = ("normal", "reduce") if count == 16 else (CELL,)
    start = {cell: np.full((14, 8) if count == 16 else (6, 5), 0.125) for cell in cells}
    methods.make(config).chooser.choose(start, Judge())
    np.testing.assert_allclose(rates, [cosine(0.0025, 0.001, epoch, 5 * count) for epoch in range(5 * count)])
    assert len(rates) == 5 * count
    row = asked[len(cells) * (7 if count == 16 else 5)][cells[0]]  # the first question after the first training
    assert (
        sorted({tuple(each) for each in row[:, 1:].round(3)}) != [] and (row == 0.5).any() and not (row == 0.125).any()
    )
    assert ((row == 0) | (row == 1)).all(1).sum() == 1  # one edge is decided


def test_what_is_decided_has_no_gradient(float64):
    """Its row takes the place of the relaxed one, in front of what methods adjust; nothing is decided at the start."""
    config = SearchConfig(
        method="pc_darts,darts_pt", pc_darts_k=1, num_nodes=2, primitives=("skip_connect", "sep_conv_3x3")
    )
    method, plain = methods.make(config), methods.make(config.replace(method="pc_darts"))
    rng = np.random.default_rng(0)
    alphas = {cell: keras.Variable(rng.normal(size=(5, 2))) for cell in CELLS}
    net = types.SimpleNamespace(alphas=alphas, variable_dtype="float64")
    values = {name: v.value for name, v in (alphas | method.variables(net)).items()}
    mixing = method.mixing_weights(values, None)
    for cell, rows in plain.mixing_weights(values, None).items():
        np.testing.assert_array_equal(mixing[cell], rows)
    rows = {cell: np.tile([0.0, 1.0], (5, 1)) for cell in CELLS}
    method.chooser.decide({"normal": np.arange(5) == 2, "reduce": np.arange(5) < 0}, rows)
    with tf.GradientTape() as tape:
        tape.watch(values["normal"])
        found = method.mixing_weights(values, None)
        loss = tf.reduce_sum(found["normal"] * rng.normal(size=(5, 2)))
    expected = mixing["normal"].numpy()
    expected[2] = [0, expected[2].sum()]  # with the weight of its edge
    np.testing.assert_allclose(found["normal"], expected)
    np.testing.assert_array_equal(found["reduce"], mixing["reduce"])
    gradient = tape.gradient(loss, values["normal"]).numpy()
    assert (gradient[2] == 0).all() and (gradient[[0, 1, 3, 4]] != 0).all()


def test_what_contradicts_it_is_refused():
    for changes, message in (
        ({"method": "darts_pt,random_nas"}, "random_nas, darts_pt each choose the cells"),
        (
            {"method": "darts_pt", "max_parameter_free": 2},
            "darts_pt chooses in another way; leave them at 0, -1 and -1. "
            "Received: min_skips=0, max_skips=-1, max_parameter_free=2",
        ),
        ({"method": "darts_pt", "early_stop": "eigenvalue"}, "early_stop takes .*Received: early_stop=eigenvalue"),
        ({"method": "darts_pt", "darts_pt_criterion": "error"}, "darts_pt_criterion must be one of loss, accuracy"),
        ({"method": "darts_pt", "darts_pt_batches": -1}, "darts_pt_batches must be at least 0"),
        ({"method": "darts_pt", "strategy": "multi_worker"}, "in one process only.*Received: darts_pt_tuning_epochs=5"),
        ({"darts_pt_batches": 5}, "darts_pt_batches is a setting of the method darts_pt"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            methods.make(SearchConfig(**changes))
        assert "\n" not in str(caught.value)
