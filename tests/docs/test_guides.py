"""Longer examples of the guides, with fewer and shorter steps than they show."""

import shlex

from darts_tf import genotypes
from tests.helpers.pages import PAGES, blocks, commands
from tests.helpers.processes import python


def test_an_operation_of_your_own(tmp_path):
    """The page's file and the page's Python, as they stand there; the command line in the same process."""
    page = PAGES["docs/guides/operations.md"]
    own, code = (block.code for block in blocks(page, "python"))
    (tmp_path / "own.py").write_text(own)
    (command,) = commands(page)
    code += (
        "print(sorted({name for name, _ in (*found.genotype.normal, *found.genotype.reduce)}))\n"
        "from darts_tf.spaces.conv import operations\n"
        "for name in ('conv_3x3', 'scale'):\n"
        "    del operations.OPERATIONS[name]\n"
        "from darts_tf.bin import search\n"
        "from darts_tf.system import runtime\n"
        "runtime.configure = lambda *arguments: None  # TensorFlow is running already\n"
        f"search.main({[*shlex.split(command)[1:], '--order=first', '--epochs=1', '--workdir=runs/binary']})\n"
    )
    printed = python(code, tmp_path)
    assert printed.count("Genotype(") == 1 and (tmp_path / "runs" / "binary" / "genotype.json").exists()
    assert "conv_3x3" in printed or "scale" in printed


def test_the_tuner(tmp_path):
    (block,) = blocks(PAGES["docs/guides/tuning.md"], "python")
    code = block.code
    smaller = {"max_trials=4": "max_trials=2", "epochs=4": "epochs=1", "channels=8": "channels=4"}
    smaller |= {"cells=5": "cells=3", "1200": "96", "1500": "144"}
    for before, after in smaller.items():
        assert before in code
        code = code.replace(before, after)
    genotypes.save(genotypes.load("DARTS_V2"), tmp_path / "runs" / "digits_search" / "genotype.json")
    printed = python(code, tmp_path)
    assert printed.splitlines()[-1].startswith("Genotype(") and printed.count("Complete") == 2
    assert len([*(tmp_path / "runs" / "tuner").glob("trial_*/trial.json")]) == 2
