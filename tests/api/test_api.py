"""The Python interface: one small search and training on data from memory, and everything that is made of them."""

import csv
import html
import inspect
import io
import json
import re

import keras
import numpy as np
import pytest

import darts_tf
from darts_tf.config import SearchConfig
from darts_tf.system.errors import UserError
from tests.helpers.steps import FEW

Y = np.arange(120) % 3
X = np.random.default_rng(0).integers(0, 100, (120, 8, 8, 3), np.uint8) + 60 * Y[:, None, None, None].astype(np.uint8)
SMALL = {"epochs": 2, "batch_size": 8, "max_train_examples": 0, "tensorboard": False, "out": None}
SEARCH = SMALL | {"order": "first", "valid_examples": 16, "primitives": FEW}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def found(folder):
    return darts_tf.search("smoke", folder / "search", data=(X, Y), **SEARCH)


@pytest.fixture(scope="module")
def trained(folder, found):
    data = {"train": (X[:80], Y[:80]), "test": (X[80:], Y[80:])}
    return darts_tf.train("smoke_train", folder / "train", data=data, genotype=found, **SMALL)


def test_a_search_returns_what_its_directory_has(found, folder):
    assert not found.interrupted and found.genotype == darts_tf.genotype.load(folder / "search")
    records = [json.loads(line) for line in (folder / "search/metrics.jsonl").read_text().splitlines()]
    assert found.history["train_loss"] == [record["train_loss"] for record in records]
    assert found.history["epoch"] == [1, 2] and "genotype" not in found.history
    assert {name: a.shape for name, a in found.alphas.items()} == {"normal": (5, 4), "reduce": (5, 4)}
    for cell, weights in found.mixing_weights.items():
        own = np.exp(found.alphas[cell]) / np.exp(found.alphas[cell]).sum(1, keepdims=True)
        np.testing.assert_allclose(weights[-1], own, rtol=1e-5)
    assert repr(found) == f"<SearchResult of {folder / 'search'}: 2 epochs>"


def test_a_search_is_shown_with_its_cells(found, tmp_path):
    shown = found._repr_html_()
    assert shown.count("<svg") >= 2 and "mixing weights" in shown and found.genotype.normal[0][0] in shown
    style = shown[shown.index("<style>") + 7 : shown.index("</style>")]
    assert style.startswith(".darts_tf {") and not re.search(r"(?<!t)body|:root", style)
    assert style.count("{") == style.count("}")
    assert "<svg" in found.plot(tmp_path / "found.html")._repr_html_()
    assert (tmp_path / "found.html").read_text().startswith("<!DOCTYPE html>")


def test_loading_gives_the_same_result(found, trained, folder):
    again = darts_tf.load(folder / "search")
    assert again.genotype == found.genotype and again.history == found.history and not again.interrupted
    assert dict(darts_tf.load(str(folder / "train"))) == dict(trained)
    with pytest.raises(UserError, match="neither a search nor a training run"):
        darts_tf.load(folder)


def test_a_training_is_its_summary_and_its_network(trained, found, folder):
    assert dict(trained) == json.loads((folder / "train/summary.json").read_text())
    assert trained.genotype == found.genotype and trained.test == {"accuracy": trained["test_accuracy"]}
    logits = trained.network((X[80:] / np.float32(255) - _moments("mean")) / _moments("std"), training=False)
    assert np.mean(np.argmax(logits, 1) == Y[80:]) == pytest.approx(trained["test_accuracy"])


def _moments(name):
    channels = X[:80].reshape(-1, X.shape[-1]) / 255
    return getattr(channels, name)(0).astype(np.float32)


def test_evaluating_the_test_data_again_gives_the_summary(trained):
    again = darts_tf.evaluate(trained, data=(X[80:], Y[80:]), out=None)
    assert again["accuracy"] == trained["test_accuracy"] and again["split"] == "data" and again["examples"] == 40
    with pytest.raises(UserError, match="without data"):
        darts_tf.evaluate(trained, out=None)
    with pytest.raises(UserError, match="as given"):
        darts_tf.evaluate(trained, data=(X, Y), split="test", out=None)
    with pytest.raises(UserError, match="one part"):
        darts_tf.evaluate(trained, data={"train": (X, Y)}, out=None)


def test_a_part_of_the_classes_is_evaluated_and_exported_as_in_the_training(tmp_path, trained, found):
    data = {"train": (X[:80], Y[:80] + 1), "test": (X[80:], Y[80:] + 1), "class_names": ["cat", "dog", "owl"]}
    named = darts_tf.train("smoke_train", tmp_path / "named", data=data, genotype=found, **SMALL)
    for each, first in ((trained, 0), (named, 1)):
        parts = [(X[80:][of], Y[80:][of] + first) for of in (Y[80:] == 0, Y[80:] == 1, Y[80:] == 2)]
        correct = sum(len(part[1]) * darts_tf.evaluate(each, data=part, out=None)["accuracy"] for part in parts)
        assert correct / 40 == pytest.approx(each["test_accuracy"])
    exported = darts_tf.export(named, tmp_path / "models", data=(X[:2], [2, 2]), name="own", out=None)
    assert (exported / "assets/labels.txt").read_text() == "cat\ndog\nowl\n"
    model = {"model": exported, "out": None}
    assert darts_tf.evaluate(data=(X[:2], ["dog"] * 2), **model)["examples"] == 2
    one, other = (darts_tf.evaluate(data=parts[1], **each) for each in ({"workdir": named, "out": None}, model))
    assert one["accuracy"] == other["accuracy"] and one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    card = exported / "assets/model_card.json"
    assert (known := json.loads(card.read_text())).pop("label_values") == [1, 2, 3]
    card.write_text(json.dumps(known))  # as exports of earlier versions are
    with pytest.raises(UserError, match="Array 'y' of the data given holds labels.*may count from 0 or from 1"):
        darts_tf.evaluate(data=(X[:2], [2, 2]), **model)


def test_predictions_are_those_that_are_evaluated(trained, tmp_path):
    found = trained.predict(X[80:])
    assert found.shape == (40, 3) and np.mean(found.argmax(1) == Y[80:]) == trained["test_accuracy"]
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(trained.predict(X[80:] / 127.5 - 1, value_range=(-1, 1)), found, atol=1e-5)
    np.testing.assert_array_equal(trained.predict(X[80:], batch_size=7).argmax(1), found.argmax(1))
    assert trained.class_names == ("0", "1", "2") and trained.predict(X[:0]).shape == (0, 3)
    with pytest.raises(UserError, match=r"shape \(N, 8, 8, 3\). Received: \(8, 8, 3\)"):
        trained.predict(X[0])
    with pytest.raises(UserError, match="value_range=LOW,HIGH"):
        trained.predict(X[80:] / 127.5 - 1)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: darts_tf.evaluate(keras.Sequential(), data=(X, Y), out=None), "workdir must be a path.*Sequential"),
        (lambda: darts_tf.evaluate(model=keras.Sequential(), out=None), "model must be a path.*evaluate of its own"),
        (lambda: darts_tf.evaluate("run", foo=1, out=None), "evaluate takes .*split.*Received: foo=1"),
        (lambda: darts_tf.export("run", "to", foo=1, out=None), "export takes .*formats.*version.*Received: foo=1"),
        (lambda: darts_tf.tune("cifar10_tune_small", "run", prior=3), "prior must be a string. Received: prior=3"),
        (lambda: darts_tf.report(keras.Sequential(), "r.html"), "workdir must be the path"),
        (lambda: darts_tf.search("smoke", "run", out="log.txt"), "out must be a stream.*log.txt"),
        (lambda: darts_tf.search("text_search", "run", data=(["a b"] * 9, [1] * 9), out=None), "takes no labels"),
    ],
)
def test_slips_are_one_line(call, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=text) as caught:
        call()
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_settings_may_be_numbers_of_numpy():
    config = SearchConfig(epochs=np.int64(3), learning_rate=np.float32(0.5), flip=np.bool_(False))
    assert (config.epochs, config.learning_rate, config.flip) == (3, 0.5, False) and type(config.epochs) is int


def test_values_of_black_and_white_are_numbers_too(tmp_path, trained, found):
    data = {"train": (X[:80] / 127.5 - 1, Y[:80]), "test": (X[80:] / 127.5 - 1, Y[80:])}
    with pytest.raises(UserError, match="Specify which values are black and white: value_range=LOW,HIGH, such as -1,1"):
        darts_tf.train("smoke_train", tmp_path / "run", data=data, genotype=found, **SMALL)
    same = dict(data=data, genotype=found, value_range=(-1, 1), **SMALL)
    assert darts_tf.train("smoke_train", tmp_path / "run", **same)["test_accuracy"] == trained["test_accuracy"]
    again = darts_tf.evaluate(tmp_path / "run", data=data["test"], value_range=[-1, 1], out=None)
    assert again["accuracy"] == trained["test_accuracy"]
    with pytest.raises(UserError, match="^Array 'x' of the data given has values outside of value_range=0,1"):
        darts_tf.evaluate(tmp_path / "run", data=data["test"], value_range=(0, 1), out=None)
    out = io.StringIO()
    darts_tf.evaluate(tmp_path / "run", data=(X[80:] / 255.0, Y[80:]), out=out)
    assert "-1 is black, 1 white; warning: all are in its brighter half" in out.getvalue()
    other = {"train": data["train"], "validation": (X[80:] / 255.0, Y[80:])}
    with pytest.raises(UserError, match="'x_valid' .*on a different scale from 'x_train'.*the brighter half"):
        darts_tf.train("smoke_train", tmp_path / "other", **same | {"data": other})


def test_the_same_call_resumes_and_other_data_are_refused(found, folder):
    again = darts_tf.search("smoke", folder / "search", data=(X, Y), **SEARCH)
    assert again.genotype == found.genotype
    for data in ((X[:-1], Y[:-1]), (X[::-1], Y[::-1])):
        with pytest.raises(UserError, match="are not those of the run.*A Dataset that shuffles .* differs each time"):
            darts_tf.search("smoke", folder / "search", data=data, **SEARCH)


def test_settings_and_data_must_not_contradict(tmp_path):
    with pytest.raises(UserError, match="passed in"):
        darts_tf.search("smoke", tmp_path / "a", data=(X, Y), dataset="npz", data_dir="x.npz")
    for config, call in (("smoke_train", darts_tf.search), ("smoke", darts_tf.train)):
        with pytest.raises(UserError, match=f"{config} is a preset of"):
            call(config, tmp_path / "a")
    with pytest.raises(UserError, match="config must be for searches on images or "):
        darts_tf.search(darts_tf.TrainConfig(), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_report_is_of_results_too(found, trained, tmp_path):
    page = darts_tf.report([found, trained], tmp_path / "page.html").read_text()
    assert found.genotype.to_text() in html.unescape(page)
    assert found.report(tmp_path / "one.html").exists() and callable(darts_tf.export) and callable(darts_tf.protocol)
    assert list(inspect.signature(darts_tf.export).parameters)[:2] == ["workdir", "export_dir"]
    from darts_tf.report import write_report  # the package keeps its name

    assert darts_tf.report.write_report is write_report


class Log(keras.callbacks.Callback):
    """Remembers what it is told, and stops after some epochs."""

    def __init__(self, stop=99, fails=99):
        super().__init__()
        self.told, self.stop, self.fails = [], stop, fails

    def on_train_begin(self, logs=None):
        self.told.append(("begin", self.params["epochs"]))

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.fails:
            raise RuntimeError("no space")
        self.told.append((epoch, logs["loss"], logs["val_accuracy"]))
        self.model.stop_training = epoch + 1 >= self.stop

    def on_train_end(self, logs=None):
        self.told.append("end")


def test_callbacks_see_epochs_stop_a_training_and_see_it_again_when_it_resumes(tmp_path, found):
    log, file = Log(stop=2), tmp_path / "log.csv"
    kept = dict(data=(X, Y), genotype=found, **SMALL | {"epochs": 5})
    first = darts_tf.train("smoke_train", tmp_path / "run", callbacks=[log, keras.callbacks.CSVLogger(file)], **kept)
    assert first["epochs"] == 2 == len(first.history["epoch"])
    losses, accuracies = first.history["train_loss"], first.history["valid_accuracy"]
    assert log.told == [("begin", 5), (0, losses[0], accuracies[0]), (1, losses[1], accuracies[1]), "end"]
    assert [row["epoch"] for row in csv.DictReader(io.StringIO(file.read_text()))] == ["0", "1"]

    again = Log(stop=2)
    assert dict(darts_tf.train("smoke_train", tmp_path / "run", callbacks=[again], **kept)) == dict(first)
    assert again.told == log.told
    with pytest.raises(UserError, match="callback Log failed in on_epoch_end: .*no space.* continues"):
        darts_tf.train("smoke_train", tmp_path / "run", callbacks=[Log(fails=2)], **kept)
    found, saved = keras.callbacks.EarlyStopping("val_accuracy", patience=9), tmp_path / "best.keras"
    keeper = keras.callbacks.ModelCheckpoint(saved, monitor="val_accuracy", save_best_only=True)
    again = darts_tf.train("smoke_train", tmp_path / "auto", callbacks=[found, keeper], **kept | {"epochs": 2})
    assert found.best == max(again.history["valid_accuracy"]) and keeper.best == found.best and saved.is_file()
    stopper = keras.callbacks.EarlyStopping("val_loss", patience=0, baseline=-1.0)
    last = darts_tf.train("smoke_train", tmp_path / "run", callbacks=[stopper], **kept)
    assert last["epochs"] == 3 and last.history["train_loss"][:2] == losses
    for wrong in ([print], print, [keras.callbacks.EarlyStopping]):
        with pytest.raises(UserError, match="keras.callbacks.Callback"):
            darts_tf.train("smoke_train", tmp_path / "new", callbacks=wrong, **kept)
    with pytest.raises(UserError, match="callbacks must be empty with strategy=multi_worker.*Received: 1"):
        darts_tf.train("smoke_train", tmp_path / "new", callbacks=stopper, **kept, strategy="multi_worker")
    assert not (tmp_path / "new").exists()


class Restores(keras.callbacks.Callback):
    """Does what `EarlyStopping(restore_best_weights=True)` does where the first epoch was the best."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.first = self.model.get_weights()

    def on_train_end(self, logs=None):
        self.model.set_weights(self.first)


def test_weights_that_a_callback_restores_do_not_reach_the_results(tmp_path, trained, found, folder):
    data = {"train": (X[:80], Y[:80]), "test": (X[80:], Y[80:])}
    kept = dict(data=data, genotype=trained, callbacks=Restores(), **SMALL)
    same = dict(darts_tf.train("smoke_train", tmp_path / "train", **kept))
    assert same["test_accuracy"] == trained["test_accuracy"]
    one, other = (keras.models.load_model(each / "train/last.keras") for each in (folder, tmp_path))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = darts_tf.search("smoke", tmp_path / "search", data=(X, Y), callbacks=[Restores()], **SEARCH)
    assert again.genotype == found.genotype
    for name in found.alphas:
        np.testing.assert_array_equal(again.alphas[name], found.alphas[name])


def test_a_tuning_and_an_export_take_data_from_memory_too(tmp_path, trained):
    small = {"init_channels": 4, "num_cells": 3, "rungs": 1, "trials": 1, "epochs": 1}
    summary = darts_tf.tune("cifar10_tune_small", tmp_path / "tune", data=(X, Y), **SMALL | small)
    assert summary["best"]["valid_accuracy"] > 0 and summary["best"]["epochs"] == 1
    exported = darts_tf.export(trained, tmp_path / "models", data=(X[:80], Y[:80]), name="own", out=None)
    assert exported == tmp_path / "models/own/1" and (exported / "saved_model.pb").exists()
    with pytest.raises(UserError, match="Received: 3 classes .a, b, c. .* Pass other data."):
        other = {"train": (X, Y), "class_names": ["a", "b", "c"]}
        darts_tf.export(trained, tmp_path / "models", data=other, name="own", out=None)
    with pytest.raises(UserError, match="without data"):
        darts_tf.export(trained, tmp_path / "models", out=None)
