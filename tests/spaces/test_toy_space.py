"""A space that is written outside of the package: nothing of the package is edited or patched for it."""

import json

import numpy as np
import pytest

from darts_tf import genotypes
from darts_tf.config import presets
from darts_tf.genotypes.canonical import canonical
from darts_tf.tasks.evaluate import evaluate
from darts_tf.tasks.search import search
from darts_tf.tasks.train import train
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose
from tests.helpers.runs import Console, same_run
from tests.helpers.toy_space import ChainGenotype

SEARCH = presets.get("smoke").config.replace(
    space="chain", num_nodes=2, primitives=ChainGenotype.primitives, init_channels=4, tensorboard=False
)
TRAIN = presets.get("smoke_train").config.replace(space="chain", drop_path=0.0, tensorboard=False, init_channels=4)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    path = tmp_path_factory.mktemp("chain")
    return path, search(SEARCH, path / "search", Console())


def test_it_searches_resumes_and_derives(searched, tmp_path):
    path, found = searched
    assert isinstance(found, ChainGenotype) and [source for _, source in found.chain] == [0, 1]
    assert genotypes.load(path / "search") == genotypes.parse(found.to_text()) == found
    assert search(SEARCH, tmp_path / "search", Console("epoch 1 done")) is None
    assert search(SEARCH, tmp_path / "search", Console()) == found
    same_run(path / "search", tmp_path / "search")


def test_it_is_drawn_and_reported(searched):
    path, found = searched
    assert (path / "search" / "plots" / "chain.svg").read_text().count("sep_conv_3x3") == sum(
        name == "sep_conv_3x3" for name, _ in found.chain
    )
    weights = json.loads((path / "search" / "alphas" / "chain" / "epoch_002.json").read_text())
    assert weights["edges"] == ["image->0", "0->1"] and np.shape(weights["mixing_weights"]) == (2, 4)
    record = json.loads((path / "search" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"skip_chain", "entropy_chain"} <= record.keys()


def test_it_is_trained_evaluated_and_exported(searched):
    from darts_tf.export import exporting

    path, found = searched
    summary = train(TRAIN.replace(genotype=str(path / "search")), path / "train", Console())
    assert summary["genotype"] == found.to_json() and summary["parameters"] > 0
    result = evaluate(str(path / "train"))
    assert result["accuracy"] == pytest.approx(summary["test_accuracy"])
    exporting.export(str(path / "train"), str(path / "models"))
    assert list((path / "models").rglob("saved_model.pb"))


def test_the_tuner_proposes_in_it(searched):
    path, found = searched
    prior = load_prior(str(path / "search"))
    random = np.random.default_rng(0)
    first = propose(prior, 1.0, [], [], 0.3, random)
    assert first == found
    second = propose(prior, 1.0, [first], [], 0.3, random)
    assert isinstance(second, ChainGenotype) and canonical(second) != canonical(first)
