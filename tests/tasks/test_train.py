"""Whole trainings of derived networks, by the library and by the binaries: what they leave, that they resume."""

import json
import pathlib
import re
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes as genotype
from darts_tf.bilevel.objective import cross_entropy
from darts_tf.bin import evaluate as evaluate_binary
from darts_tf.bin import export as export_binary
from darts_tf.bin import train as train_binary
from darts_tf.config import TrainConfig, presets
from darts_tf.runs.workdir import WorkDir
from darts_tf.spaces.conv.derived import CifarNetwork
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.tasks import domains
from darts_tf.tasks.evaluate import evaluate
from darts_tf.tasks.trained import load, load_network
from tests.helpers.runs import LINE, Console, archive, folder, metrics, newest
from tests.helpers.steps import train_step
from tests.helpers.trainings import CELL, SMOKE, run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("train") / "run"
    return workdir, *run(workdir)


def test_what_a_run_leaves(whole):
    workdir, summary, printed = whole
    assert json.loads((workdir / "summary.json").read_text()) == summary
    assert genotype.load(workdir) == CELL
    config = TrainConfig.from_json(json.loads((workdir / "config.json").read_text()))
    assert genotype.parse(config.genotype) == CELL
    assert [record["epoch"] for record in metrics(workdir)] == [1, 2]
    wanted = {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "valid_top5_accuracy", "learning_rate"}
    assert wanted | {"drop_path", "gradient_norm"} <= metrics(workdir)[0].keys()
    assert [record["drop_path"] for record in metrics(workdir)] == [0, SMOKE.drop_path / 2]
    best, last = load(workdir, "best"), load(workdir, "last")
    assert best.facts.class_names == tuple("0123456789") and best.facts.image_shape == (8, 8, 1)
    assert summary["parameters"] == best.network.parameters and summary["macs"] == best.network.macs()
    saved = newest(workdir).arrays
    for i, variable in enumerate(last.network.weight_variables):
        np.testing.assert_array_equal(variable.numpy(), saved[f"weights/{i:05d}"])
    accuracies = [record["valid_accuracy"] for record in metrics(workdir)]
    assert summary["best"]["epoch"] == 1 + int(np.argmax(accuracies)) and summary["last"]["epoch"] == 2
    assert summary["selected_on"] == "validation" and summary["recommended_weights"] == "best"
    for text in ("graph built in", "epoch 2 done", "validation accuracy", "multiply-adds"):
        assert text in printed
    assert "supernet" not in printed
    assert not [path for path in workdir.rglob(".*") if path.name != ".lock"]


def test_two_epochs_are_one_and_one_more(whole, tmp_path):
    """After SIGTERM, as a machine that is shut down sends it; `test_search` has the other signal."""
    found, printed = run(tmp_path, Console("epoch 1 done", signal.SIGTERM))
    assert found is None and LINE in printed.splitlines()[-1]
    assert not (tmp_path / "last.keras").exists() and load(tmp_path).network
    found, printed = run(tmp_path)
    assert "resuming at step 6 of 12" in printed
    assert {**found, "seconds": 0} == {**whole[1], "seconds": 0}
    a, b = newest(whole[0]), newest(tmp_path)
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name, strict=True)
    assert metrics(tmp_path) == metrics(whole[0])
    for name in ("best", "last"):
        ours, theirs = (load_network(path / f"{name}.keras") for path in (tmp_path, whole[0]))
        for v, w in zip(ours.variables, theirs.variables, strict=True):
            np.testing.assert_array_equal(v.numpy(), w.numpy())


def test_a_run_of_another_kind_is_refused(whole):
    from darts_tf.tasks.search import search

    with pytest.raises(UserError, match="run of another kind. Expected search. Received: train"):
        search(presets.get("smoke").config, whole[0], out=Console())


def test_the_test_images_are_watched_where_none_are_kept_apart(tmp_path):
    path = folder(tmp_path / "images" / "train")
    folder(tmp_path / "images" / "test")
    changes = {"train_portion": 1.0, "batch_size": 4, "epochs": 1, "image_size": 16, "resized_crop": True}
    changes |= {"crop_padding": 0, "color_jitter": 0.4, "eval_crop": 0.875, "label_smoothing": 0.1, "flip": True}
    found, printed = run(tmp_path / "run", dataset="folder", data_dir=str(path.parent), **changes)
    assert "validating on the test images" in printed and "test accuracy" in printed
    assert found["recommended_weights"] == "last" and found["selected_on"] == "test"
    assert found["test_accuracy"] == found["last"]["accuracy"] and found["valid_accuracy"] is None
    assert "top5_accuracy" not in found["last"]  # of two classes
    result = evaluate(workdir=str(tmp_path / "run"))
    assert result["accuracy"] == found["test_accuracy"] and result["examples"] == 20


def test_photographs_with_the_imagenet_network_and_the_exponential_rate(tmp_path):
    path = archive(tmp_path / "own.npz", count=12, size=64, channels=3)
    changes = {"network": "imagenet", "batch_size": 4, "epochs": 2, "schedule": "exponential", "drop_path": 0.0}
    changes |= {"max_train_examples": 0, "auxiliary": False, "learning_rate_decay": 0.5}
    found, _ = run(tmp_path / "run", dataset="npz", data_dir=str(path), **changes)
    rates = [record["learning_rate"] for record in metrics(tmp_path / "run")]
    assert rates == [SMOKE.learning_rate, SMOKE.learning_rate / 2]
    assert found["image_shape"] == [64, 64, 3] and found["test_accuracy"] is None


def test_rates_and_drop_path_are_those_of_the_original(golden):
    """`golden/schedules.json`: what is used in each epoch."""
    schedules = json.loads((golden / "schedules.json").read_text())
    text = json.dumps(schedules)
    domain = domains.of(presets.get("cifar10_train", TrainConfig).config)
    assert domain.rate(410) == pytest.approx(5.692012e-3, rel=1e-6)  # logged by a user of the original
    assert domain.drop_path(0) == 0 and domain.drop_path(599) == pytest.approx(0.2 * 599 / 600)
    domain = domains.of(presets.get("imagenet_train", TrainConfig).config)
    assert [domain.rate(e) for e in (0, 1, 2)] == pytest.approx([0.1, 0.097, 0.09409])
    assert "drop" in text


def test_label_smoothing(golden):
    logits = tf.constant([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]], tf.float64)
    labels = tf.constant([0, 2])
    targets = 0.9 * tf.one_hot(labels, 3, dtype=tf.float64) + 0.1 / 3
    expected = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    np.testing.assert_allclose(cross_entropy(logits, labels, 0.1), expected, rtol=1e-12)
    misc = np.load(golden / "misc.npz")
    names = {name.split("/")[-1]: misc[name] for name in misc.files if name.startswith("label_smooth/")}
    stored = {key: value for key, value in names.items() if value.ndim == 0}
    assert stored, sorted(names)
    x = tf.constant(names["logits"], tf.float64)
    y = tf.constant(names[next(name for name in names if name in ("y", "labels", "target", "targets"))])
    loss = next(value for name, value in stored.items() if "loss" in name)
    np.testing.assert_allclose(cross_entropy(x, y, 0.1), loss, rtol=1e-10)


def test_a_step_is_the_rule_by_hand(float64):
    """Gradient of the joint loss, clipping, L2 in the gradient, momentum, statistics: against a plain tape."""
    keras.utils.set_random_seed(3)
    net = CifarNetwork("DARTS_V1", 4, (8, 8, 1), 4, 3)
    config = TrainConfig(grad_clip=0.5, drop_path=0.3, label_smoothing=0.1)
    step = train_step(net, config)
    rng = np.random.default_rng(0)
    x, y = tf.constant(rng.normal(size=(6, 8, 8, 1))), tf.constant(rng.integers(4, size=6))
    buffers = [np.zeros(v.shape) for v in net.weight_variables]
    for number in range(2):
        before = [v.numpy() for v in net.weight_variables]
        state = [v.numpy() for v in net.state_variables]
        drop = net.drop_factors(6, 0.3, (5, number))
        with tf.GradientTape() as tape:
            stages = net.activations(x, training=True, drop=drop)
            loss = cross_entropy(stages["logits"], y, 0.1) + 0.4 * cross_entropy(stages["auxiliary_logits"], y, 0.1)
        gradients = [g.numpy() for g in tape.gradient(loss, [v.value for v in net.weight_variables])]
        moved = [v.numpy() for v in net.state_variables]
        for variable, old in zip(net.state_variables, state, strict=True):
            variable.assign(old)
        rates = tf.constant(0.1, tf.float64), tf.constant(0.3, tf.float64)
        report = step((x, y), number, *rates, tf.constant(5, tf.int64))
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > 0.5
        np.testing.assert_allclose([report["loss"], report["gradient_norm"]], [loss, norm], rtol=1e-10)
        for i, variable in enumerate(net.weight_variables):
            gradient = gradients[i] * 0.5 / (norm + 1e-6) + 3e-4 * before[i]
            buffers[i] = 0.9 * buffers[i] + gradient
            np.testing.assert_allclose(variable.numpy(), before[i] - 0.1 * buffers[i], rtol=1e-9, atol=1e-13)
        for variable, new in zip(net.state_variables, moved, strict=True):
            np.testing.assert_allclose(variable.numpy(), new, rtol=1e-10)


def test_evaluation_agrees_however_it_is_asked(whole):
    workdir, summary, _ = whole
    by_directory = evaluate(workdir=str(workdir), weights="last", batch_size=50)
    assert by_directory["accuracy"] == summary["last"]["test_accuracy"] and by_directory["examples"] == 297
    assert by_directory["loss"] == pytest.approx(summary["last"]["test_loss"], rel=1e-5)
    by_file = evaluate(model=str(workdir / "last.keras"), dataset="digits", batch_size=100)
    assert by_file["accuracy"] == by_directory["accuracy"]
    held_out = evaluate(workdir=str(workdir), weights="last", split="valid")
    assert (held_out["accuracy"], held_out["examples"]) == (summary["last"]["accuracy"], 10)
    assert evaluate(workdir=str(workdir), split="train", max_examples=7)["examples"] == 7


def one_line(call, capfd, words):
    with pytest.raises(SystemExit) as caught:
        call()
    error = capfd.readouterr().err.splitlines()[-1]
    assert caught.value.code in (1, 2) and ": error: " in error
    for word in words:
        assert word in error, error


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--genotype=DARTS_V9"], ["DARTS_V9", "DARTS_V1"]),
        (["--genotype=ENAS"], ["conv genotype", "recurrent"]),
        (["--genotype=Genotype(recurrent=[('tanh', 0)], concat=[1])"], ["recurrent"]),
        (["--init_channels=5"], ["init_channels must be even"]),
        (["--network=imagenet"], ["at least 64 pixels", "8x8"]),
        (["--batch_size=4000"], ["batch", "54"]),
        (["--preset=smoke"], ["preset of darts-search"]),
        (["--dataset=npz", "--data_dir=nowhere.npz"], ["nowhere.npz"]),
        (["--num_cells=2"], ["num_cells must be at least 3"]),
        (["--drop_path=1"], ["drop_path must be", "below 1"]),
    ],
)
def test_a_users_mistake_is_one_line(flags, words, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(runtime, "configure", lambda *args: None)
    preset = [] if any("preset" in flag for flag in flags) else ["--preset=smoke_train"]
    one_line(lambda: train_binary.main([*preset, f"--workdir={tmp_path / 'run'}", *flags]), capfd, words)
    assert not (tmp_path / "run").exists()


def test_mistakes_at_evaluation_are_one_line(whole, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(runtime, "configure", lambda *args: None)
    workdir = whole[0]
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes((workdir / "last.keras").read_bytes()[:5000])
    other = archive(tmp_path / "own.npz", size=8)
    for flags, words in [
        ([], ["either --workdir or --model"]),
        ([f"--workdir={tmp_path / 'none'}"], ["no work directory"]),
        ([f"--workdir={tmp_path}"], ["holds no training run"]),
        ([f"--model={damaged}", "--dataset=digits"], ["Cannot read", "damaged.keras"]),
        ([f"--model={tmp_path / 'none.keras'}", "--dataset=digits"], ["There is no file"]),
        ([f"--model={tmp_path}", "--dataset=digits"], ["not an exported model"]),
        ([f"--model={workdir / 'last.keras'}"], ["expected dataset with model"]),
        ([f"--workdir={workdir}", "--dataset=npz", f"--data_dir={other}"], ["expected 10 classes", "3 classes"]),
    ]:
        one_line(lambda flags=flags: evaluate_binary.main(flags), capfd, words)


def test_a_checkpoint_with_other_classes_is_refused(whole, tmp_path):
    path = tmp_path / "copy"
    path.mkdir()
    for name in ("config.json", "data.json", "genotype.json", "best.keras"):
        (path / name).write_bytes((whole[0] / name).read_bytes())
    facts = json.loads((path / "data.json").read_text())
    (path / "data.json").write_text(json.dumps(facts | {"class_names": ["a", "b"]}))
    with pytest.raises(UserError, match="has 10 classes .* but data.json has 2"):
        load(path)
    (path / "data.json").write_text("{")
    with pytest.raises(UserError, match="data.json cannot be read"):
        load(path)


def test_a_work_directory_has_no_python_run(whole, tmp_path, capfd, monkeypatch):
    """What its `config.json` names is run neither by an evaluation nor an export nor a resume, unless asked for."""
    monkeypatch.setattr(runtime, "configure", lambda *args: None)
    path, own = tmp_path / "copy", tmp_path / "own.py"
    shutil.copytree(whole[0], path)
    own.write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'executed')!r}).touch()\n")
    settings = json.loads((path / "config.json").read_text()) | {"operations_file": str(own)}
    (path / "config.json").write_text(json.dumps(settings))
    words = ["custom operations", str(own), "operations_file=PATH"]
    one_line(lambda: evaluate_binary.main([str(path)]), capfd, words)
    one_line(lambda: export_binary.main([str(path), f"--export_dir={tmp_path / 'exports'}"]), capfd, words)
    with pytest.raises(UserError, match="different settings.*operations_file: .*own.py -> ''"):
        run(path)
    assert not (tmp_path / "executed").exists()
    assert evaluate_binary.main([str(path), f"--operations_file={own}", "--max_examples=9"]) == 0
    assert (tmp_path / "executed").exists()


def test_images_without_anything_to_watch_are_refused(tmp_path):
    path = archive(tmp_path / "own.npz")
    with pytest.raises(UserError, match="no test images.*train_portion below 1"):
        run(tmp_path / "run", dataset="npz", data_dir=str(path), train_portion=1.0)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_at_the_best_network_is_one_line(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Full(Console):
        def write(self, text):
            if "graph built" in text:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
            return super().write(text)

    try:
        with pytest.raises(UserError, match=r"Cannot write .*best\.keras") as caught:
            run(tmp_path, Full(), tensorboard=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not [path.name for path in pathlib.Path(tmp_path).iterdir() if re.search("keras", path.name)]


def test_a_second_process_is_refused(whole):
    with WorkDir(whole[0]) as held:
        config = TrainConfig.from_json(json.loads((whole[0] / "config.json").read_text()))
        held.open_for(config)
        with pytest.raises(UserError, match="Another process"):
            run(whole[0])


@pytest.mark.slow
def test_a_step_compiled_by_xla_is_the_same():
    """What GPUs run; on a CPU it is slow. Drop path is off: XLA may draw other numbers."""
    results = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(3)
        net = CifarNetwork("DARTS_V2", 4, (8, 8, 1), 4, 3)
        step = train_step(net, TrainConfig(drop_path=0.0, jit_compile=jit_compile))
        rng = np.random.default_rng(0)
        x, y = tf.constant(rng.normal(size=(6, 8, 8, 1)), tf.float32), tf.constant(rng.integers(4, size=6), tf.int32)
        others = 0, tf.constant(0.1), tf.constant(0.0), tf.constant(0, tf.int64)
        taken = tf.function(lambda *args, step=step: step(*args), autograph=False, jit_compile=jit_compile or None)
        report = taken((x, y), *others)
        results.append((float(report["loss"]), [v.numpy() for v in net.variables]))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
