"""`darts_tf.build`: Keras models that are compiled, fitted, saved, copied and exported as any other."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import darts_tf
from darts_tf import genotypes
from darts_tf.callbacks import DropPathSchedule
from darts_tf.system.errors import UserError

PLAIN = "Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=[2], "
PLAIN += "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])"
BENCHMARK = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
SMALL = {"input_shape": (8, 8, 3), "num_classes": 3, "channels": 4, "cells": 3}
KINDS = {
    "cifar": {"genotype": PLAIN, "auxiliary": True, "drop_path": 0.3},
    "imagenet": {"genotype": PLAIN, "network": "imagenet", "input_shape": (64, 64, 3), "drop_path": 0.3},
    "nasbench201": {"genotype": BENCHMARK},
    "features": {"genotype": PLAIN, "include_top": False, "pooling": "max"},
}
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def built(kind="cifar", **changes):
    """A small network whose statistics differ from channel to channel."""
    keras.utils.set_random_seed(3)
    network, random = darts_tf.build(**{**SMALL, **KINDS[kind], **changes}), np.random.default_rng(0)
    for variable in network.state_variables:
        if variable.dtype == "float32":
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    return network


def examples(network, count=6):
    random = np.random.default_rng(1)
    return random.normal(size=(count, *network.image_shape)).astype("float32"), np.arange(count) % 3


def entropy(logits, labels):
    """The mean cross-entropy, by NumPy."""
    logits = np.float64(logits)
    return np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels])


@pytest.mark.parametrize("kind", ["cifar", "nasbench201"])
def test_fit_with_labels_of_either_form(kind):
    network, sparse = built(kind), kind == "nasbench201"
    x, y = examples(network)
    labels = y if sparse else np.eye(3, dtype="float32")[y]
    loss = LOGITS if sparse else keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile("sgd", loss, metrics=["accuracy"])
    history = network.fit(x, labels, validation_data=(x, labels), batch_size=3, verbose=0).history
    logits = network.predict(x, verbose=0)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["val_loss"] == pytest.approx([entropy(logits, y)], rel=1e-5)
    assert history["val_accuracy"] == pytest.approx([np.mean(logits.argmax(-1) == y)])


def test_the_loss_of_the_auxiliary_head_is_added_in_training_only():
    network = built(auxiliary_weight=0.7, drop_path=0.0)
    x, y = examples(network)
    network.compile(keras.optimizers.SGD(1.0), LOGITS)
    before = [v.numpy() for v in network.trainable_variables]
    with tf.GradientTape() as tape:
        stages = network.activations(x, training=True)
        main, auxiliary = (
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, stages[name]))
            for name in ("logits", "auxiliary_logits")
        )
        total = main + 0.7 * auxiliary
    gradients = tape.gradient(total, [v.value for v in network.trainable_variables])
    by_hand = entropy(stages["logits"], y) + 0.7 * entropy(stages["auxiliary_logits"], y)
    assert network.train_on_batch(x, y) == pytest.approx(by_hand, rel=1e-5)
    for variable, start, gradient in zip(network.trainable_variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable, start - gradient, rtol=1e-3, atol=1e-5)
    assert network.test_on_batch(x, y) == pytest.approx(entropy(network(x), y), rel=1e-5)


def test_the_auxiliary_output_in_a_loop_of_ones_own():
    network = built(drop_path=0.0, classifier_activation="softmax")
    x, y = examples(network)
    expected = tf.nn.softmax(network.activations(x, training=True)["auxiliary_logits"])
    np.testing.assert_allclose(network(x, training=True).auxiliary, expected, rtol=1e-5)
    assert not hasattr(network(x), "auxiliary")
    network.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", run_eagerly=True)
    eager = network.train_on_batch(x, y)
    network.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    assert eager == pytest.approx(network.train_on_batch(x, y), rel=1e-5)


def test_operations_that_draw_draw_anew_in_each_pass_of_training():
    network = built(genotype=PLAIN.replace("sep_conv_3x3", "noise"), auxiliary=False, drop_path=0.0)
    x, _ = examples(network)
    assert network.drop_seeds is not None and np.array_equal(network(x), network(x))
    assert not np.array_equal(*(network(x, training=True) for _ in "ab"))


def test_weights_of_examples_count_for_both_losses():
    network = built(drop_path=0.0)
    x, y = examples(network)
    network.compile(keras.optimizers.SGD(0.0), LOGITS)
    whole, weights = network.train_on_batch(x, y), np.array([2.0] * 6, "float32")
    assert network.train_on_batch(x, y, sample_weight=weights) == pytest.approx(2 * whole, rel=1e-5)


def test_probabilities_and_logits_are_one_network():
    network, other = built(), built(classifier_activation="softmax")
    x, y = examples(network)
    np.testing.assert_allclose(other(x), tf.nn.softmax(network(x)), rtol=1e-5)
    np.testing.assert_allclose(other(np.ones((2, 8, 8, 3), "uint8")), other(np.ones((2, 8, 8, 3), "float32")))
    other.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    network.compile(keras.optimizers.SGD(0.0), LOGITS)
    for each in (network, other):
        each.drop_path_rate.assign(0.0)
    assert other.train_on_batch(x, y) == pytest.approx(network.train_on_batch(x, y), rel=1e-5)
    divergences = "kld", keras.losses.KLDivergence(name="own")
    for loss in ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy(), *divergences):
        network.compile("sgd", loss)
        with pytest.raises(UserError, match="outputs logits.*from_logits=True.*classifier_activation='softmax'"):
            network.train_on_batch(x, y)


class Rates(keras.callbacks.Callback):
    """What the probability is in each step."""

    def __init__(self, network):
        super().__init__()
        self.network, self.found = network, []

    def on_train_batch_begin(self, batch, logs=None):
        self.found.append(float(self.network.drop_path_rate.numpy()))


def expected_loss(network, x, y, seed, rate):
    """The loss of a step that draws with a seed at a rate."""
    drop = network.drop_factors(len(x), rate, seed)
    return entropy(network.activations(x, True, drop)["logits"], y)


def test_drop_path_rises_over_the_epochs():
    """At learning rate 0 each epoch's loss is that of the factors which its step's seed draws at its rate."""
    network = built(auxiliary=False, drop_path=0.6)
    x, y = examples(network, 32)
    network.compile(keras.optimizers.SGD(0.0), LOGITS)
    key, counter = np.asarray(network.drop_seeds.state.value, "int64")
    seeds = [tf.constant([key, counter + epoch]) for epoch in range(3)]
    rates = Rates(network)
    settings = {"epochs": 3, "batch_size": 32, "shuffle": False, "verbose": 0}
    history = network.fit(x, y, callbacks=[DropPathSchedule(), rates], **settings).history
    assert history["drop_path"] == pytest.approx([0.0, 0.2, 0.4]) and rates.found == pytest.approx([0.0, 0.2, 0.4])
    losses = [expected_loss(network, x, y, seed, rate) for seed, rate in zip(seeds, (0.0, 0.2, 0.4), strict=True)]
    assert history["loss"] == pytest.approx(losses, rel=1e-5) and len(set(history["loss"])) == 3
    assert float(network.drop_path_rate.numpy()) == pytest.approx(0.6)

    late = Rates(network)  # resumed: the second and the third of five epochs
    settings |= {"initial_epoch": 1}
    network.fit(x, y, callbacks=[DropPathSchedule(epochs=5), late], **settings)
    assert late.found == pytest.approx([0.12, 0.24])


def test_drop_path_is_constant_without_the_schedule_and_off_in_inference():
    network = built(auxiliary=False)
    x, y = examples(network, 32)
    seed = tf.constant(np.array(network.drop_seeds.state.value))
    network.compile(keras.optimizers.SGD(0.0), LOGITS)
    assert network.train_on_batch(x, y) == pytest.approx(expected_loss(network, x, y, seed, 0.3), rel=1e-5)
    assert np.array_equal(network(x), network(x)) and not np.array_equal(*(network(x, training=True) for _ in "ab"))


def test_a_schedule_finds_the_network_in_another_model():
    network = built(auxiliary=False)
    around = keras.Sequential([keras.layers.RandomFlip(), network, keras.layers.Softmax()])
    x, y = examples(network)
    around.compile("sgd", "sparse_categorical_crossentropy")
    history = around.fit(x, y, epochs=2, callbacks=[DropPathSchedule()], verbose=0).history
    assert history["drop_path"] == pytest.approx([0.0, 0.15])
    with pytest.raises(UserError, match="no drop path to schedule"):
        plain = built(drop_path=0.0)
        plain.compile("sgd", LOGITS)
        plain.fit(x, y, callbacks=[DropPathSchedule()], verbose=0)
    with pytest.raises(UserError, match="epochs must be at least 1"):
        DropPathSchedule(epochs=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Fitted networks, and what each of them predicts, in files."""
    folder = tmp_path_factory.mktemp("saved")
    for kind in KINDS:
        network = built(kind)
        x, y = examples(network)
        if kind == "cifar":
            network.compile("sgd", LOGITS, metrics=["accuracy"])
            network.fit(x, y, verbose=0)
        network.save(folder / f"{kind}.keras")
        network.save_weights(folder / f"{kind}.weights.h5")
        network.export(folder / kind, verbose=False)
        np.savez(folder / f"{kind}.npz", x=x, y=network.predict(x, verbose=0))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_every_kind_are_equal(kind, saved):
    x, expected = np.load(saved / f"{kind}.npz").values()
    again = keras.models.load_model(saved / f"{kind}.keras")
    assert np.array_equal(again.predict(x, verbose=0), expected)
    clone = keras.models.clone_model(again)
    assert not np.array_equal(clone.predict(x, verbose=0), expected)
    clone.set_weights(again.get_weights())
    assert np.array_equal(clone.predict(x, verbose=0), expected)
    other = built(kind)
    other.load_weights(saved / f"{kind}.weights.h5")
    assert np.array_equal(other.predict(x, verbose=0), expected)
    assert other.get_config() | {"name": ""} == again.get_config() | {"name": ""}
    np.testing.assert_allclose(again.folded()(x), expected, rtol=1e-4, atol=1e-5)
    served = keras.layers.TFSMLayer(saved / kind, call_endpoint="serve")
    np.testing.assert_allclose(served(x[:2]), expected[:2], rtol=1e-5, atol=1e-6)
    lines = []
    again.summary(print_fn=lines.append)
    trained = sum(v.numpy().size for v in again.trainable_weights)
    assert f"Trainable params: {trained:,}" in "".join(map(str, lines))  # all of them would count the optimizer's, too
    assert again.count_params() == sum(v.numpy().size for v in again.weights)
    assert again.compute_output_shape(x.shape) == expected.shape


def test_a_loaded_network_is_compiled_and_trains_on(saved):
    x, _ = np.load(saved / "cifar.npz").values()
    again = keras.models.load_model(saved / "cifar.keras")
    before = again.evaluate(x, np.arange(6) % 3, verbose=0)
    again.fit(x, np.arange(6) % 3, verbose=0)
    assert again.evaluate(x, np.arange(6) % 3, verbose=0) != before and again.auxiliary_head is not None


def test_load_model_after_import_darts_tf_alone(saved):
    code = f"""
import darts_tf, keras, numpy
for kind in {[*KINDS]}:
    x, y = numpy.load(kind + ".npz").values()
    numpy.testing.assert_allclose(keras.models.load_model(kind + ".keras").predict(x, verbose=0), y, 1e-5, 1e-6)
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=saved)


def test_genotypes_are_given_in_every_way(tmp_path):
    genotypes.save(genotypes.load(PLAIN), tmp_path / "genotype.json")
    ways = [PLAIN, tmp_path, tmp_path / "genotype.json", str(tmp_path), genotypes.load(PLAIN)]
    found = [darts_tf.build(way, **SMALL) for way in ways]
    assert {network.genotype for network in found} == {genotypes.load(PLAIN)}
    assert {network.count_params() for network in found} == {found[0].count_params()}


def test_sizes_are_those_of_the_papers_unless_given():
    benchmark = darts_tf.build(BENCHMARK)
    assert (benchmark.init_channels, benchmark.num_cells, benchmark.image_shape) == (16, 17, (32, 32, 3))
    for size, network, sizes in ((95, "FittedNetwork", (36, 20)), (96, "FittedImageNetNetwork", (48, 14))):
        made = darts_tf.build(PLAIN, (size, 100, 3))
        assert (type(made).__name__, made.init_channels, made.num_cells) == (network, *sizes)
        assert made.num_classes == 10 and made.auxiliary_head is None and made.drop_path_rate is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"genotype": "DARTS_V3"}, "did you mean 'DARTS_V2'"),
        ({"genotype": "ENAS"}, "image cells.*Received: a recurrent genotype"),
        ({"genotype": None}, "Received: None"),
        ({"genotype": PLAIN.replace("sep_conv_3x3", "sep_conv_3x4")}, "unknown operation.*did you mean 'sep_conv_3x3'"),
        ({"input_shape": (3, 32, 3)}, "at least 4 pixels"),
        ({"input_shape": (32, 32)}, "three positive integers.*Received: input_shape=\\(32, 32\\)"),
        ({"input_shape": (None, None, 3)}, "three positive integers"),
        ({"input_shape": 32}, "three positive integers"),
        ({"network": "imagenet"}, "at least 64 pixels"),
        ({"network": "resnet"}, "auto or cifar or imagenet.*Received: network='resnet'"),
        ({"num_classes": 0}, "num_classes must be an integer of at least 2. Received: num_classes=0"),
        ({"num_classes": 2.0}, "num_classes must be an integer"),
        ({"channels": 5}, "channels must be an even integer of at least 2. Received: channels=5"),
        ({"channels": 0}, "channels must be"),
        ({"cells": 2}, "cells must be an integer of at least 3"),
        ({"drop_path": 1.0}, "drop_path must be a number of at least 0 and below 1. Received: drop_path=1.0"),
        ({"drop_path": "a"}, "drop_path must be a number.*Received: drop_path='a'"),
        ({"auxiliary": True, "auxiliary_weight": -1}, "auxiliary_weight must be a number of at least 0"),
        ({"auxiliary_weight": "x"}, "auxiliary_weight must be a number.*Received: auxiliary_weight='x'"),
        ({"classifier_activation": "tanh"}, "'softmax', for probabilities. Received: classifier_activation='tanh'"),
        ({"pooling": "avg"}, "include_top=False"),
        ({"include_top": False, "auxiliary": True}, "no auxiliary classifier"),
        ({"genotype": BENCHMARK, "auxiliary": True}, "neither an auxiliary head nor drop path"),
        ({"genotype": BENCHMARK, "drop_path": 0.2}, "neither an auxiliary head nor drop path"),
        ({"genotype": BENCHMARK, "network": "cifar"}, "must be auto for nasbench201 cells"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(changes, text):
    with pytest.raises(UserError, match=text) as caught:
        darts_tf.build(**{**SMALL, "genotype": PLAIN, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(8, 8, 3), (2, 8, 8, 1)])
def test_images_of_another_shape_are_refused(shape):
    """One image without its batch reached oneDNN, which ended Python."""
    with pytest.raises(ValueError, match="incompatible with the layer"):
        darts_tf.build(**{**SMALL, "genotype": PLAIN, "input_shape": (8, 8, 3)})(np.zeros(shape, np.float32))


@pytest.mark.parametrize("loss", [["sparse_categorical_crossentropy"], "kl_divergence"])
def test_losses_on_probabilities_are_found(loss):
    network = darts_tf.build(**{**SMALL, "genotype": PLAIN, "input_shape": (8, 8, 3)})
    network.compile("sgd", loss)
    with pytest.raises(UserError, match="outputs logits.*Received: loss="):
        network.fit(np.zeros((2, 8, 8, 3)), np.zeros(2), verbose=0)
