"""Expected costs: against golden numbers, closed forms and the derived networks' own counts; the method in a search."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes, methods, spaces
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.genotypes import ConvGenotype
from darts_tf.methods.cost import Cost
from darts_tf.report.page import write_report
from darts_tf.spaces import costs, latency
from darts_tf.spaces.costs import Costs
from darts_tf.system.device import device
from darts_tf.system.errors import UserError
from tests.helpers.cases import IMAGES, SPACES, one_hot, searched
from tests.helpers.golden import read, under
from tests.helpers.kernels import assert_kernels, available, missing_on_a_gpu
from tests.helpers.runs import metrics
from tests.helpers.searches import run
from tests.helpers.steps import array, search_step
from tests.helpers.toy_space import Chain
from tests.helpers.variants import as_type, close

SIZES = (8, 8, 3), 10


@functools.cache
def table_of(space, kind, **changes):
    """The settings of a small search, with `none`, and what its networks cost."""
    own = spaces.get(space)
    primitives = tuple(dict.fromkeys(("none", *own.genotype.primitives)))
    config = SPACES[space].search.replace(primitives=primitives, num_nodes=own.genotype.usual_nodes, **changes)
    return config, costs.counted(own, config, SIZES, kind)


def range_of(config, found):
    """The costs of the cheapest and the most expensive network."""
    kind = spaces.get(config.space).genotype
    return found.range(lambda each: genotypes.derive(kind, each, config.primitives, config.num_nodes, strength=dict))


def random_cell(config, seed):
    kind, rng = spaces.get(config.space).genotype, np.random.default_rng(seed)
    shape = kind.topology(config.num_nodes).num_edges, len(config.primitives)
    alphas = {cell: rng.normal(size=shape) for cell in kind.cells}
    return genotypes.derive(kind, alphas, config.primitives, config.num_nodes)


@pytest.mark.parametrize("number", range(4))
def test_golden_costs(variants, dtype, number):
    """Where every edge is kept, and without `none`, the expected cost is the plain sum of ProxylessNAS."""
    case = read(variants, "expected_cost_config.json")["cases"][number]
    theirs = under(read(variants, "expected_cost.npz"), f"case{number}/")
    topology = dataclasses.replace(ConvGenotype.topology(4), kept=(2, 3, 4, 5))
    weight = case["params"].get("lambda", 0.2)
    method = Cost(SearchConfig(method="cost", cost_weight=weight))
    method.costs = Costs(topology, tuple("abcdefg"), {"normal": theirs["table"]}, case["constant"])
    method.reference, alpha = case["ref_value"], tf.constant(theirs["alpha"], dtype)
    with tf.GradientTape() as tape:
        tape.watch(alpha)
        mixing = {"normal": tf.nn.softmax(alpha)}
        penalty = method.penalty({"normal": alpha}, mixing, 0)
    close(method.costs.expected(mixing), theirs["expected"], as_type(dtype)["loss"])
    if case["kind"] == "add#linear":
        close(case["cross_entropy"] + penalty, theirs["loss"], as_type(dtype)["loss"])
        close(tape.gradient(penalty, alpha), theirs["grad_alpha"], as_type(dtype)["alphas"])


@pytest.mark.parametrize("space", IMAGES)
def test_the_expected_cost_and_its_gradient_are_the_closed_form(float64, space):
    """k times a mean, whose derivative is k (cost - mean) / sum of weights."""
    config, found = table_of(space, "macs")
    rng, topology = np.random.default_rng(0), found.topology
    mixing = {cell: tf.constant(rng.random(each.shape)) for cell, each in found.operations.items()}
    choices = [i for i, name in enumerate(config.primitives) if topology.none or name != "none"]
    value, gradient = found.fixed, {cell: np.zeros(each.shape) for cell, each in mixing.items()}
    for cell, table in found.operations.items():
        for node, kept in zip(topology.nodes, topology.kept, strict=True):
            rows = list(topology.rows(node))
            for group, k in [([row], 1) for row in rows] if kept == len(rows) else [(rows, kept)]:
                places = np.ix_(group, choices)
                weights, own = mixing[cell].numpy()[places], table[places]
                mean = (weights * own).sum() / weights.sum()
                value += k * mean
                gradient[cell][places] = k * (own - mean) / weights.sum()
    with tf.GradientTape() as tape:
        tape.watch(mixing)
        expected = found.expected(mixing)
    np.testing.assert_allclose(expected, value, rtol=1e-12)
    for cell, each in tape.gradient(expected, mixing).items():
        np.testing.assert_allclose(each, gradient[cell], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("space", IMAGES)
@pytest.mark.parametrize("kind", ["macs", "parameters"])
def test_one_hot_weights_cost_what_their_network_does(float64, space, kind):
    """Also in other channels and cells than those of the search, and next to a column that a method has added."""
    config, found = table_of(space, kind, init_channels=6, num_cells=5)
    least, most = range_of(config, found)
    for seed in range(3):
        cell = random_cell(config, seed)
        net = costs.network(spaces.get(space), config, cell, SIZES)
        counted = (net.macs() if kind == "macs" else net.parameters) / 1e6
        assert found.of(cell) == pytest.approx(counted, rel=1e-12) and least <= counted <= most
        mixing = {name: np.pad(rows, ((0, 0), (0, 1))) for name, rows in one_hot(cell, config.primitives).items()}
        mixing = {name: tf.constant(rows, "float64") for name, rows in mixing.items()}
        assert float(found.expected(mixing)) == pytest.approx(counted, rel=1e-12)


def test_the_range_is_that_of_all_cells():
    """Of NAS-Bench-201, 73,306 and 1,531,546 weights; of image cells, the cheapest and dearest of many."""
    config = SPACES["nasbench201"].search.replace(init_channels=16, num_cells=17)
    counted = costs.counted(spaces.get("nasbench201"), config, ((32, 32, 3), 10), "parameters")
    least, most = range_of(config, counted)
    assert (round(1e6 * least), round(1e6 * most)) == (73306, 1531546)
    config, found = table_of("conv", "macs")
    topology = found.topology
    all_of = [found.of(random_cell(config, seed)) for seed in range(300)]
    assert range_of(config, found)[0] <= min(all_of) and max(all_of) <= range_of(config, found)[1]
    dear = {cell: each.argmax(-1) for cell, each in found.operations.items()}
    pairs = {}
    for cell, chosen in dear.items():
        pairs[cell] = []
        for node, sources in zip(topology.nodes, topology.sources, strict=True):
            rows = topology.rows(node)
            strongest = sorted(rows, key=lambda row: -found.operations[cell][row].max())[:2]
            pairs[cell] += [(config.primitives[chosen[row]], sources[row - rows.start]) for row in strongest]
    concat = tuple(topology.nodes)
    dearest = ConvGenotype(tuple(pairs["normal"]), concat, tuple(pairs["reduce"]), concat)
    assert found.of(dearest) == pytest.approx(range_of(config, found)[1])


def made(space="conv", method="cost", **changes):
    """A method that knows its networks."""
    case = SPACES[space]
    config = case.search.replace(method=method, **changes)
    method = methods.make(config)
    method.variables(type("Net", (), {"image_shape": case.sizes[0], "num_classes": 10, "alphas": {}}))
    return method


def logits(seed=0, space="conv"):
    """Alphas that tell the operations apart."""
    rng, case = np.random.default_rng(seed), SPACES[space]
    kind, nodes = spaces.get(space).genotype, case.search.num_nodes
    shape = kind.topology(nodes).num_edges, len(case.search.primitives)
    return {cell: rng.normal(size=shape) for cell in kind.cells}


@pytest.mark.parametrize("space", IMAGES)
@pytest.mark.parametrize("name", ["cost", "cost,drnas", "cost,fair_darts"])
def test_the_derived_cell_costs_what_its_genotype_does(float64, space, name):
    method = made(space, name)
    config, kind = method.config, spaces.get(space).genotype
    for seed in range(5):
        alphas = logits(seed, space)
        strength = {"cost,fair_darts": lambda alphas: {cell: 1 / (1 + np.exp(-a)) for cell, a in alphas.items()}}
        how = {"strength": strength[name]} if name in strength else {}  # DrNAS ranks by a softmax, mixes otherwise
        expected = part(method).costs.of(genotypes.derive(kind, alphas, config.primitives, config.num_nodes, **how))
        assert float(part(method).derived(alphas)) == pytest.approx(expected, rel=1e-12)


def test_limits_count_in_the_cost_of_the_derived_cell(float64):
    few = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5")
    limits = [{}, {"max_skips": 0}, {"min_skips": 2}, {"max_skips": 1, "min_skips": 1}]
    found = [part(made(primitives=few, num_nodes=2, **limit)) for limit in limits]
    for seed in range(5):
        rng = np.random.default_rng(seed)
        alphas = {cell: rng.normal(size=(5, 3)) for cell in ("normal", "reduce")}
        for limit, each in zip(limits, found, strict=True):
            cells = each.whole.derive(alphas)
            skips = sum(name == "skip_connect" for name, _ in cells.normal)
            assert limit.get("min_skips", 0) <= skips <= limit.get("max_skips", 4)
            assert float(each.derived(alphas)) == pytest.approx(each.costs.of(cells), rel=1e-12)


def test_a_target_must_be_reachable_within_the_limits(float64):
    """The cheapest of normal cells has skip connections only."""
    settings = {"primitives": ("skip_connect", "sep_conv_3x3", "sep_conv_5x5"), "num_nodes": 2}
    free, limited = (part(made(**settings, **limits)).costs for limits in ({}, {"max_skips": 1, "min_skips": 1}))
    assert free.operations.keys() == limited.operations.keys()
    least = range_of(made(**settings).config, free)[0]
    separable = free.operations["normal"][0, 1]  # of four kept edges, three have one
    with pytest.raises(UserError, match=f"networks of this search have {least + 3 * separable:.4g} to "):
        made(**settings, max_skips=1, min_skips=1, cost_target=least * 1.01)
    made(**settings, max_skips=1, min_skips=1, cost_target=least + 3 * separable + 1e-9)


def test_a_search_that_diverges_has_no_derived_cell():
    alphas = {cell: a * np.nan for cell, a in logits().items()}
    assert np.isnan(part(made()).derived(alphas))


def part(method):
    """The one that penalises, of those that are combined."""
    return next(each for each in method.parts if isinstance(each, Cost))


def gradients_of(method, alphas):
    alphas = {cell: tf.convert_to_tensor(a) for cell, a in alphas.items()}
    with tf.GradientTape() as tape:
        tape.watch(alphas)
        penalty = method.penalty(alphas, method.whole.mixing_weights(alphas, None), 0)
    return tape.gradient(penalty, alphas, unconnected_gradients="zero")


def test_a_target_acts_while_the_derived_cell_is_above_it_and_without_one_the_penalty_always_does(float64):
    """Weights near equal expect much the same of a cheap and of a dear choice."""
    free = part(made())
    least, most = range_of(free.config, free.costs)
    capped = part(made(cost_target=(least + most) / 2))
    tables = free.costs.operations.items()
    dear = {cell: 0.01 * np.eye(4)[each.argmax(-1)] for cell, each in tables}
    cheap = {cell: 0.01 * np.eye(4)[each[:, 1:].argmin(-1) + 1] for cell, each in tables}
    assert float(free.derived(dear)) == pytest.approx(most)
    assert float(free.derived(cheap)) == pytest.approx(least)
    for method, alphas, acts in ((free, cheap, True), (free, dear, True), (capped, cheap, False), (capped, dear, True)):
        found = gradients_of(method, alphas)
        assert all(bool(np.any(each != 0)) == acts for each in found.values())
        mixing = method.whole.mixing_weights(alphas, None)
        ratio = float(method.costs.expected(mixing)) / method.reference
        assert float(method.penalty(alphas, mixing, 0)) == pytest.approx(0.1 * (ratio - 1) * acts, rel=1e-4)


def test_the_penalty_compiles_and_has_kernels_for_a_gpu():
    """That of a target derives a cell, in Python."""
    middle = sum(range_of(made().config, part(made()).costs)) / 2
    free, target = (part(made(cost_target=each)) for each in (0.0, middle))
    names = list(free.costs.operations)
    alphas = [
        tf.constant(10 * (each == each.max(-1, keepdims=True)), "float32") for each in free.costs.operations.values()
    ]

    def of(method, **how):
        def gradients(*rows):
            return list(gradients_of(method, dict(zip(names, rows, strict=True))).values())

        return tf.function(gradients, autograph=False, **how)

    assert_kernels(of(free).get_concrete_function(*alphas))
    missing = missing_on_a_gpu(of(target).get_concrete_function(*alphas)) if available() else [("PyFunc", "")]
    assert [op for op, _ in missing] == ["PyFunc"]
    for one, other, capped in zip(
        of(free)(*alphas), of(free, jit_compile=True)(*alphas), of(target)(*alphas), strict=True
    ):
        assert np.any(one != 0)
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-9)
        ratio = free.reference / target.reference  # the same expected cost, over another reference
        np.testing.assert_allclose(capped, one * ratio, rtol=1e-5, atol=1e-9)


def test_the_network_that_is_served_may_be_another():
    methods = made(), made(cost_channels=8, cost_cells=6), made(init_channels=8, num_cells=6)
    own, wide, same = (range_of(method.config, part(method).costs) for method in methods)
    assert wide[0] > 3 * own[0] and same == wide


@pytest.mark.parametrize("space", IMAGES)
def test_what_others_draw_stays_as_it_is(space):
    """The networks that costs are counted of draw start values, too."""
    found = []
    for method in ("pc_darts", "cost,pc_darts"):
        config, made, net = searched(space, method, **({"cost_weight": 0.0} if "cost" in method else {}))
        step = search_step(net, config, None, method=made)
        found.append([array(v) for v in (*step.functions.arch.values(), *net.weight_variables)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


# Tables of latencies


def latencies(space="conv", without=0, **changes):
    """A made-up table, as `darts-benchmark operations` writes it."""
    config = SPACES[space].search
    own, shape = spaces.get(space), SPACES[space].sizes[0]
    names = [name for name in config.primitives if name != "none"]
    net = costs.network(own, config, costs.alike(own, config, names[0]), SIZES)
    places = sorted({place for _, each in own.places(net) for place in each})
    rows = [{"operation": n, **p._asdict(), "ms": 0.1 * i} for p in places for i, n in enumerate(names)]
    table = {name: getattr(config, name) for name in latency.NETWORK} | {"image_shape": list(shape)}
    return table | {"device": device(), "scale": 2.0, "fixed_ms": 5.0, "operations": rows[without:]} | changes


def written(path, table):
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return str(path)


@pytest.mark.parametrize("space", IMAGES)
def test_latencies_are_the_tables(tmp_path, space):
    table = latencies(space)
    part = made(space, cost_kind="latency", cost_table=written(tmp_path / "t.json", table)).parts[0]
    config = part.config
    names = [name for name in config.primitives if name != "none"]
    dearest = costs.alike(spaces.get(space), config, names[-1])
    rows = {cell: len(getattr(dearest, cell)) for cell in dearest.cells}
    net = costs.network(spaces.get(space), config, dearest, SIZES)
    count = sum(rows[cell] for cell, _ in spaces.get(space).places(net))
    assert part.costs.of(dearest) == pytest.approx(5.0 + 2.0 * 0.1 * (len(names) - 1) * count)
    facts = part.facts({cell: tf.ones(each.shape) for cell, each in part.costs.operations.items()}, dearest)
    assert set(facts) == {"expected_latency_ms", "derived_latency_ms"}
    other = written(tmp_path / "other.json", latencies(space, device="a phone"))
    made(space, cost_kind="latency", cost_table=other, cost_device="a phone")


LATENCY = {"method": "cost", "cost_kind": "latency"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_cells": 4}, "cost_table is for another network. Expected num_cells=3;.*Received: num_cells=4"),
        ({"init_channels": 16}, "another network. Expected init_channels=4"),
        ({"image_shape": [32, 32, 3]}, r"another network. Expected image_shape=\[8, 8, 3\].*Received: .*32"),
        ({"space": "nasbench201"}, "another network. Expected space=conv"),
        ({"device": "a phone"}, "cost_table is for another device. Expected .*cost_device.* Received: 'a phone'"),
        ({"without": 1}, "another network. Expected max_pool_3x3 with .*--primitives"),
        ({"operations": []}, "not a table of operations.*Received: cost_table=.*parts are missing"),
        ({"operations": 3}, "not a table of operations.*TypeError"),
        ({"scale": float("nan")}, "not a table of operations.*not finite"),
        ("[", "not a table of operations.*JSONDecodeError"),
        (None, "cost_table cannot be read: No such file.*Received: cost_table=.*none.json"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line(tmp_path, changes, message):
    path = str(tmp_path / "none.json")
    if changes is not None:
        path = written(tmp_path / "t.json", changes if isinstance(changes, str) else latencies(**changes))
    with pytest.raises(UserError, match=message) as caught:
        made(**LATENCY, cost_table=path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cost_target": 1e-6}, "cost_target must be reachable: networks of this search have .* to .* million macs"),
        ({"cost_target": 1e6}, r"cost_target must be reachable.*Received: cost_target=1e\+06"),
        ({"cost_channels": 7}, "cost_channels, cost_cells: init_channels must be even.*Received: cost_channels=7"),
        ({"cost_cells": 2}, "cost_channels, cost_cells: .*Received: cost_channels=0, cost_cells=2"),
        ({"primitives": ("max_pool_3x3", "avg_pool_3x3")}, "needs operations of different cost.*max_pool_3x3"),
        ({"cost_kind": "latency"}, "cost_table must be given with cost_kind=latency"),
        ({"cost_table": "t.json"}, "cost_table must be given with cost_kind=latency, and only then"),
        ({"cost_device": "x"}, "cost_device must be empty without a cost_table"),
        ({"method": "darts", "cost_weight": 0.2}, "cost_weight is a setting of the method cost"),
        ({"method": "cost,darts_pt", "darts_pt_tuning_epochs": 0}, "darts_pt chooses without regard to that; keep one"),
        ({"cost_target": 0.1, "jit_compile": True}, "which XLA cannot compile; switch jit_compile off. Received: jit"),
        ({"cost_kind": "energy"}, "cost_kind must be one of macs, parameters, latency"),
    ],
)
def test_bad_settings_are_refused_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        made(**changes)
    assert "\n" not in str(caught.value)


def test_spaces_of_which_nothing_is_known_are_refused():
    with pytest.raises(UserError, match="recurrent cells all cost the same. Received: method=cost"):
        methods.make(LanguageSearchConfig(method="cost"))
    config = SearchConfig(space="chain", num_nodes=2, primitives=Chain.genotype.primitives)
    with pytest.raises(UserError, match="which this space does not define.*Received: space=chain"):
        costs.counted(spaces.get("chain"), config, SIZES, "macs")


def test_a_search_lowers_the_cost_and_its_report_shows_it(tmp_path):
    last, changes = {}, {"epochs": 1, "order": "first", "eigenvalue": False, "tensorboard": False}
    changes |= {"num_cells": 3, "num_nodes": 1, "arch_learning_rate": 0.5}
    changes |= {"primitives": ("sep_conv_5x5", "sep_conv_3x3", "max_pool_3x3")}
    for name, weight, target in (("without", 0.0, 0.0), ("with", 50.0, 0.0245)):
        run(tmp_path / name, method="cost", cost_weight=weight, cost_target=target, **changes)
        last[name] = metrics(tmp_path / name)[-1]
    assert last["with"]["expected_million_macs"] < 0.8 * last["without"]["expected_million_macs"]
    assert last["with"]["derived_million_macs"] < last["without"]["derived_million_macs"]
    assert last["with"]["target_million_macs"] == 0.0245 and "target_million_macs" not in last["without"]
    page = write_report([tmp_path / "with"], tmp_path / "page.html").read_text()
    chart = page[page.index("million macs") :].split("</figure>")[0]
    assert all(name in chart for name in ("expected", "derived", "target"))
