"""Networks as Keras models like any other: loaded after nothing but `import darts_tf`, called, exported, copied."""

import copy
import importlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf.spaces.conv.derived import CifarNetwork, ImageNetNetwork
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.recurrent.networks import RecurrentNetwork, RecurrentSupernet
from darts_tf.system import keras_registry
from tests.helpers.steps import stateless

pytestmark = pytest.mark.usefixtures("as_keras_users_do")

FEW = ("none", "skip_connect", "max_pool_3x3")
PLAIN = "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=[2], "
PLAIN += "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])"
MAKE = {
    "CifarNetwork": lambda: CifarNetwork(PLAIN, 3, (8, 6, 2), 2, 3),
    "ImageNetNetwork": lambda: ImageNetNetwork(PLAIN, 3, (64, 64, 3), 2, 3, auxiliary=False),
    "ConvSupernet": lambda: ConvSupernet(3, (8, 8, 3), 2, 3, 2, 1, 2, FEW, "zeros", 0.5),
    "RecurrentNetwork": lambda: RecurrentNetwork("DARTS_V2", 7, 4),
    "RecurrentSupernet": lambda: RecurrentSupernet(7, 4, 3, 2, ("tanh", "relu"), "normal", 0.3, shared_norm=True),
}


def made(kind):
    keras.utils.set_random_seed(3)
    network, random = MAKE[kind](), np.random.default_rng(0)
    for variable in network.non_trainable_variables:
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return network


def examples(network):
    """Five inputs, and labels."""
    random = np.random.default_rng(1)
    if hasattr(network, "image_shape"):
        return random.random((5, *network.image_shape), "float32"), random.integers(0, 3, 5)
    return random.integers(0, 7, (5, 6), "int32"), random.integers(0, 7, (5, 6), "int32")


def compiled(network):
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return network


@pytest.mark.parametrize(
    ("first", "kinds"), [("darts_tf", list(MAKE)), ("keras", ["RecurrentNetwork"]), ("tensorflow", ["CifarNetwork"])]
)
def test_load_model_after_import_darts_tf_alone(first, kinds, tmp_path):
    for kind in kinds:
        network = made(kind)
        network.save(tmp_path / f"{kind}.keras")
        np.savez(tmp_path / f"{kind}.npz", x=examples(network)[0], y=network.predict(examples(network)[0], verbose=0))
    code = f"""
import sys
import {first}
import darts_tf
assert "{first}" != "darts_tf" or not {{"keras", "tensorflow"}} & set(sys.modules), "darts_tf is no longer instant"
import keras, numpy
for kind in {kinds}:
    network = keras.models.load_model(kind + ".keras")
    assert type(network).__name__ == kind and type(network).__module__.startswith("darts_tf.")
    expected = numpy.load(kind + ".npz")
    numpy.testing.assert_allclose(network.predict(expected["x"], verbose=0), expected["y"], rtol=1e-5, atol=1e-6)
assert not {{"darts_tf.tasks", "darts_tf.engine"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path)


def test_every_registered_network_is_known_before_it_is_imported():
    for name, module in keras_registry.NETWORKS.items():
        network = getattr(importlib.import_module(module), name)
        assert keras.saving.get_registered_name(network) == f"darts_tf>{name}"
        assert keras.saving.get_registered_object(f"darts_tf>{name}") is network
    ours = {name for name in keras.saving.get_custom_objects() if name.startswith("darts_tf>")}
    assert ours == {f"darts_tf>{name}" for name in keras_registry.NETWORKS}


@pytest.mark.parametrize("kind", MAKE)
def test_a_network_that_was_never_called_is_exported(kind, tmp_path):
    """`export` once said that the model was never called."""
    network = made(kind)
    if "Network" in kind:  # a supernet is exported as it was made, the others as they are read
        network.save(tmp_path / "best.keras")
        network = keras.models.load_model(tmp_path / "best.keras")
    network.export(tmp_path / "exported", verbose=False)
    layer = keras.layers.TFSMLayer(tmp_path / "exported", call_endpoint="serve")
    x, _ = examples(network)
    expected = network.predict(x, verbose=0)
    for rows in (slice(0, 5), slice(2, 3)):  # any batch
        np.testing.assert_allclose(layer(x[rows]), expected[rows], rtol=1e-5, atol=1e-6)


def test_saved_by_tensorflow_itself(tmp_path):
    network = made("CifarNetwork")
    tf.saved_model.save(network, str(tmp_path / "saved"))
    x, _ = examples(network)
    (found,) = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"](tf.constant(x)).values()
    np.testing.assert_allclose(found, network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", MAKE)
def test_copies(kind, tmp_path):
    network = made(kind)
    x, _ = examples(network)
    expected = network.predict(x, verbose=0)
    again = type(network).from_config(network.get_config())
    assert again.get_config() == network.get_config() and again.count_params() == network.count_params()
    clone = keras.models.clone_model(network)
    clone.set_weights(network.get_weights())
    network.save(tmp_path / "first.keras")
    keras.models.load_model(tmp_path / "first.keras").save(tmp_path / "second.keras")
    second = keras.models.load_model(tmp_path / "second.keras")
    for other in (clone, second, copy.deepcopy(network)):
        assert np.array_equal(other.predict(x, verbose=0), expected)
        assert [v.path for v in other.trainable_variables] != [] and other.built


@pytest.mark.parametrize("kind", MAKE)
def test_fit_evaluate_and_what_is_built_around_a_network(kind, tmp_path):
    network = compiled(made(kind))
    x, y = examples(network)
    before = network.evaluate(x, y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the auxiliary head has no part in the loss of `fit`
        network.fit(x, y, epochs=2, verbose=0)
    network.save(tmp_path / "fitted.keras")
    again = keras.models.load_model(tmp_path / "fitted.keras")
    assert network.evaluate(x, y, verbose=0) != before
    np.testing.assert_allclose(again.evaluate(x, y, verbose=0), network.evaluate(x, y, verbose=0), rtol=1e-5)
    around = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype.name), network, keras.layers.Softmax()])
    assert around.output_shape == (None, *network.predict(x, verbose=0).shape[1:])
    np.testing.assert_allclose(around.predict(x, verbose=0).sum(-1), 1, rtol=1e-5)
    lines = []
    network.summary(print_fn=lines.append)
    assert "Total params" in "".join(map(str, lines))


@pytest.mark.parametrize("kind", ["RecurrentNetwork", "RecurrentSupernet"])
def test_a_language_model_reads_texts_each_from_a_zero_state(kind):
    network = made(kind)
    x, _ = examples(network)
    outputs = network(x.T, network.initial_state(5))
    assert np.array_equal(network(x), np.transpose(outputs.logits, (1, 0, 2)))


def test_fit_moves_the_statistics_of_a_recurrent_supernet():
    network = made("RecurrentSupernet")
    x, _ = examples(network)
    _, statistics = stateless(
        network,
        [v.value for v in network.weight_variables],
        [v.value for v in network.arch_variables],
        (x.T, network.initial_state(5)),
    )
    (expected,) = network.moved_state([network.cell.norm.moving.value], statistics)
    network(x, training=True)
    np.testing.assert_allclose(network.cell.norm.moving.numpy(), expected, rtol=1e-5)
