"""Recurrent cells and language models: plain NumPy, one-hot alphas, carried state, dropout, batch norm, losses."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.objective import SupernetLoss, values
from darts_tf.bilevel.step import traced
from darts_tf.genotypes import RecurrentGenotype
from darts_tf.interop.conv import load_arrays, to_arrays
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.cells import ACTIVATIONS, RecurrentCell, RecurrentSearchCell
from darts_tf.spaces.recurrent.masks import Masks
from darts_tf.spaces.recurrent.networks import RecurrentNetwork, RecurrentSupernet
from darts_tf.spaces.recurrent.norm import EPSILON, MOMENTUM, NodeNorm
from darts_tf.system.errors import UserError
from tests.helpers.recurrent import BATCH, GENOTYPE, UNITS, VOCABULARY, inputs, randomised, some_masks, targets
from tests.helpers.steps import SequenceLoss, stateless

FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "identity": lambda x: x,
}


def highway(s, product, f):
    gate, candidate = np.split(product, 2, -1)
    return s + FUNCTIONS["sigmoid"](gate) * (FUNCTIONS[f](candidate) - s)


# Cells against NumPy


@pytest.mark.parametrize("dropout", [False, True])
def test_search_cell_is_the_sum_over_edges_and_activations(float64, dropout):
    nodes, primitives = 3, ("none", "tanh", "identity", "relu", "sigmoid")
    cell = randomised(RecurrentSearchCell(4, UNITS, nodes, 2, primitives))
    rng = np.random.default_rng(5)
    x, state = rng.normal(size=(6, BATCH, 4)), rng.normal(size=(BATCH, UNITS))
    mixing = rng.dirichlet(np.ones(5), size=6)
    x_mask, h_mask = (rng.integers(2, size=(BATCH, n)) * 2.0 if dropout else None for n in (4, UNITS))
    drawn = Masks(x=x_mask, hidden=h_mask)
    found, statistics = cell(x, tf.constant(state), tf.constant(mixing), masks=drawn, training=True)
    start, *weights = (v.numpy() for v in cell.weight_variables)
    x_mask, h_mask = (1 if m is None else m for m in (x_mask, h_mask))
    moments = []

    def normalised(s):
        moments.append((s.mean(0), s.var(0, ddof=1)))
        return (s - s.mean(0)) / np.sqrt(s.var(0) + EPSILON)

    for step, word in enumerate(x):
        product = np.concatenate([word * x_mask, state * h_mask], 1) @ start
        states, row = [normalised(highway(state, product, "tanh"))], 0
        for node in range(nodes):
            total = 0
            for previous in states:
                product = (previous * h_mask) @ weights[node]
                for column, name in enumerate(primitives):
                    if name != "none":
                        total = total + mixing[row, column] * highway(previous, product, name)
                row += 1
            states.append(normalised(total))
        state = np.mean(states[-2:], 0)
        np.testing.assert_allclose(found[step], state, rtol=1e-10, atol=1e-12)
    moments = np.reshape(moments, (6, nodes + 1, 2, UNITS)).mean(0).transpose(1, 0, 2)
    np.testing.assert_allclose(statistics, moments, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dropout", [False, True])
def test_derived_network_is_its_genotype(float64, dropout):
    net = randomised(RecurrentNetwork(GENOTYPE, VOCABULARY, UNITS))
    given = inputs(drawn=some_masks() if dropout else None)
    outputs = net(*given)
    embedding, start, *weights, bias = (v.numpy() for v in net.weight_variables)
    drawn = [1 if m is None else np.asarray(m) for m in given.masks]
    state = given.state.numpy()
    for step, words in enumerate(given.tokens.numpy()):
        word = (embedding * drawn[0])[words] * drawn[1]
        states = [highway(state, np.concatenate([word * drawn[2], state * drawn[3]], 1) @ start, "tanh")]
        for (name, source), weight in zip(GENOTYPE.recurrent, weights, strict=True):
            states.append(highway(states[source], (states[source] * drawn[3]) @ weight, name))
        state = np.mean([states[node] for node in GENOTYPE.concat], 0)
        np.testing.assert_allclose(outputs.states[step], state, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(outputs.dropped[step], state * drawn[4], rtol=1e-10, atol=1e-12)
        logits = (state * drawn[4]) @ embedding.T + bias
        np.testing.assert_allclose(outputs.logits[step], logits, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(outputs.state, state, rtol=1e-10, atol=1e-12)
    assert set(FUNCTIONS) == set(ACTIVATIONS) - {"none"}


# State, time, dropout


def networks():
    yield randomised(RecurrentSupernet(VOCABULARY, UNITS, 2))
    yield randomised(RecurrentNetwork(GENOTYPE, VOCABULARY, UNITS))


def test_two_windows_with_the_state_carried_are_one(float64):
    for net in networks():
        whole = inputs(7)
        first = net(whole.tokens[:3], whole.state)
        second = net(whole.tokens[3:], first.state)
        together = net(*whole)
        for name in ("logits", "states"):
            parts = tf.concat([getattr(first, name), getattr(second, name)], 0)
            np.testing.assert_allclose(parts, getattr(together, name), rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(second.state, together.state)


@pytest.mark.parametrize("jit", [False, True])
def test_graph_eager_and_compiled_agree(float64, jit):
    for net in networks():
        given = inputs(drawn=some_masks())
        functions = [SupernetLoss(net, SequenceLoss(0.1, 0.2), trace, strict=False) for trace in (None, traced)]
        weights, alphas = functions[0].weights.pack(net.weight_variables), values(net.arch_variables)
        eager, graph = (f.gradients((WEIGHTS,), True) for f in functions)
        if jit:
            graph = tf.function(eager, autograph=False, jit_compile=True)
        pairs = zip(*(tf.nest.flatten(f(weights, alphas, given, targets())) for f in (eager, graph)), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_any_number_of_steps_is_one_trace(float64):
    """And the loop is a loop: the graph does not grow with the steps."""
    for net in networks():
        spec = tf.TensorSpec((None, BATCH), tf.int32), tf.TensorSpec((BATCH, UNITS), tf.float64)
        run = tf.function(lambda *args, net=net: net(*args).logits, input_signature=spec, autograph=False)
        for steps in (1, 4, 9):
            given = inputs(steps)
            np.testing.assert_allclose(run(*given[:2]), net(*given).logits, rtol=1e-12, atol=1e-14)
        assert run.experimental_get_tracing_count() == 1

        def size(steps, net=net):
            call = tf.function(lambda *args: net(*args).logits, autograph=False)
            definition = call.get_concrete_function(*inputs(steps)[:2]).graph.as_graph_def()
            return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)

        assert size(2) == size(30)


def test_masks_are_drawn_by_their_seed(float64):
    rates = Masks(0.1, None, 0.75, 0.25, 0)
    drawn, again, other = (masks.draw(seed, rates, 400, 100, 900, "float64") for seed in ([1, 2], [1, 2], [1, 3]))
    assert drawn.input is drawn.output is None and drawn.embedding.shape == (900, 1)
    for name in ("embedding", "x", "hidden"):
        mask, rate = getattr(drawn, name).numpy(), getattr(rates, name)
        assert set(np.unique(mask)) == {0, 1 / (1 - rate)}
        np.testing.assert_array_equal(mask, getattr(again, name))
        assert (mask != getattr(other, name).numpy()).any()
        np.testing.assert_allclose((mask == 0).mean(), rate, atol=5 * np.sqrt(rate * (1 - rate) / mask.size))
    assert ((drawn.x.numpy() == 0) != (drawn.hidden.numpy() == 0)).any()


def test_dropped_words_stay_in_the_decoder(float64):
    (net,) = (n for n in networks() if isinstance(n, RecurrentNetwork))
    given = inputs()
    nothing = net(*given._replace(masks=Masks(embedding=tf.zeros((VOCABULARY, 1), "float64"))))
    net.embedding.assign(np.zeros(net.embedding.shape))
    np.testing.assert_allclose(nothing.states, net(*given).states, atol=1e-14)
    assert np.abs(nothing.logits).max() > 0.1


# Batch norm


def test_each_node_keeps_its_own_statistics(float64):
    net = randomised(RecurrentSupernet(VOCABULARY, UNITS, 3))
    _, (statistics,) = stateless(net, values(net.weight_variables), values(net.arch_variables), inputs())
    (moving,) = state = values(net.state_variables)
    assert moving.shape == statistics.shape == (2, 4, UNITS)
    (moved,) = net.moved_state(state, [statistics])
    np.testing.assert_allclose(moved, MOMENTUM * moving + (1 - MOMENTUM) * statistics, rtol=1e-14)
    packed = SupernetLoss(net).state
    (flat,) = net.moved_state(packed.pack(state), packed.pack([statistics]))
    np.testing.assert_array_equal(flat, np.ravel(moved))
    for node in range(4):
        net.cell.norm.moving.assign(statistics)
        x = np.random.default_rng(node).normal(size=(2, UNITS))
        mean, variance = statistics.numpy()[:, node]
        expected = (x - mean) / np.sqrt(variance + EPSILON)
        np.testing.assert_allclose(net.cell.norm.inference(x, node), expected, rtol=1e-12)


def test_shared_statistics_are_moved_once_for_each_node_and_step(float64):
    norm, rng = NodeNorm(3, UNITS, shared=True), np.random.default_rng(0)
    statistics = rng.uniform(0.5, 2, size=(5, 3, 2, UNITS))
    moving = np.array(norm.moving)
    expected = moving[:2, 0]
    for mean, variance in statistics.reshape(-1, 2, UNITS):
        expected = MOMENTUM * expected + (1 - MOMENTUM) * np.stack([mean, variance * 7 / 6])
    moved = norm.moved(moving, norm.pooled(tf.constant(statistics.reshape(5, 6, UNITS)), 7))
    np.testing.assert_allclose(moved[:2, 0], expected, rtol=1e-12)
    np.testing.assert_array_equal(moved[2, 0], np.full(UNITS, 15))


# Losses


def test_penalties(float64):
    (net,) = (n for n in networks() if isinstance(n, RecurrentNetwork))
    outputs, y = net(*inputs(drawn=some_masks())), targets()
    logits = outputs.logits.numpy()
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    plain = -np.take_along_axis(logits, y.numpy()[..., None], -1).mean()
    np.testing.assert_allclose(SequenceLoss()(outputs, y), plain, rtol=1e-12)
    activation = np.mean(outputs.dropped.numpy() ** 2)
    slowness = np.mean(np.diff(outputs.states.numpy(), axis=0) ** 2)
    loss = SequenceLoss(2.0, 3.0)
    np.testing.assert_allclose(loss.penalty(outputs), 2 * activation + 3 * slowness, rtol=1e-12)
    np.testing.assert_allclose(loss(outputs, y), plain + 2 * activation + 3 * slowness, rtol=1e-12)
    assert SequenceLoss(slowness=1.0).penalty(net(*inputs(1))) == 0


# Manners


def test_order_of_the_variables(float64):
    net = RecurrentSupernet(VOCABULARY, UNITS, 2)
    names = ["embedding", "start", "node0", "node1", "bias"]
    assert [v.name for v in net.weight_variables] == names
    assert [v.name for v in [*net.arch_variables, *net.state_variables]] == ["alphas", "moving"]
    assert {id(v) for v in net.variables} == {
        id(v) for v in [*net.weight_variables, *net.arch_variables, *net.state_variables]
    }
    assert net.parameters == sum(v.numpy().size for v in net.weight_variables)


def test_weights_of_the_original_go_in_and_out(float64):
    net, other = RecurrentSupernet(VOCABULARY, UNITS, 2), RecurrentSupernet(VOCABULARY, UNITS, 2)
    randomised(net)
    rng = np.random.default_rng(0)
    arrays = to_arrays(net) | {f"rnns.0.bn.running_{n}": rng.uniform(size=UNITS) for n in ("mean", "var")}
    arrays["decoder.weight"], arrays["alphas"] = arrays["encoder.weight"], net.arch_variables[0].numpy()
    load_arrays(other, arrays)
    for node in range(3):  # the original's one batch norm serves all nodes
        np.testing.assert_array_equal(other.cell.norm.moving[1, node], arrays["rnns.0.bn.running_var"])
    again = to_arrays(other)
    for name in arrays.keys() - {"decoder.weight", "alphas"}:
        np.testing.assert_allclose(again[name], arrays[name], rtol=1e-15)
    np.testing.assert_array_equal(other.arch_variables[0], arrays["alphas"])
    with pytest.raises(UserError, match="decoder.weight must be the same matrix as encoder.weight"):
        load_arrays(other, arrays | {"decoder.weight": arrays["encoder.weight"] + 1})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RecurrentSupernet(1), "at least 2 words.*vocabulary_size=1"),
        (lambda: RecurrentSupernet(9, 0), "1 unit.*units=0"),
        (lambda: RecurrentSupernet(9, 4, primitives=("none", "gelu")), "Unknown primitive.*'gelu'"),
        (lambda: RecurrentSupernet(9, 4, primitives=("none",)), "other than 'none'"),
        (lambda: RecurrentSupernet(9, 4, 0), "num_nodes=0"),
        (lambda: RecurrentSupernet(9, 4, 3, 4), "concat=4"),
        (lambda: RecurrentNetwork("PDARTS", 9, 4), "recurrent"),
        (lambda: RecurrentCell(RecurrentGenotype((("selu", 0),), (1,)), 4, 4), "unknown operation 'selu'"),
    ],
)
def test_errors(make, says):
    with pytest.raises(UserError, match=says):
        make()
