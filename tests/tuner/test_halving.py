"""The rules of halving against the papers' tables and hand-made scores."""

import itertools

import pytest

from darts_tf.config.tuning import IN_FULL, rung_epochs
from darts_tf.tuner import halving
from darts_tf.tuner.halving import WAIT, Job, next_job


def test_hyperbands_table_for_81_epochs_and_a_factor_of_3():
    """Table 1 of arXiv:1603.06560: pairs of n_i and r_i."""
    epochs = rung_epochs(81, 3, 5)
    found = [[*zip(sizes, epochs[first:], strict=True)] for first, sizes in halving.brackets(3, 5)]
    assert found == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(27, 3), (9, 9), (3, 27), (1, 81)],
        [(9, 9), (3, 27), (1, 81)],
        [(6, 27), (2, 81)],
        [(5, 81)],
    ]


@pytest.mark.parametrize(("epochs", "factor", "rungs"), [(12, 2, 3), (10, 3, 3), (7, 2, 2), (4, 4, 2), (5, 2, 1)])
def test_epochs_of_rungs_rise_to_all(epochs, factor, rungs):
    found = rung_epochs(epochs, factor, rungs)
    assert len(found) == rungs and found[-1] == epochs and 1 <= found[0]
    assert all(later >= factor * earlier for earlier, later in itertools.pairwise(found))


def played(algorithm, trials, factor, rungs, score):
    """The jobs that one worker does, in order; `score(trial, rung)`."""
    scores, jobs = [], []
    while (job := next_job(algorithm, trials, factor, rungs, scores)) is not None:
        jobs.append(job)
        if job.trial == len(scores):
            scores.append([])
        scores[job.trial].append(score(*job))
    return jobs


def test_halving_keeps_the_better_half():
    worth = [3, 9, 1, 7, 5, 8, 2, 6]
    jobs = played("halving", 8, 2, 3, lambda trial, rung: worth[trial] + 10 * rung)
    assert jobs[:8] == [Job(trial, 0) for trial in range(8)]
    assert jobs[8:] == [Job(1, 1), Job(5, 1), Job(3, 1), Job(7, 1), Job(1, 2), Job(5, 2)]


def test_a_late_bloomer_is_compared_within_its_rung():
    scores = [[5, 1], [4, 2], [3], [2]]  # the second is ahead after the second rung
    assert next_job("halving", 4, 2, 3, scores) == Job(1, 2)


def test_equal_scores_promote_the_earlier_and_failures_never():
    assert next_job("halving", 4, 2, 2, [[1], [1], [1], [1]]) == Job(0, 1)
    assert next_job("halving", 4, 2, 2, [[None], [None], [None], [0]]) == Job(3, 1)
    assert next_job("halving", 4, 2, 2, [[None], [None], [None], [0, None]]) is None
    assert next_job("halving", 2, 2, 2, [[None], [None]]) is None


def test_halving_waits_for_a_rung_to_be_complete():
    assert next_job("halving", 4, 2, 2, [[], [1], [1]], running={0}) == Job(3, 0)
    assert next_job("halving", 4, 2, 2, [[], [1], [1], [1]], running={0}) == WAIT
    assert next_job("halving", 4, 2, 2, [[4], [1], [2], [1]], running={0}) == Job(2, 1)
    assert next_job("halving", 4, 2, 2, [[4], [1], [2, 3], [1]], running={0}) == WAIT


@pytest.mark.parametrize("algorithm", IN_FULL)
def test_in_full_is_one_rung(algorithm):
    assert played(algorithm, 3, 2, 4, lambda *job: 0) == [Job(trial, 0) for trial in range(3)]


def test_hyperband_does_its_brackets_in_turn():
    worth = [3, 9, 1, 7, 5, 8, 2, 6, 4]
    jobs = played("hyperband", 9, 2, 3, lambda trial, rung: worth[trial])
    first = [Job(0, 0), Job(1, 0), Job(2, 0), Job(3, 0), Job(1, 1), Job(3, 1), Job(1, 2)]
    second = [Job(4, 1), Job(5, 1), Job(5, 2)]
    assert jobs == [*first, *second, Job(6, 2), Job(7, 2), Job(8, 2)]
    again = played("hyperband", 12, 2, 3, lambda trial, rung: -trial)  # three trials of a second pass
    assert again[len(jobs) :] == [Job(9, 0), Job(10, 0), Job(11, 0), Job(9, 1), Job(9, 2)]


def test_hyperband_begins_the_next_bracket_while_others_train():
    scores = [[1], [1], [1], []]
    assert next_job("hyperband", 9, 2, 3, scores, running={3}) == Job(4, 1)
    scores += [[1], [1], [1], [1], [1]]
    assert next_job("hyperband", 9, 2, 3, scores, running={3}) == Job(4, 2)
    assert next_job("hyperband", 9, 2, 3, [*scores[:4], [1, 1], *scores[5:]], running={3}) == WAIT


def test_asha_promotes_at_once_the_best_of_each_factor():
    """`get_job` of arXiv:1810.05934, Algorithm 2, with eta = 3: the top floor(|rung| / 3), the highest rung first."""
    job = lambda scores, running=(): next_job("asha", 20, 3, 3, scores, running)  # noqa: E731
    assert job([]) == Job(0, 0)
    assert job([[1], [2]]) == Job(2, 0)  # floor(2 / 3) = 0
    assert job([[1], [2], [0]]) == Job(1, 1)
    assert job([[1], [2], [0]], {1}) == Job(3, 0)  # promoted already
    assert job([[1], [2, 7], [0], [1], [1]]) == Job(5, 0)  # the top one of five has been promoted
    assert job([[1], [2, 7], [0], [3], [1]]) == Job(3, 1)  # and is another by now
    assert job([[1], [2, 7], [0], [1], [1], [1]]) == Job(0, 1)  # top two of six: 1 and the earliest of the rest
    high = [[9, 1], [8, 5], [7, 4], *[[0]] * 6]
    assert job(high) == Job(1, 2)  # a higher rung comes before a lower one
    assert job([*high, [6], [6], [6]], {1}) == Job(9, 1)
    assert job([[None], [None], [None]]) == Job(3, 0)  # nothing to promote


def test_asha_ends_with_its_trials():
    jobs = played("asha", 9, 3, 3, lambda trial, rung: trial)
    assert sorted(job.rung for job in jobs).count(0) == 9 and Job(8, 1) in jobs
    assert next_job("asha", 2, 2, 2, [[1], []], running={1}) == WAIT
    promoted = [job for job in played("asha", 9, 3, 3, lambda trial, rung: -trial) if job.rung]
    assert promoted == [Job(0, 1), Job(1, 1), Job(2, 1), Job(0, 2)]  # the ideal order, as halving would


def test_shares_of_random_cells_are_spread_evenly():
    kinds = lambda share: [halving.from_prior(trial, share) for trial in range(10)]  # noqa: E731
    assert all(kinds(0)) and not any(kinds(1)) and kinds(0.5) == [True, False] * 5
    assert [sum(kinds(share)) for share in (0.1, 0.3, 0.7)] == [9, 7, 3]
