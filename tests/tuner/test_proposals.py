"""What the oracle proposes: probable cells first, none twice, better ones after good scores."""

import keras_tuner
import numpy as np
import pytest

from darts_tf.genotypes.canonical import canonical
from darts_tf.tuner import DartsOracle, genotype_from
from tests.helpers.derivation import derive_conv
from tests.helpers.tuners import TARGET, Scored, alphas, likeness, oracle, proposals, tuner

pytestmark = [
    # keras-tuner 1.4.8 asks threads for their names as Python 3.9 did.
    pytest.mark.filterwarnings("ignore:.*currentThread.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*getName.*:DeprecationWarning"),
    # Models that are loaded for their weights alone have no optimizer state.
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]


def test_the_first_proposal_is_the_most_probable_genotype():
    prior = alphas(3)
    derived = derive_conv(*prior.values())
    found = genotype_from(oracle(prior, temperature=9.0).populate_space("0")["values"])
    assert canonical(found) == canonical(derived)


def test_a_low_temperature_keeps_close_and_a_high_one_goes_far(tmp_path):
    mean = {}
    for temperature in (0.5, 50.0):
        made = tuner(tmp_path / str(temperature), TARGET, 30, temperature=temperature, refine=0)
        made.search()
        mean[temperature] = np.mean([likeness(g) for g in proposals(made.oracle)[1:]])
    assert mean[0.5] > 0.7 and mean[50.0] < 0.4


def test_a_low_temperature_finds_others_too(tmp_path):
    made = tuner(tmp_path, TARGET, 4, seed=np.int64(3), temperature=1e-5)
    made.search()
    assert len({canonical(each) for each in proposals(made.oracle)}) == 4 and made.oracle.stopped_because is None


def test_no_architecture_twice(tmp_path):
    made = tuner(tmp_path, None, 100, num_nodes=2, primitives=["skip_connect", "max_pool_3x3"])
    made.search()
    forms = [canonical(g) for g in proposals(made.oracle)]
    assert len(forms) == len(set(forms)) == 100


def test_a_space_that_is_used_up_stops(tmp_path):
    made = tuner(tmp_path, None, 100, num_nodes=1, primitives=["skip_connect", "max_pool_3x3"])
    made.search()
    assert len(proposals(made.oracle)) == 16  # two edges in each of two cells, two operations
    assert "every architecture" in made.oracle.stopped_because


def test_zero_is_a_seed(tmp_path):
    runs = []
    for index, seed in enumerate((0, 0, 1)):
        made = tuner(tmp_path / str(index), None, 4, seed)
        made.search()
        runs.append(proposals(made.oracle))
    assert runs[0] == runs[1] != runs[2]
    assert oracle(seed=0).seed == 0


def test_scores_raise_the_mean(tmp_path):
    gains = []
    for seed in range(3):
        means = {}
        for refine in (0, 0.3):
            made = tuner(tmp_path / f"{seed}_{refine}", None, 60, seed, refine=refine)
            made.search()
            means[refine] = np.mean([likeness(g) for g in proposals(made.oracle)[-20:]])
        gains.append(means[0.3] - means[0])
    assert np.mean(gains) > 0.05


def test_a_score_to_be_small_is_made_small(tmp_path):
    class Unlike(Scored):
        score = staticmethod(lambda genotype: 1 - likeness(genotype))

    made = Unlike(
        oracle=DartsOracle(None, keras_tuner.Objective("score", "min"), 60, 0),
        directory=str(tmp_path),
        project_name="project",
    )
    made.oracle.verbose = 0
    made.search()
    likenesses = [likeness(g) for g in proposals(made.oracle)]
    assert np.mean(likenesses[-20:]) > np.mean(likenesses[:20])


def test_hyperparameters_of_your_own_ride_along(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Float("rate", 0.001, 0.1, default=0.025)
    hp.Choice("width", [4, 8, 16])
    made = tuner(tmp_path, TARGET, 8, hyperparameters=hp)
    made.search()
    values = [made.oracle.trials[name].hyperparameters.values for name in made.oracle.start_order]
    assert (values[0]["rate"], values[0]["width"]) == (0.025, 4)
    assert len({v["rate"] for v in values}) == 8 and len({v["width"] for v in values}) > 1
    assert len(hp.space) == 2  # yours is not written to
