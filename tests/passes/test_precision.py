"""Narrow types: variables that stay float32, float16's scale and its undone steps; for gradients see `conformance`."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bench.benchmark import random_batches
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.engine.loop import Diverged, Loop
from darts_tf.passes import loss_scale
from darts_tf.spaces.conv.derived import CifarNetwork
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError
from darts_tf.tasks.trained import load_network, save_network
from tests.helpers.language_runs import CELL
from tests.helpers.runs import Console, newest, same_run
from tests.helpers.searches import SMOKE, run
from tests.helpers.steps import build_network, build_supernet, every, pieces, search_step, train_step

NARROW = ("bfloat16", "float16")
PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")


def image_search(precision, order="first", hvp="exact"):
    config = SearchConfig(
        init_channels=4,
        num_cells=3,
        num_nodes=1,
        batch_size=16,
        primitives=PRIMITIVES,
        order=order,
        hvp=hvp,
        precision=precision,
        alpha_init_scale=0.1,
    )
    net = build_supernet(config, (8, 8, 3), 10)
    return net, search_step(net, config), random_batches(config, (8, 8, 3), 10)


@pytest.mark.parametrize("precision", NARROW)
def test_activations_are_narrow_and_nothing_that_is_kept(precision):
    net, step, (train, valid) = image_search(precision, "second", "finite_difference")
    seen = []
    stem, cells = net.stem_bn.call, net.cells[-1].call
    net.stem_bn.call = lambda x, *a, **k: seen.append(x.dtype.name) or stem(x, *a, **k)
    net.cells[-1].call = lambda x, *a, **k: seen.append(x.dtype.name) or cells(x, *a, **k)
    report = tf.function(lambda: step(train, valid, 0, tf.constant(0.1)), autograph=False)()
    # The probes of the finite difference differ by less than the narrow type resolves.
    assert set(seen[:2]) == {precision} and set(seen) == {precision, "float32"}
    assert {v.dtype for v in every(step) if v.dtype.kind == "f"} == {np.dtype("float32")}
    assert report["logits"].dtype == report["loss"].dtype == report["valid_loss"].dtype == tf.float32
    net(train[0])  # evaluation is in float32
    assert seen[-1] == "float32"


def test_an_operation_of_your_own_may_compute_in_its_own_type():
    """That of docs/guides/operations.md: one is a Keras layer, the other's policy is float32."""
    from darts_tf.spaces.conv.operations import PerEdge

    layer = PerEdge(lambda channels, stride: tf.keras.layers.Conv2D(channels, 3, stride, "same"), 4, edges=2)
    assert layer(tf.ones((1, 4, 4, 4), tf.bfloat16)).dtype == tf.bfloat16


def test_a_step_that_overflows_is_undone():
    net, step, (train, valid) = image_search("float16")
    one = tf.function(lambda batch: step(batch, valid, 0, tf.constant(0.1)), autograph=False)
    before = every(step)
    report = one((train[0] * 1e6, train[1]))
    for old, new in zip(before, every(step), strict=True):
        np.testing.assert_array_equal(old, new)
    scale, good = step.variables[loss_scale.GROUP]
    assert (report["skipped"].numpy(), scale.numpy(), good.numpy()) == (1, loss_scale.START / 2, 0)
    assert report["loss"].numpy() == 0 == report["gradient_norm"].numpy()
    report = one(train)
    assert (report["skipped"].numpy(), scale.numpy(), good.numpy()) == (0, loss_scale.START / 2, 1)
    assert report["loss"].numpy() > 0
    assert all(not np.array_equal(new, old) for new, old in zip(every(step)[:2], before, strict=False))
    scale.assign(1.0)
    assert one((train[0] * 1e6, train[1]))["skipped"].numpy() == loss_scale.HOPELESS and scale.numpy() == 1


def test_a_skipped_step_leaves_the_state_of_the_text():
    config = LanguageTrainConfig(num_units=4, batch_size=6, bptt=10, precision="float16")
    step = train_step(RecurrentNetwork(CELL, 9, 4), config)
    step.domain.carried[0].assign(tf.fill((6, 4), 0.5))
    step.network.embedding.assign(tf.fill((9, 4), 1e6))
    report = step(pieces(6), 1, tf.constant(0.1), 0.0, tf.constant(7, tf.int64))
    assert report["skipped"].numpy() == 1 and (step.domain.carried[0].numpy() == 0.5).all()


def test_the_scale_doubles_after_good_steps(monkeypatch):
    monkeypatch.setattr(loss_scale, "GOOD_STEPS", 3)
    scale = loss_scale.LossScale()
    seen = []
    for finite in (1, 1, 1, 1, 0, 1, 1, 1):
        scale.update(tf.constant(bool(finite)))
        seen.append(scale.scale.numpy() / loss_scale.START)
    assert seen == [1, 1, 2, 2, 1, 1, 1, 2]


class Skipping:
    """A task whose steps report what they are told to."""

    epoch_steps, max_rollbacks, rollbacks, finished, splits = [4], 0, 0, False, ()

    def __init__(self, skipped):
        self.skipped, self.variables, self.done = skipped, {"weights": [tf.Variable(1.0)]}, 0

    def start(self, step):
        pass

    resumed = start

    def run(self, epoch, count):
        skipped = np.array(self.skipped[self.done : self.done + count], np.float32)
        self.done += count
        return {"loss": np.where(skipped, 0, 2.0), "skipped": skipped}

    def summarise(self, sums):
        return {"train_loss": sums["loss"] / sums["steps"]}

    def end_epoch(self, epoch):
        return {}


def looped(tmp_path, skipped):
    from darts_tf.engine.reporting import Reporter
    from darts_tf.runs.workdir import WorkDir

    task = Skipping(skipped)
    with WorkDir(tmp_path) as directory, Reporter(directory, 4, False, Console()) as reporter:
        directory.open_for(SMOKE)
        loop = Loop(task, directory, SMOKE, reporter)
        loop.run()
    return loop.history[-1]


def test_the_loop_leaves_skipped_steps_out(tmp_path):
    record = looped(tmp_path / "some", [1, 0, 0, 1])
    assert (record["train_loss"], record["skipped_steps"]) == (2, 2)
    assert "train_loss" not in looped(tmp_path / "all", [1, 1, 1, 1])


def test_an_endless_run_of_skipped_steps_is_a_divergence(tmp_path):
    with pytest.raises(Diverged, match="step 3 overflows float16 even with the loss unscaled") as caught:
        looped(tmp_path, [1, 1, 2, 2])
    assert "\n" not in str(caught.value) and "precision=bfloat16" in str(caught.value)


def test_a_saved_network_knows_no_precision(tmp_path):
    config = TrainConfig(init_channels=4, num_cells=3, batch_size=4, precision="bfloat16")
    net = build_network(config, (32, 32, 3), 10)
    batch, _ = random_batches(config, (32, 32, 3), 10)
    train_step(net, config)(batch, 1, tf.constant(0.1), tf.constant(0.0), tf.constant(0, tf.int64))
    save_network(net, tmp_path / "net.keras")
    loaded = load_network(tmp_path / "net.keras")
    assert "float16" not in str(net.get_config()) and {v.dtype for v in loaded.variables} == {"float32"}
    assert isinstance(loaded, CifarNetwork) and loaded(batch[0]).dtype == tf.float32
    np.testing.assert_array_equal(loaded(batch[0]), net(batch[0]))


def test_bad_settings_are_refused_in_one_line(float64):
    with pytest.raises(UserError, match="precision must be one of float32, bfloat16, float16. Received: "):
        SearchConfig(precision="half")
    with pytest.raises(UserError, match="Expected float32 variables with precision=bfloat16. Received: float64"):
        image_search("bfloat16")


@pytest.mark.parametrize("precision", NARROW)
def test_two_epochs_are_one_and_one_more(precision, tmp_path):
    settings = {"precision": precision, "order": "first", "eigenvalue": False, "num_nodes": 1}
    settings["primitives"] = ("none", "skip_connect", "sep_conv_3x3")
    run(tmp_path / "whole", **settings)
    assert run(tmp_path / "parts", Console("epoch 1 done"), **settings)[0] is None
    run(tmp_path / "parts", **settings)
    same_run(tmp_path / "whole", tmp_path / "parts")
    arrays = newest(tmp_path / "whole").arrays
    assert ("loss_scale/00000" in arrays) == (precision == "float16")
    assert {a.dtype.name for a in arrays.values()} <= {"float32", "int64"}
