"""Every method in the step of Algorithm 1: it moves, in every order; its neutral settings are DARTS."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import methods, spaces
from darts_tf.bilevel import optimizers
from darts_tf.bilevel.architect import Architect, VirtualStep
from darts_tf.bilevel.objective import SupernetLoss, values
from darts_tf.config import SearchConfig
from darts_tf.config.language import LanguageSearchConfig
from darts_tf.interop.conv import load_arrays, to_arrays
from darts_tf.system.errors import UserError
from tests.helpers.steps import KINDS, SMALL, array, batches, rate, search_step, step_of

COMBINED = ("drnas,pc_darts", "smooth_darts,darts_minus,beta_darts,pc_darts")
NEUTRAL = {  # `docs/guides/methods.md` names them
    "smooth_darts": {"smooth_darts_epsilon": 0.0, "smooth_darts_epsilon_min": 0.0},
    "darts_minus": {"darts_minus_skip": 0.0},
    "beta_darts": {"beta_darts_weight": 0.0},
    "pc_darts": {"pc_darts_k": 1, "pc_darts_edges": False},
    "cost": {"cost_weight": 0.0},
    "p_darts": {"p_darts_stage": 1, "p_darts_keep": "3,3,3"},
    "darts_pt": {},  # it differs after the search
}


def moved(step, steps=1, epoch=2):
    """The alphas and the weights after some steps."""
    train, valid = batches()
    for number in range(steps):
        step(train, valid, tf.constant(number, tf.int64), rate(0.1), rate(epoch))
    return [array(v) for v in step.functions.arch.values()], [array(v) for v in step.supernet.weight_variables]


STEPS = [(method, "first") for method in (*sorted(methods.METHODS), *COMBINED)]
STEPS += [("smooth_darts,darts_minus,beta_darts,pc_darts", "finite_difference"), ("drnas", "exact")]


@pytest.mark.parametrize(("method", "kind"), STEPS)
def test_a_step(float64, method, kind):
    step = step_of(method, kind)
    before = [array(v) for v in step.functions.arch.values()]
    alphas, weights = moved(step)
    assert all(np.isfinite(a).all() for a in (*alphas, *weights))
    assert all(np.array_equal(a, b) != step.method.moves_alphas for a, b in zip(alphas, before, strict=True))
    again, _ = moved(step_of(method, kind))
    for a, b in zip(alphas, again, strict=True):
        np.testing.assert_array_equal(a, b)  # what is random follows from seed and step
    strength = step.method.strength({name: array(v) for name, v in step.functions.arch.items()})
    assert {cell: s.shape for cell, s in strength.items()} == {"normal": (5, 3), "reduce": (5, 3)}


@functools.cache
def of_darts():
    """The weights and the alphas of DARTS' step at its start, and after it."""
    step = step_of("darts", "finite_difference")
    before = to_arrays(step.supernet), [array(v) for v in step.supernet.alphas.values()]
    alphas, _ = moved(step)
    return *before, to_arrays(step.supernet), alphas


@pytest.mark.parametrize("method", NEUTRAL)
def test_neutral_settings_are_darts(float64, method):
    step, (weights, alphas, *after) = step_of(method, "finite_difference", **NEUTRAL[method]), of_darts()
    # The auxiliary operation of darts_minus has weights of its own, and what is drawn after them differs.
    load_arrays(step.supernet, to_arrays(step.supernet) | weights)
    for variable, start in zip(step.supernet.alphas.values(), alphas, strict=True):
        variable.assign(start)
    found, _ = moved(step)
    arrays, (expected, alphas) = to_arrays(step.supernet), after
    assert expected.keys() <= arrays.keys() and (method == "darts_minus") == (expected.keys() < arrays.keys())
    for own, darts in zip(found, alphas, strict=True):
        np.testing.assert_allclose(own, darts, rtol=1e-9, atol=1e-12)
    for name, darts in expected.items():
        np.testing.assert_allclose(arrays[name], darts, rtol=1e-9, atol=1e-12, err_msg=name)


class Smooth:
    """A supernet without kinks: `x * sum over edges and operations of mixing * tanh(w)`."""

    state_variables = ()

    def __init__(self):
        rng = np.random.default_rng(1)
        self.weight_variables = [keras.Variable(rng.normal(size=(2, 3)))]
        self.alphas = {"cell": keras.Variable(rng.normal(size=(2, 3)))}

    def stateless(self, weights, mixing, inputs):
        return inputs * tf.reduce_sum(mixing["cell"] * tf.tanh(weights[0])), []

    def moved_state(self, state, statistics):
        return state


@pytest.mark.parametrize("method", ["drnas", "gdas", "snas", "fair_darts"])
def test_finite_difference_and_exact_products_agree(float64, method):
    """The noise of a step is the same in all of its passes, or the difference would be one of noise."""
    functions = SupernetLoss(
        Smooth(), lambda y, labels: tf.reduce_mean((y - labels) ** 2), method=methods.METHODS[method](SearchConfig())
    )
    noise = functions.method.noise(functions.named(values(functions.arch.values())), tf.constant([1, 2]), rate(1))
    optimizer = optimizers.SGD(functions.weights.pack(functions.supernet.weight_variables), 0.9, 3e-4)
    step = VirtualStep(functions, optimizer)
    train, valid = ((tf.constant(x, "float64"), tf.constant(y, "float64")) for x, y in (([1.0], [2.0]), ([3.0], [1.0])))
    exact, difference = (
        Architect(functions, step, None, hvp=hvp, radius=1e-3).gradient(train, valid, rate(0.1), None, noise)[1]
        for hvp in ("exact", "finite_difference")
    )
    np.testing.assert_allclose(difference, exact, rtol=1e-6, atol=1e-9)


def test_two_relaxations_are_refused():
    with pytest.raises(UserError, match="drnas, gdas each relax.*Received: method=drnas,gdas"):
        methods.make(SearchConfig(method="drnas,gdas"))


@pytest.mark.parametrize("other", ["drnas", "fair_darts", "gdas"])
def test_a_perturbation_needs_a_softmax(other):
    with pytest.raises(UserError, match=f"smooth_darts perturbs a softmax.*Received: method=smooth_darts,{other}"):
        methods.make(SearchConfig(method=f"smooth_darts,{other}"))


def test_settings_without_their_method_are_refused():
    with pytest.raises(UserError, match="drnas_kl is a setting of the method drnas.*Received: drnas_kl=0.1"):
        SearchConfig(drnas_kl=0.1)
    with pytest.raises(UserError, match="each method once"):
        SearchConfig(method="gdas,gdas")
    for field in dataclasses.fields(SearchConfig):  # whose text names the method that it needs
        owners = [name for name in methods.METHODS if field.name.startswith(f"{name}_")]
        assert not owners or field.metadata["help"].startswith(f"{max(owners, key=len)}: "), field.name


def test_what_a_method_cannot_do_is_refused():
    with pytest.raises(UserError, match="XLA.*jit_compile=True"):
        methods.make(SearchConfig(method="drnas", jit_compile=True))
    with pytest.raises(UserError, match="image cells.*darts_minus"):
        methods.make(LanguageSearchConfig(method="darts_minus"))
    with pytest.raises(UserError, match="pc_darts_k must divide the channels.*Received: pc_darts_k=3"):
        step_of("pc_darts", pc_darts_k=3)


def test_the_order_of_the_names_does_not_matter(float64):
    names = ("darts_minus", "pc_darts", "beta_darts")
    one, other = (moved(step_of(",".join(each))) for each in (names, reversed(names)))
    for a, b in zip([*one[0], *one[1]], [*other[0], *other[1]], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", ["pc_darts", "pc_darts,fair_darts", "pc_darts,darts_minus"])
def test_what_bypasses_the_operations_has_the_weight_of_its_edge(float64, method):
    """Also where the weights of the operations do not sum to one; and the auxiliary skip is part of its edge."""
    made = methods.make(SearchConfig(method=method, **SMALL))
    net = spaces.get("conv").supernet(made.config, made, (8, 8, 3), 4)
    alphas = {name: array(v) for name, v in (net.alphas | made.variables(net)).items()}
    relaxed = made.relax(alphas, None)
    noise = tuple(tf.constant(0.7, "float64") if each == "darts_minus" else () for each in method.split(",")[::-1])
    for cell, rows in made.adjust(relaxed, alphas, noise).items():
        edges = np.concatenate([np.exp(each) / np.exp(each).sum() for each in np.split(alphas["edges_" + cell], [2])])
        np.testing.assert_allclose(rows[:, -1], edges)
        np.testing.assert_allclose(rows[:, :3], relaxed[cell] * edges[:, None])
        if method == "pc_darts,darts_minus":
            np.testing.assert_allclose(rows[:, 3], 0.7 * edges)
        assert rows.shape[-1] == (5 if "minus" in method else 4)
    left_out = {cell: tf.zeros_like(rows) for cell, rows in relaxed.items()}
    assert not any(np.any(rows) for rows in made.adjust(left_out, alphas, None).values())


@pytest.mark.parametrize("method", ["darts", "pc_darts", "darts_minus"])
def test_odd_images(method):
    """Operations of stride 2 keep the last row and column of an odd size; what passes them has to do the same."""
    config = SearchConfig(method=method, **SMALL)
    made = methods.make(config)
    net = spaces.get("conv").supernet(config, made, (7, 9, 3), 4)
    step = search_step(net, config, method=made)
    batch = tf.ones((2, 7, 9, 3)), tf.constant([0, 1])
    step(batch, batch, tf.constant(0, tf.int64), rate(0.1), rate(1))
    assert all(np.isfinite(array(v)).all() for v in net.weight_variables)


def test_drop_path_on_mixed_edges(float64):
    """The mean over the draws of one image's factors is 1, and all passes of a step share a draw."""
    config = SearchConfig(**SMALL, **KINDS["finite_difference"], edge_drop_path=0.6)
    net = spaces.get("conv").supernet(config, methods.make(config), (8, 8, 3), 4)
    factors = np.asarray(net.drop_factors(4000, 0.6, tf.constant([3, 4])))
    assert factors.shape == (15, 4000) and set(np.unique(factors.round(6))) == {0.0, 2.5}
    np.testing.assert_allclose(factors.mean(), 1, atol=0.02)
    mixing = {cell: tf.fill([5, 3], tf.constant(1 / 3, "float64")) for cell in net.alphas}
    weights, (images, _) = [tf.convert_to_tensor(v) for v in net.weight_variables], batches()[0]
    plain = net.stateless(weights, mixing, images)[0]
    np.testing.assert_allclose(net.stateless(weights, mixing, (images, tf.ones([15, 4], "float64")))[0], plain)
    half = tf.repeat(tf.constant([[0.0], [1.0], [0.0], [1.0], [0.0]] * 3, "float64"), 4, 1)
    rows = tf.constant([[0.0], [1.0], [0.0], [1.0], [0.0]], "float64")
    dropped = net.stateless(weights, {cell: rows * each for cell, each in mixing.items()}, images)[0]
    np.testing.assert_allclose(net.stateless(weights, mixing, (images, half))[0], dropped, rtol=1e-9)
    step = search_step(net, config, method=methods.make(config))
    first, _ = moved(step, epoch=0)  # 0 in the first epoch
    plain, _ = moved(step_of("darts", "finite_difference"), epoch=0)
    for a, b in zip(first, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
