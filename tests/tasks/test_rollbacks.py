"""Roll-backs of language models: a training whose loss, or whose perplexity, is no number."""

import math

import numpy as np
import pytest

from darts_tf.engine.loop import Diverged
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system.errors import UserError
from darts_tf.tasks import domains
from darts_tf.tasks import train as training
from darts_tf.tasks.evaluators import LanguageEvaluator, language_forward, perplexity
from tests.helpers.language_runs import CELL, settings, train
from tests.helpers.runs import Console, metrics, newest


def test_divergence_is_rolled_back_so_often_and_said(texts, tmp_path):
    config = settings(texts, learning_rate=1e38, grad_clip=1e9, max_rollbacks=2)
    console = Console()
    with pytest.raises(UserError, match="is not finite .* was rolled back 2 times before"):
        training.train(config, tmp_path / "run", out=console)
    printed = console.getvalue()
    assert "roll-back 1 of at most 2: continuing from step 0" in printed and "roll-back 2 of at most 2" in printed
    # One that helps: with rates below 1e-3 it converges.
    config = settings(texts, learning_rate=1e38, grad_clip=1e9, max_rollbacks=1, rollback_rate=1e-38)
    found, printed = train(tmp_path / "helped", config)
    assert found["best"]["perplexity"] < 20 and printed.count("roll-back 1 of at most 1") == 1
    assert "learning rate 1 after 1 of 1 roll-backs" in printed and found["rollbacks"] == 1
    for record in metrics(tmp_path / "helped"):
        assert record["learning_rate"] == pytest.approx(1.0)
    assert newest(tmp_path / "helped").metadata["rollbacks"] == 1


def test_a_loss_without_a_perplexity_is_a_divergence(texts, tmp_path):
    """Finite, but its exponential is no number: a roll-back of a training, one line of an evaluation, else a gap."""
    assert perplexity(88) < 2e38 and perplexity(1e9) == math.inf
    sums = {"nats": 900.0, "length": 9, "gradient_norm": 1.0, "steps": 1}
    assert domains.of(settings(texts)).means(sums)["train_perplexity"] == math.inf
    net = RecurrentNetwork(CELL, 9, 5)
    net.bias.assign(1e9 * np.arange(9))
    with pytest.raises(
        Diverged, match=r"The perplexity on held-out text is not finite \(a loss of .*e\+09 nats per word"
    ):
        LanguageEvaluator(language_forward(net), net.initial_state)(np.zeros((9, 2), np.int32), 4)
    config = settings(texts, learning_rate=1e5, grad_clip=1e9, max_rollbacks=1, rollback_rate=1e-5, tensorboard=True)
    found, printed = train(tmp_path, config)
    assert found["rollbacks"] == 1 and found["best"]["perplexity"] < 20 and "roll-back 1 of at most 1" in printed


def test_averages_are_rolled_back_too(texts, tmp_path, monkeypatch):
    """A step that goes wrong after averaging has begun: the run ends as one that took no such step."""
    config = settings(texts, nonmono=1, epochs=5, learning_rate=60.0, rollback_rate=1.0, max_rollbacks=1)
    monkeypatch.setattr(training, "ROLLBACK_SEED", 0)  # the same masks again
    right, _ = train(tmp_path / "right", config)
    assert right["averaged_from"] and right["averaged_from"] < 5
    ended, whole = [], training.TrainTask.run

    def once_wrong(task, epoch, count):
        report = whole(task, epoch, count)
        if epoch == 4 and not task.rollbacks:
            ended.append(task.averaging)
            report["loss"][-1] = math.nan
        return report

    monkeypatch.setattr(training.TrainTask, "run", once_wrong)
    found, printed = train(tmp_path / "wrong", config)
    assert ended == [True] and "roll-back 1 of at most 1: continuing from step" in printed
    assert {**found, "seconds": 0} == {**right, "seconds": 0, "rollbacks": 1}
    for name, array in newest(tmp_path / "right").arrays.items():
        np.testing.assert_array_equal(newest(tmp_path / "wrong").arrays[name], array, err_msg=name, strict=True)
