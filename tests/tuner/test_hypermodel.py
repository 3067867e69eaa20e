"""The hypermodel: derived networks that `fit` trains, with hyperparameters, callbacks and partial epochs."""

import keras
import keras_tuner
import numpy as np
import pytest

from darts_tf.system.errors import UserError
from darts_tf.tuner import DartsOracle, GenotypeHyperModel, genotype_from

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
    # Models that are loaded for their weights alone have no optimizer state.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]
SMALL = {"num_nodes": 1, "primitives": ["skip_connect", "max_pool_3x3", "sep_conv_3x3"]}


class Counted(GenotypeHyperModel):
    """Counts its builds."""

    builds = 0

    def build(self, hp):
        self.builds += 1
        return super().build(hp)


def images(count=48):
    """Easy ones: an image's class is where it is bright."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).normal(size=(count, 8, 8, 1)) / 4
    noise[labels == 1, :4] += 2
    return noise.astype(np.float32), labels


class Epochs(keras.callbacks.Callback):
    """Counts epochs in a file: a tuner copies its callbacks."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        with open(self.path, "a") as file:
            file.write(f"{epoch}\n")


def test_a_tuner_fits_networks_with_callbacks(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Float("learning_rate", 0.01, 0.2, default=0.05)
    hp.Choice("drop_path", [0.1, 0.2])
    own = DartsOracle(None, "val_accuracy", 2, 0, hyperparameters=hp, **SMALL)
    model = Counted((8, 8, 1), 2, 4, 3)
    made = keras_tuner.Tuner(own, model, directory=str(tmp_path), project_name="project")
    assert model.builds == 1
    x, y = images()
    callbacks = [
        Epochs(str(tmp_path / "epochs.txt")),
        keras.callbacks.EarlyStopping("val_loss", patience=5),
        keras.callbacks.TensorBoard(str(tmp_path / "events")),
    ]
    made.search(x, y, epochs=3, batch_size=16, validation_data=(x, y), callbacks=callbacks, verbose=0)
    assert model.builds == 3 and len((tmp_path / "epochs.txt").read_text().split()) == 6
    trials = own.trials.values()
    assert [t.status for t in trials] == ["COMPLETED"] * 2, [t.message for t in trials]
    assert list((tmp_path / "events").rglob("*tfevents*"))

    (best,) = made.get_best_models()
    loss, accuracy = best.evaluate(x, y, verbose=0)
    assert accuracy == pytest.approx(max(t.score for t in trials))
    assert best.auxiliary_head is None and best.drop_path in (0.1, 0.2)
    assert float(best.optimizer.learning_rate) == pytest.approx(
        own.get_best_trials()[0].hyperparameters.get("learning_rate")
    )


def test_fit_moves_the_statistics_and_draws_drop_path(tmp_path):
    keras.utils.set_random_seed(0)
    model = GenotypeHyperModel((8, 8, 1), 2, 4, 3, learning_rate=0.1, drop_path=0.2, **SMALL)
    hp = keras_tuner.HyperParameters()
    model.declare_hyperparameters(hp)
    hp.values["normal/node2/from0"] = hp.values["normal/node2/from1"] = "sep_conv_3x3"
    network = model.build(hp)
    before = [v.numpy() for v in network.variables]
    names = [v.path for v in network.variables]
    x, y = images()
    start = network.evaluate(x, y, verbose=0)[0]
    network.fit(x, y, epochs=8, batch_size=16, verbose=0)
    assert network.evaluate(x, y, verbose=0)[0] < start
    still = [n for n, v, b in zip(names, network.variables, before, strict=True) if np.array_equal(v.numpy(), b)]
    assert not still  # weights, moving means and variances, the seed of drop path
    a, b = (network(x, training=True).numpy() for _ in range(2))
    assert not np.allclose(a, b) and np.array_equal(network(x).numpy(), network(x).numpy())

    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    assert np.allclose(again.predict(x, verbose=0), network.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_hyperband_trains_part_of_the_epochs_first(tmp_path):
    made = keras_tuner.Hyperband(
        Counted((8, 8, 1), 2, 4, 3, **SMALL),
        "val_accuracy",
        max_epochs=4,
        factor=4,
        seed=0,
        directory=str(tmp_path),
        project_name="project",
    )
    assert made.hypermodel.builds == 1
    x, y = images()
    made.search(x, y, batch_size=16, validation_data=(x, y), verbose=0)
    trials = made.oracle.trials.values()
    assert {t.status for t in trials} == {"COMPLETED"}
    assert {t.hyperparameters.values["tuner/epochs"] for t in trials} == {1, 4}


def test_a_language_model_trains_with_fit(tmp_path):
    """Windows of a text in which each word tells the next; the hyperparameters' own settings count."""
    space = keras_tuner.HyperParameters()
    space.Choice("num_units", [6, 7], default=7)
    oracle = DartsOracle(
        {"recurrent": np.zeros((36, 5))},
        objective=keras_tuner.Objective("val_loss", "min"),
        max_trials=1,
        seed=0,
        hyperparameters=space,
    )
    model = GenotypeHyperModel(vocabulary_size=5, learning_rate=1.0, dropout=0.1, weight_decay=0.0)
    tuner = keras_tuner.Tuner(oracle, model, directory=str(tmp_path), project_name="words")
    words = (np.arange(9) + np.arange(40)[:, None]) % 5
    x, y = words[:, :-1], words[:, 1:]
    tuner.search(x[:32], y[:32], epochs=4, batch_size=8, validation_data=(x[32:], y[32:]), verbose=0)
    best = tuner.get_best_hyperparameters()[0]
    network = tuner.hypermodel.build(best)
    assert genotype_from(best).kind == "recurrent" and network.units in (6, 7)
    before = network.evaluate(x, y, verbose=0)[0]
    network.fit(x, y, epochs=6, batch_size=8, verbose=0)
    assert network.evaluate(x, y, verbose=0)[0] < before
    network.save(tmp_path / "words.keras")
    again = keras.models.load_model(tmp_path / "words.keras", compile=False)
    np.testing.assert_allclose(again(x), network(x), rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="Expected a recurrent genotype. Received: a conv one"):
        GenotypeHyperModel(vocabulary_size=5).build(values_of_conv())


def values_of_conv():
    """Hyperparameters of an image cell."""
    hp = keras_tuner.HyperParameters()
    GenotypeHyperModel().declare_hyperparameters(hp)
    return hp
