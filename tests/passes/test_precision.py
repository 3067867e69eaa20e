"""Narrow types: gradients close to float32's, variables that stay float32, float16's scale and its undone steps."""

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bench.benchmark import random_batches
from darts_tf.bilevel.gradients import WEIGHTS
from darts_tf.bilevel.objective import BatchObjective, values
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.engine.loop import Diverged, Loop
from darts_tf.passes import loss_scale
from darts_tf.spaces.conv.derived import CifarNetwork
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError
from darts_tf.tasks.trained import load_network, save_network
from tests.helpers.language_runs import CELL
from tests.helpers.runs import Console, newest, same_run
from tests.helpers.searches import SMOKE, run
from tests.helpers.steps import ORDERS, build_network, build_supernet, every, pieces, search_step, train_step

NARROW = ("bfloat16", "float16")
# Norm's relative error, and one less the cosine: bfloat16 has 8 bits, float16 11. Processors with narrow arithmetic of
# their own round at other places: with AMX norms were seen to be off by 0.12 and 0.037, cosines by 0.014 and 0.004.
NEAR = {"bfloat16": (0.2, 0.1), "float16": (0.06, 0.02)}
PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")


def flat(gradients):
    return np.concatenate([np.asarray(g, np.float64).ravel() for g in gradients])


def assert_near(found, expected, precision):
    norm, angle = NEAR[precision]
    found, expected = flat(found), flat(expected)
    lengths = np.linalg.norm(found), np.linalg.norm(expected)
    assert lengths[0] == pytest.approx(lengths[1], rel=norm)
    assert 1 - found @ expected / lengths[0] / lengths[1] < angle


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


def text_search(precision, order="first", hvp="exact"):
    config = LanguageSearchConfig(
        num_units=16, num_nodes=2, batch_size=8, bptt=5, order=order, hvp=hvp, precision=precision, grad_clip=0.0
    )
    net = build_supernet(config, 30)
    rng = np.random.default_rng(0)
    for v in net.weight_variables:
        v.assign(rng.normal(scale=0.4, size=v.shape))
    step = search_step(net, config)
    step.domain.carried[0].assign(rng.normal(size=(8, 16)))
    window = tf.constant([0, 5, 5], tf.int64)
    texts = [tf.constant(rng.integers(30, size=(2, 5, 8)), tf.int32) for _ in range(2)]
    seed = tf.zeros(2, tf.int64)
    if step.functions.precision.loss_scale:
        step.functions.precision.loss_scale.scale.assign(2.0**8)  # that of the start overflows
    pairs = enumerate(texts)
    batches = [step.domain.batch((*pair, window), seed, held_out=bool(n), factor=1.0) for n, pair in pairs]
    return net, step, batches


def gradients(net, step, batches):
    """The alphas' gradient, and the weights'."""
    rate = tf.constant(0.025)
    alphas = tf.function(lambda: step.architect.gradient(*batches, rate)[1], autograph=False)()
    packed = step.functions.weights.pack(net.weight_variables)
    objective = BatchObjective(step.functions, batches[0])
    weights = objective.gradients(packed, values(net.arch_variables), (WEIGHTS,))[1]
    return alphas, weights


@pytest.mark.parametrize("search", [image_search, text_search])
@pytest.mark.parametrize("order, hvp", ORDERS)
def test_a_search_steps_gradients_are_near_those_of_float32(search, order, hvp):
    expected = gradients(*search("float32", order, hvp))
    for precision in NARROW:
        for found, true in zip(gradients(*search(precision, order, hvp)), expected, strict=True):
            assert all(g.dtype == tf.float32 for g in found)
            assert_near(found, true, precision)


def moved_by_training(precision):
    """What a step of training adds to the weights: with auxiliary head and drop path; of a text with dropout."""
    config = TrainConfig(init_channels=4, num_cells=3, batch_size=16, drop_path=0.3, precision=precision)
    net = build_network(config, (32, 32, 3), 10)
    step, (batch, _) = train_step(net, config), random_batches(config, (32, 32, 3), 10)
    before = [v.numpy() for v in net.weight_variables]
    report = step(batch, 1, tf.constant(0.1), tf.constant(0.3), tf.constant(0, tf.int64))
    image = [v.numpy() - b for v, b in zip(net.weight_variables, before, strict=True)]
    assert np.isfinite(report["loss"]) and {v.dtype for v in net.variables} == {"float32"}

    config = LanguageTrainConfig(num_units=12, batch_size=6, bptt=10, grad_clip=0.0, precision=precision)
    net = RecurrentNetwork(CELL, 9, 12)
    rng = np.random.default_rng(1)
    for v in net.weight_variables:
        v.assign(rng.normal(scale=0.3, size=v.shape))
    before = [v.numpy() for v in net.weight_variables]
    step = train_step(net, config)
    step(pieces(6), 1, tf.constant(0.1), 0.0, tf.constant(7, tf.int64))
    assert step.domain.carried[0].dtype == tf.float32
    return image, [v.numpy() - b for v, b in zip(net.weight_variables, before, strict=True)]


def test_a_training_step_is_near_that_of_float32():
    expected = moved_by_training("float32")
    for precision in NARROW:
        for found, true in zip(moved_by_training(precision), expected, strict=True):
            assert_near(found, true, precision)


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
    """BUILD.md's: one is a Keras layer, the other's policy is float32."""
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

    def end_epoch(self, epoch, record):
        self.record = record
        return {}


def looped(tmp_path, skipped):
    from darts_tf.engine.reporting import Reporter
    from darts_tf.runs.workdir import WorkDir

    task = Skipping(skipped)
    with WorkDir(tmp_path) as directory, Reporter(directory, 4, False, Console()) as reporter:
        directory.open_for(SMOKE)
        Loop(task, directory, SMOKE, reporter).run()
    return task.record


def test_the_loop_leaves_skipped_steps_out(tmp_path):
    record = looped(tmp_path / "some", [1, 0, 0, 1])
    assert (record["train_loss"], record["skipped_steps"]) == (2, 2)
    assert "train_loss" not in looped(tmp_path / "all", [1, 1, 1, 1])


def test_an_endless_run_of_skipped_steps_is_a_divergence(tmp_path):
    with pytest.raises(Diverged, match="step 3 overflows float16 even with the loss unscaled") as caught:
        looped(tmp_path, [1, 1, 2, 2])
    assert "\n" not in str(caught.value) and "--precision=bfloat16" in str(caught.value)


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
