"""Images of any number of channels, from an archive to an answer: training, evaluation, export, a server, a client."""

import json

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bin import predict as predict_binary
from darts_tf.data import sources as images
from darts_tf.export import client, exporting, inputs
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.tasks.evaluate import evaluate
from tests.helpers import trained_runs
from tests.helpers.serving import serving
from tests.helpers.trainings import run

LABELS = np.array(["cat", "dog", "eel"])


def archive(path, channels, count=30, dtype=np.float32):
    """Writes images between 0 and 1, training and test images alike."""
    x = np.random.default_rng(0).random((count, 12, 12, channels)).astype(dtype)
    y = LABELS[np.arange(count) % 3]
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return x


class Exported:
    """A network of two channels, trained on images that were resized."""

    def __init__(self, root):
        self.root, self.run, self.data = root / "exports", root / "run", root / "images.npz"
        self.x = archive(self.data, 2)
        trained_runs.write(self.run, dataset="npz", data_dir=str(self.data), image_size=8)
        self.lines = []
        self.path = exporting.export(self.run, self.root, "two", formats=["tflite"], say=self.lines.append)
        self.array = root / "new.npy"
        np.save(self.array, self.x)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("channels"))


def test_what_is_exported(exported):
    loaded = tf.saved_model.load(str(exported.path))
    assert set(loaded.signatures) == {"serving_default"}
    assert loaded.signatures["serving_default"].structured_input_signature[1]["image"].shape == (None, 8, 8, 2)
    card = json.loads((exported.path / "assets" / "model_card.json").read_text())
    assert card["input"] == "serving_default: image, float32 in 0..255" and len(card["normalisation"]["mean"]) == 2
    assert any("ran 2 warm-up requests" in line for line in exported.lines)
    assert card["checks"]["tflite"]["float32"]["largest_probability_difference"] < 1e-4


def test_everything_that_evaluates_finds_the_same(exported):
    of_run = evaluate(workdir=str(exported.run))
    given = {"dataset": "npz", "data_dir": str(exported.data)}
    for model in (exported.path, exported.run / "best.keras"):
        found = evaluate(model=str(model), **given)
        assert found["accuracy"] == of_run["accuracy"] and found["loss"] == pytest.approx(of_run["loss"], rel=1e-4)
    predictions = client.predict(
        client.in_process(exported.root, "two"), [exported.array], 7, client.facts_of(exported.path)
    )
    assert [p.path for p in predictions[:2]] == [f"{exported.array}[0]", f"{exported.array}[1]"]
    right = [p.label == label for p, label in zip(predictions, LABELS[np.arange(30) % 3], strict=True)]
    assert np.mean(right) == of_run["accuracy"]


def test_a_server_of_arrays(exported):
    """A server knows neither sizes nor ranges: uint8 of the model's own shape."""
    data = images.load("npz", str(exported.data), image_size=8)
    pixels = data.test.read(tf.range(5)).numpy()
    np.save(exported.root.parent / "bytes.npy", pixels)
    local = client.predict(
        client.in_process(exported.root, "two"), [exported.array], 32, client.facts_of(exported.path)
    )
    file = exported.root.parent / "a.png"
    file.write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy())
    with serving(exported.root, "two") as addresses:
        for address in addresses:
            ask = client.connect(address, "two")
            found = client.predict(ask, [exported.root.parent / "bytes.npy"], 2)
            assert [p.number for p in found] == [p.number for p in local[:5]]
            np.testing.assert_allclose([p.probability for p in found], [p.probability for p in local[:5]], atol=1e-5)
            with pytest.raises(UserError, match="pass .npy or .npz files"):
                client.predict(ask, [file])
            with pytest.raises(UserError, match=r"new.npy must be scaled as in training.*value_range"):
                client.predict(ask, [exported.array])
            with pytest.raises(UserError, match=r"rejects .*new.npy\[0\].*Received: 12x12x2") as caught:
                client.predict(ask, [exported.array], facts=inputs.Facts("0,1"))
            assert "\n" not in str(caught.value)


def test_the_binary(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runtime, "configure", lambda *arguments: None)
    np.save(tmp_path / "one.npy", exported.x[0])
    np.save(tmp_path / "odd.npy", exported.x * 3)
    np.save(tmp_path / "rgb.npy", np.zeros((12, 12, 3), np.uint8))
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy())
    here = ["--name=two", f"--export_dir={exported.root}", "--format=json"]
    assert predict_binary.main([*here, str(tmp_path / "one.npy"), str(tmp_path / "one.npy")]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 2 and found[0] == found[1] and found[0]["label"] in LABELS
    assert predict_binary.main([*here, str(tmp_path / "odd.npy"), "--value_range=0,3"]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[0])
    assert again["probability"] == pytest.approx(found[0]["probability"], abs=0.02)
    for name, words in (
        ("odd.npy", "value_range=LOW,HIGH"),
        ("a.png", "takes arrays only"),
        ("rgb.npy", "Received: 8x8x3"),
    ):
        with pytest.raises(SystemExit):
            predict_binary.main([*here, str(tmp_path / name)])
        lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
        assert len(lines) == 1 and words in lines[0] and "Traceback" not in lines[0]


@pytest.mark.parametrize("channels", [4])
def test_what_is_made_up_is_exported_and_evaluated(tmp_path, channels):
    x = archive(tmp_path / "images.npz", channels)
    trained_runs.write(tmp_path / "run", dataset="npz", data_dir=str(tmp_path / "images.npz"))
    path = exporting.export(tmp_path / "run", tmp_path / "exports", "m")
    found = evaluate(model=str(path), dataset="npz", data_dir=str(tmp_path / "images.npz"))
    assert found["accuracy"] == evaluate(workdir=str(tmp_path / "run"))["accuracy"]
    np.save(tmp_path / "new.npy", x[:3])
    facts = client.facts_of(path)
    assert len(client.predict(client.in_process(path, "m"), [tmp_path / "new.npy"], facts=facts)) == 3


def test_five_channels_are_trained(tmp_path):
    archive(tmp_path / "images.npz", 5)
    changes = {"dataset": "npz", "data_dir": str(tmp_path / "images.npz"), "batch_size": 8, "epochs": 1}
    changes |= {"resized_crop": True, "crop_padding": 0, "cutout": 4, "image_size": 10}
    with pytest.raises(UserError, match="Colour jitter needs images of 1 or 3 channels. Received: 5"):
        run(tmp_path / "run", color_jitter=0.4, **changes)
    assert not (tmp_path / "run").exists()
    summary, _ = run(tmp_path / "run", **changes)
    assert summary["image_shape"] == [10, 10, 5]
    assert evaluate(workdir=str(tmp_path / "run"))["accuracy"] == summary["test_accuracy"]


def test_data_with_other_classes_are_refused(exported, tmp_path):
    """The same number of classes, and other ones."""
    found = dict(np.load(exported.data))
    for name in ("y_train", "y_test"):
        found[name] = np.array(["cat", "dog", "fox"])[np.unique(found[name], return_inverse=True)[1]]
    np.savez(tmp_path / "images.npz", **found)
    with pytest.raises(UserError, match=r"expected 3 classes \(cat, dog, eel\).*Received: 3 classes \(cat, dog, fox\)"):
        exporting.export(exported.run, tmp_path / "exports", "m", data_dir=str(tmp_path / "images.npz"))
