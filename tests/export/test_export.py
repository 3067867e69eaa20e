"""Export: versions in a folder, what the files hold, how they are checked, what bad input gets."""

import json
import pathlib
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from darts_tf.bin import export as export_binary
from darts_tf.data import sources
from darts_tf.export import exporting, images, publish, samples, signatures, verify
from darts_tf.spaces.conv.derived import CifarNetwork, Derived
from darts_tf.spaces.conv.folding import fold
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.tasks.trained import load
from tests.helpers import trained_runs


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "run"
    trained_runs.write(path)
    return path


@pytest.fixture(scope="module")
def trained(workdir):
    return load(workdir)


@pytest.fixture(scope="module")
def exported(workdir, tmp_path_factory):
    lines = []
    root = tmp_path_factory.mktemp("exports")
    return exporting.export(workdir, root, "digits", say=lines.append), lines


def publish_one(root, name="m", **arguments):
    """Publishes something that looks like a model."""
    publication = publish.Publication(root, name, **arguments)
    with publication.building() as folder:
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_bytes(b"x" * 100_000)
        (folder / "saved_model.pb").write_text("model")
        return publication.publish(folder)


def config(root):
    parsed = text_format.Parse((root / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    return {model.name: (model.base_path, model.model_platform) for model in parsed.model_config_list.config}


def test_versions_count_up_and_old_ones_go(tmp_path):
    root = tmp_path / "exports"
    assert [publish_one(root).name for _ in range(3)] == ["1", "2", "3"]
    assert publish_one(root, version=10).name == "10"
    assert publish_one(root, keep=2).name == "11"
    assert publish.versions(root / "m") == [3, 10, 11]
    assert publish_one(root, version=5, keep=0) == root / "m" / "5"  # 10 and 11 are not older
    assert publish.versions(root / "m") == [5, 10, 11]
    publish_one(root, "other")
    assert config(root) == {n: (str(root / n), "tensorflow") for n in ("m", "other")}
    assert not list(root.glob(".tmp-*"))
    with pytest.raises(UserError, match="Version 10 of m exists"):
        publish.Publication(root, "m", 10)


def test_a_server_that_polls_sees_whole_versions_only(tmp_path):
    seen, stop = {}, threading.Event()

    def poll():
        while not stop.is_set():
            for path in (tmp_path / "m").glob("*"):
                if path.name.isdigit() and path.name not in seen:
                    seen[path.name] = sorted(p.name for p in path.rglob("*"))
                    assert (path / "variables" / "data").stat().st_size == 100_000

    thread = threading.Thread(target=poll)
    thread.start()
    for _ in range(20):
        publish_one(tmp_path)
    time.sleep(0.05)
    stop.set()
    thread.join()
    assert len(seen) == 20 and all(names == ["data", "saved_model.pb", "variables"] for names in seen.values())


def test_two_that_publish_at_once_get_two_numbers(tmp_path):
    first, second = publish.Publication(tmp_path, "m"), publish.Publication(tmp_path, "n")
    third = publish.Publication(tmp_path, "m", 1)
    with first.building() as a, second.building() as b, third.building() as c:
        for folder in (a, b, c):
            (folder / "saved_model.pb").touch()
        publish_one(tmp_path, "o")
        assert a.exists() and b.exists()
        assert (first.publish(a).name, second.publish(b).name) == ("1", "1")
        with pytest.raises(UserError, match="Another process has just published version 1"):
            third.publish(c)
    assert set(config(tmp_path)) == {"m", "n", "o"} and not list(tmp_path.glob(".tmp-*"))


def test_what_killed_exports_left_goes(tmp_path):
    publish_one(tmp_path)
    (tmp_path / ".tmp-m-1").mkdir()
    (tmp_path / ".models.config.1.tmp").touch()
    publish_one(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    publication = publish.Publication(tmp_path / "exports", "m")
    with pytest.raises(RuntimeError), publication.building() as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert not (tmp_path / "exports").exists()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publish.os, "rename", full)
    with pytest.raises(UserError, match="No space left on device.*nothing was published"):
        publish_one(tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


@pytest.mark.parametrize(
    "there, words",
    [
        ("photo.jpg", "photo.jpg"),
        ("m/notes.txt", "m/notes.txt"),
        ("m/7/variables/data", "m/7"),  # a number, but no model
        ("m/v1/saved_model.pb", "m/v1"),
        ("other/readme", "other"),
        ("models.config", "models.config"),  # somebody else's
    ],
)
def test_foreign_content_is_refused(tmp_path, there, words):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(UserError, match=f"holds something else.*Received: {words}") as caught:
        publish.Publication(tmp_path, "m")
    assert "\n" not in str(caught.value) and (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a b", "-x"])
def test_bad_names(tmp_path, name):
    with pytest.raises(UserError, match="name must be made of"):
        publish.Publication(tmp_path, name)


def test_places_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", "/proc/exports"):
        with pytest.raises(UserError, match="Cannot export into|holds something else"):
            publish_one(place)


def test_signatures(trained):
    facts = trained.facts
    traced = signatures.trace(trained.network.folded(), facts.image_shape, facts.mean, facts.std, facts.class_names)
    default, encoded = traced["serving_default"], traced["serving_bytes"]
    kinds = {node.op for node in default.graph.as_graph_def().node}
    assert not kinds & {"Rsqrt", "FusedBatchNormV3", "If", "RandomUniform", "StatelessRandomUniformV2", "HashTableV2"}
    names = {v.name for f in traced.values() for v in f.graph.variables}
    assert not [name for name in names if "moving" in name or "gamma" in name]
    assert {id(v) for f in traced.values() for v in f.graph.variables} == {id(v) for v in default.graph.variables}
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
        tf.function(lambda x: default(image=x)["logits"], autograph=False, input_signature=[tf.TensorSpec(None)])(
            tf.zeros((1, 16, 16, 1))
        )
    for content in (b"", b"x", b"hello world", b"%PDF-1.4"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes must hold JPEG or PNG files"):
            encoded(image_bytes=tf.constant([content]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="PNG"):
        encoded(image_bytes=tf.constant([tf.io.encode_png(tf.zeros((8, 8, 1), tf.uint8)).numpy()[:50]]))


@pytest.mark.parametrize("shape, fraction", [((8, 8, 1), 1.0), ((12, 12, 3), 0.75), ((10, 6, 3), 1.0)])
def test_files_are_read_as_the_evaluation_reads_them(shape, fraction, tmp_path):
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for i, size in enumerate([(40, 30), (31, 57)] if shape[0] == shape[1] else [(6, 10)]):
            pixels = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    size = shape[0] if shape[0] == shape[1] else 0
    data = sources.load("folder", str(tmp_path), size, channels=shape[-1], center_fraction=fraction)
    read = data.train.read(tf.range(len(data.train))).numpy()
    for path, expected in zip(sorted(tmp_path.glob("*/*.png")), read, strict=True):
        image = signatures.to_image(tf.constant(path.read_bytes()), tf.constant(0), shape, fraction)
        np.testing.assert_array_equal(image, expected)
        assert image.dtype == tf.float32


def test_what_is_published(exported, trained):
    path, lines = exported
    assert path.name == "1" and path.parent.name == "digits"
    assert (path / "assets" / "labels.txt").read_text().split() == list("0123456789")
    assert json.loads((path / "assets" / "genotype.json").read_text()) == trained.genotype.to_json()
    card = json.loads((path / "assets" / "model_card.json").read_text())
    assert (card["dataset"], card["parameters"], card["macs"]) == (
        "digits",
        trained.network.parameters,
        trained.network.macs(),
    )
    assert card["accuracy"] == {"accuracy_on": "validation", "epoch": 1, "accuracy": 0.5, "loss": 1.0}
    assert card["training_config"]["init_channels"] == 4 and card["versions"]["tensorflow"] == tf.__version__
    assert card["checks"]["batch_norms_folded"] and card["checks"]["saved_model"]["probabilities"] <= 1e-5
    assert any("ran 4 warm-up requests" in line for line in lines)
    assert set(config(path.parent.parent)) == {"digits"}
    # Every number once, and none of the auxiliary head or of folded statistics.
    stored = tf.train.list_variables(str(path / "variables" / "variables"))
    count = sum(int(np.prod(shape)) for name, shape in stored if not name.startswith("_CHECK"))
    gammas = sum(int(np.prod(v.shape)) for v in trained.network.variables if v.path.endswith("gamma"))
    auxiliary = trained.network.auxiliary_head.trainable_variables
    gammas -= sum(int(np.prod(v.shape)) for v in auxiliary if v.path.endswith("gamma"))
    assert count == card["stored_numbers"] == trained.network.parameters - gammas


def test_the_exported_model_is_the_network(exported, trained):
    loaded = tf.saved_model.load(str(exported[0]))
    inputs = loaded.signatures["serving_default"].structured_input_signature[1]
    assert inputs == {"image": tf.TensorSpec((None, 8, 8, 1), tf.float32, "image")}
    outputs = loaded.signatures["serving_default"].structured_outputs
    assert {k: (v.dtype.name, v.shape.as_list()) for k, v in outputs.items()} == {
        "logits": ("float32", [None, 10]),
        "probabilities": ("float32", [None, 10]),
        "classes": ("int32", [None]),
    }
    real = samples.load(trained, count=20)
    pixels = tf.constant(real.images)
    expected = trained.network((pixels / 255 - trained.facts.mean) / trained.facts.std, training=False).numpy()
    for size in (1, 7, 20):
        outputs = loaded.signatures["serving_default"](image=pixels[:size])
        np.testing.assert_allclose(outputs["logits"], expected[:size], atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(outputs["probabilities"], tf.nn.softmax(expected[:size]), atol=1e-5)
        contents = [tf.io.encode_png(tf.cast(image, tf.uint8)).numpy() for image in pixels[:size]]
        encoded = loaded.signatures["serving_bytes"](image_bytes=tf.constant(contents))
        np.testing.assert_array_equal(encoded["logits"], outputs["logits"])
        assert [int(label) for label in encoded["labels"].numpy()] == outputs["classes"].numpy().tolist()


def test_what_fails_the_check_is_removed(workdir, tmp_path, monkeypatch):
    honest = images.network_logits
    monkeypatch.setattr(images, "network_logits", lambda *arguments: honest(*arguments) + 3e-4)
    with pytest.raises(UserError, match="logits off by 0.0003.*Nothing was published") as caught:
        exporting.export(workdir, tmp_path / "exports")
    assert "\n" not in str(caught.value) and not (tmp_path / "exports").exists()


def test_a_full_disk(workdir, tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(
            UserError, match="^Cannot write the model: .*File too large. Nothing was published"
        ) as caught:
            exporting.export(workdir, tmp_path / "exports")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value) and "{{" not in str(caught.value)
    assert not (tmp_path / "exports").exists()


def test_a_damaged_file_fails_the_check(exported, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(exported[0], folder)
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"short")
    inputs, outputs = {"image": np.zeros((7, 8, 8, 1), np.float32)}, {"logits": np.zeros((7, 10), np.float32)}
    with pytest.raises(UserError, match="The exported model does not work: ") as caught:
        verify.in_fresh_process(folder, [verify.Case("serving_default", inputs, outputs)])
    assert "\n" not in str(caught.value)


def test_batch_norms_stay_where_folding_changes_the_outputs(trained, monkeypatch):
    real = samples.load(trained, count=7)
    logits = images.network_logits(trained.network, trained.facts, real.images)
    network, off = images.folded(trained, real.images, logits)
    assert network is not trained.network and off <= verify.tolerance(logits)

    def bad_fold(network):
        folded = fold(network)
        folded.bias.assign_add([1e-3] * 10)
        return folded

    monkeypatch.setattr(CifarNetwork, "folded", bad_fold)
    network, off = images.folded(trained, real.images, logits)
    assert network is trained.network and off > 5e-4
    monkeypatch.undo()


def test_a_network_of_a_space_without_batch_norms_is_exported_as_it_is(workdir, trained, tmp_path, monkeypatch):
    monkeypatch.delattr(Derived, "folded")
    path = exporting.export(workdir, tmp_path / "exports", formats=["tflite", "onnx"])
    checks = json.loads((path / "assets" / "model_card.json").read_text())["checks"]
    assert not checks["batch_norms_folded"] and checks["tflite"]["float32"]["agreement"] == 1
    page = (path / "assets" / "model_card.md").read_text()
    assert "| tflite float32 agreement | 100.00 % |" in page and trained.genotype.to_text() in page
    assert checks["onnx"]["probabilities"] < 1e-5 and f"| onnx bytes | {checks['onnx']['bytes']:,} |" in page


def test_an_onnx_file_computes_what_is_served(workdir, trained, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = exporting.export(workdir, tmp_path / "exports", formats=["onnx"])
    session = onnxruntime.InferenceSession(str(path / "onnx/model.onnx"))
    (image,), batch = session.get_inputs(), np.random.default_rng(0).integers(0, 256, (5, *trained.facts.image_shape))
    outputs = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"image": np.float32(batch)}), strict=True)
    )
    served = tf.saved_model.load(str(path)).signatures["serving_default"](image=tf.constant(batch, tf.float32))
    assert image.name == "image" and image.shape[1:] == list(trained.facts.image_shape)
    assert set(outputs) == set(served) == {"logits", "probabilities", "classes"}
    np.testing.assert_allclose(outputs["logits"], served["logits"], atol=1e-5)
    np.testing.assert_array_equal(outputs["classes"], served["classes"])


def test_onnx_without_its_packages_is_a_line(workdir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match=r"pip install 'darts_tf\[onnx\]'"):
        exporting.export(workdir, tmp_path / "exports", formats=["onnx"])
    assert not (tmp_path / "exports").exists()


@pytest.fixture
def refused(capfd, monkeypatch, tmp_path):
    """Calls darts-export, which must refuse; returns its one line."""
    monkeypatch.setattr(runtime, "configure", lambda *arguments: None)

    def call(*argv, status=1):
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            export_binary.main([str(argument) for argument in argv])
        lines = [x for x in capfd.readouterr().err.splitlines() if x.startswith("darts-export: error: ")]
        assert caught.value.code == status and len(lines) == 1 and len(lines[0]) < 500
        assert not list(tmp_path.glob("exports/*")) and not list(tmp_path.glob("exports/.*"))
        return lines[0]

    return call


def test_bad_input(refused, workdir, tmp_path):
    root = f"--export_dir={tmp_path / 'exports'}"
    assert "--workdir" in refused(root, status=2)
    assert "nowhere" in refused(tmp_path / "nowhere", root)
    assert "last" in refused(workdir, root, "--weights=last")
    assert "coreml" in refused(workdir, root, "--format=coreml")
    assert "version" in refused(workdir, root, "--version=0", status=2)
    assert "keep" in refused(workdir, root, "--keep=-1", status=2)
    assert "name" in refused(workdir, root, "--name=a/b")
    (tmp_path / "file").touch()
    assert "Cannot export into" in refused(workdir, f"--export_dir={tmp_path / 'file' / 'x'}")


@pytest.mark.parametrize("damage", [b"", b"not a network", None])
def test_damaged_networks(refused, workdir, tmp_path, damage):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(workdir, run)
    whole = (run / "best.keras").read_bytes()
    (run / "best.keras").write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert "best.keras" in refused(run, f"--export_dir={tmp_path / 'exports'}")


def test_data_that_are_gone_or_others(refused, workdir, tmp_path):
    import shutil

    run, root = tmp_path / "run", f"--export_dir={tmp_path / 'exports'}"
    shutil.copytree(workdir, run)
    settings = json.loads((run / "config.json").read_text()) | {"dataset": "npz", "data_dir": str(tmp_path / "x.npz")}
    (run / "config.json").write_text(json.dumps(settings))
    assert "x.npz" in refused(run, root)
    other = {f"x_{part}": np.zeros((9, 8, 8, 1), np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "x.npz", **other, y_train=np.arange(9) % 3, y_test=np.arange(9) % 3)
    assert "differ from the network's training data" in refused(run, root)


def test_the_binary_publishes(workdir, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(runtime, "configure", lambda *arguments: None)
    monkeypatch.chdir(tmp_path)
    assert export_binary.main([str(workdir), "--name=mine", "--version=3"]) == 0
    out, err = capfd.readouterr()
    assert pathlib.Path(out.strip()) == tmp_path / "exports" / "mine" / "3"
    assert "equal to the network" in err and "Traceback" not in err
