"""What a prior is read from: a search, saved alphas, a genotype; and the search's own method reads it."""

import json

import numpy as np
import pytest

from darts_tf import genotypes
from darts_tf.genotypes.selection import select, softmax
from darts_tf.methods import METHODS, Method
from darts_tf.system.errors import UserError
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import refined
from tests.helpers.derivation import derive_conv
from tests.helpers.tuners import TARGET, alphas, oracle, write_search

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
    # Models that are loaded for their weights alone have no optimizer state.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]


def test_the_prior_of_a_search_is_its_newest_alphas(tmp_path):
    prior = alphas(5, shape=(5, 3))
    write_search(tmp_path, prior, num_nodes=2, concat=1, primitives=["none", "skip_connect", "scale"])
    found = load_prior(tmp_path)
    names = ("none", "skip_connect", "scale")
    assert found.first == derive_conv(*prior.values(), names, 2, (3,))
    assert found.space.primitives == names and np.array_equal(found.alphas["reduce"], prior["reduce"])
    genotypes.save(TARGET, tmp_path / "done" / "genotype.json")  # its checkpoints are gone
    assert load_prior(str(tmp_path / "done")).first == TARGET


@pytest.mark.parametrize("damage", [{"num_nodes": "4"}, {"num_nodes": 10**12}, {"primitives": 5}, {"concat": -1}])
def test_the_prior_of_a_damaged_search(tmp_path, damage):
    write_search(tmp_path, alphas(), **damage)
    with pytest.raises(UserError, match=f"config.json cannot be used: {next(iter(damage))} must be"):
        load_prior(tmp_path)


def test_the_prior_of_a_search_that_was_stopped_early(tmp_path, capsys):
    """It belongs to the epoch whose genotype is the result; see `test_monitor.TRACE` for the eigenvalues."""
    last, earlier = alphas(1), alphas(2)
    write_search(tmp_path, last, early_stop="eigenvalue", epochs=50)
    trace = (0.18, 0.15, 0.17, 0.15, 0.12, 0.25, 0.23, 0.36, 0.22, 0.39, 0.21, 0.43)
    records = [json.dumps({"epoch": 2 * i + 2, "eigenvalue": value}) + "\n" for i, value in enumerate(trace)]
    (tmp_path / "metrics.jsonl").write_text("".join(records[:10]))
    assert np.array_equal(load_prior(tmp_path).alphas["normal"], last["normal"])  # it goes on
    assert not capsys.readouterr().out

    (tmp_path / "metrics.jsonl").write_text("".join(records))
    genotypes.save(TARGET, tmp_path / "genotype.json")
    assert load_prior(tmp_path).first == TARGET  # no mixing weights were kept
    for cell, table in zip(("normal", "reduction"), earlier.values(), strict=True):
        file = tmp_path / "alphas" / cell / "epoch_010.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"mixing_weights": softmax(table).astype(np.float32).tolist()}))
    found = load_prior(tmp_path)
    assert found.first == derive_conv(*earlier.values())
    for cell in ("normal", "reduce"):
        np.testing.assert_allclose(softmax(found.alphas[cell]), softmax(earlier[cell]), rtol=1e-6)
    (line,) = capsys.readouterr().out.splitlines()
    assert "stopped early: the prior is the mixing weights after epoch 10" in line
    file.write_text("{}")
    with pytest.raises(UserError, match="reduction/epoch_010.json cannot be read"):
        load_prior(tmp_path)

    write_search(tmp_path, last, epochs=50)  # it was not asked to stop
    assert np.array_equal(load_prior(tmp_path).alphas["normal"], last["normal"])


def test_saved_alphas_and_saved_priors(tmp_path):
    prior = alphas(1)
    np.savez(tmp_path / "alphas.npz", **prior)
    found = load_prior(str(tmp_path / "alphas.npz"))
    assert found.digest() == load_prior(prior).digest()
    for source in (None, "DARTS_V1", prior):
        one = load_prior(source)
        one.save(tmp_path / "prior.npz")
        assert load_prior(tmp_path / "prior.npz").digest() == one.digest()


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"normal": np.zeros((14, 8))}, "other cells. Expected normal, reduce. Received: normal"),
        ({"normal": np.zeros((14, 8)), "reduce": np.zeros((9, 8))}, r"alphas_reduce: expected the shape \(14, 8\)"),
        ("no_such_thing", "neither a published genotype nor a file"),
        ("missing.npz", "There is no file missing.npz"),
        (7, "A prior is a work directory.*Received: int"),
    ],
)
def test_a_bad_prior_is_one_line(prior, message):
    with pytest.raises(UserError, match=message) as caught:
        oracle(prior)
    assert "\n" not in str(caught.value)


def test_damaged_files_of_a_prior(tmp_path):
    (tmp_path / "alphas.npz").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UserError, match="alphas.npz cannot be read"):
        oracle(tmp_path / "alphas.npz")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json cannot be used"):
        oracle(tmp_path)


def test_the_kind_of_cells_where_the_prior_does_not_say():
    assert oracle(kind="recurrent").prior.space.kind == "recurrent"
    assert oracle({"recurrent": np.zeros((36, 5))}, num_nodes=8).prior.space.kind == "recurrent"
    small = oracle(kind="recurrent", num_nodes=3, primitives=("none", "tanh", "relu")).prior.space
    assert small.num_nodes == 3 and [*small.operations] == ["tanh", "relu"]
    assert oracle("DARTS_V2", kind="recurrent").prior.first == genotypes.load("DARTS_V2", "recurrent")


class Sigmoids(Method):
    """A method whose strengths are no shares, and that selects the strongest operation of the first two edges."""

    def ranked(self, alphas):
        return {name: 1 / (1 + np.exp(-logits)) for name, logits in alphas.items()}

    def selection(self, usual):
        def select(strength, topology, primitives, cell):
            pairs = []
            for node, sources in zip(topology.nodes, topology.sources, strict=True):
                best = strength[topology.rows(node), 1:].argmax(1)
                pairs += [(primitives[1 + best[i]], sources[i]) for i in (0, 1)]
            return pairs

        return select


class Weighted(Method):
    """A method with a variable for each edge."""

    def ranked(self, alphas):
        raise AssertionError("what the search wrote is read instead")


def test_the_prior_is_read_by_the_searchs_method(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "sigmoids", Sigmoids)
    tables = alphas(7)
    write_search(tmp_path, tables, method="sigmoids")
    found = load_prior(tmp_path)
    expected = {cell: 1 / (1 + np.exp(-table)) for cell, table in tables.items()}
    for cell in ("normal", "reduce"):
        assert [source for _, source in getattr(found.first, cell)] == [0, 1] * 4
        np.testing.assert_allclose(softmax(found.alphas[cell]), expected[cell] / expected[cell].sum(1, keepdims=True))
    # An edge is as probable as its strength, which sigmoids do not share out among the operations.
    _, edges = refined(found, 1.0, [], 0.0)
    np.testing.assert_allclose(np.exp(edges["normal"]), expected["normal"][:, 1:].max(1), rtol=1e-6)
    found.save(tmp_path / "prior.npz")
    assert load_prior(tmp_path / "prior.npz").digest() == found.digest()


def test_the_prior_of_a_method_with_variables_of_its_own(tmp_path, monkeypatch):
    """A checkpoint does not name them: the strengths that the search wrote after its newest epoch are read."""
    monkeypatch.setitem(METHODS, "weighted", Weighted)
    tables = alphas(3) | {"weights": np.zeros(14)}
    write_search(tmp_path, tables, method="weighted")
    genotypes.save(TARGET, tmp_path / "genotype.json")
    assert load_prior(tmp_path).first == TARGET  # no epoch has ended
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    strengths = {cell: np.abs(table) for cell, table in alphas(4).items()}
    for name, table in zip(("normal", "reduction"), strengths.values(), strict=True):
        file = tmp_path / "alphas" / name / "epoch_002.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"mixing_weights": table.tolist()}))
    found = load_prior(tmp_path)
    topology, primitives = found.space.topology, found.space.primitives
    assert list(found.first.normal) == select(strengths["normal"], topology, primitives)
    np.testing.assert_allclose(np.exp(found.alphas["reduce"]), strengths["reduce"])


def test_the_prior_of_an_unknown_method(tmp_path):
    write_search(tmp_path, alphas(), method="of_tomorrow")
    with pytest.raises(UserError, match="config.json cannot be used: method must be one of darts.*of_tomorrow"):
        load_prior(tmp_path)
    write_search(tmp_path, alphas(), method="darts", a_setting_of_tomorrow=3)
    assert np.array_equal(load_prior(tmp_path).alphas["normal"], alphas()["normal"])
