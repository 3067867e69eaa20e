"""A search with each method that was killed in its second epoch and resumed is one that was not, bit for bit."""

import shutil

import pytest

from tests.helpers.cases import TOGETHER
from tests.helpers.runs import newest, same_run
from tests.helpers.searches import run

SMALL = {"num_nodes": 1, "primitives": ("none", "skip_connect", "dil_conv_3x3"), "order": "first"}
SMALL |= {"eigenvalue": False, "tensorboard": False, "arch_learning_rate": 0.03}
ELSEWHERE = ("random_nas", "p_darts")  # `test_judgements` and `test_p_darts` have what these do after it, and darts_pt


@pytest.mark.slow
@pytest.mark.parametrize("method", [method for method in TOGETHER if method not in ELSEWHERE])
def test_a_killed_search_resumes(tmp_path, method):
    settings = {**SMALL, "method": method.removesuffix(",darts_pt")}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    found, _ = run(whole, **settings)
    shutil.copytree(whole, killed)
    (killed / "genotype.json").unlink()
    (killed / "checkpoints" / "step_00000008.npz").unlink()
    assert newest(killed).step == 4
    again, printed = run(killed, **settings)
    assert again == found and "resuming at step 4 of 8" in printed
    same_run(whole, killed)
