"""Longer examples of the guides, with fewer and shorter steps than they show."""

import shlex

from darts_tf import genotypes
from tests.helpers.pages import PAGES, blocks, commands, smaller
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


def test_python_in_page_order(tmp_path):
    """With random pictures, since those of Fashion-MNIST would be downloaded."""
    tiny = "epochs=1, num_cells=3, init_channels=4, max_train_examples=64"
    changes = {
        "keras.datasets.fashion_mnist.load_data()": "[(r.integers(0, 256, (n, 28, 28)).astype('uint8'), "
        "__import__('numpy').arange(n) % 10) for r in [__import__('numpy').random.default_rng(0)] for n in (80, 40)]",
        '"digits_search"': '"smoke"',
        "epochs=4": "epochs=1, num_nodes=2",
        "genotype=found)": f"genotype=found, {tiny})",
        "data=(x, y))": f"data=(x, y), {tiny}, batch_size=16, num_nodes=2)",
        "epochs=20, init_channels=16": f"{tiny}, batch_size=16, auxiliary=False",
        "callbacks=[stop]": f"callbacks=[stop], {tiny}",
        "channels=16, cells=8": "channels=4, cells=3",
        "x.reshape(-1, 8, 8, 1) / 16, y, epochs=50": "x[:64].reshape(-1, 8, 8, 1) / 16, y[:64], epochs=1",
    }
    code = "".join(block.code for block in blocks(PAGES["docs/guides/python.md"], "python"))
    printed = python(smaller(code, changes), tmp_path)
    assert printed.count("Genotype(") == 1 and "('sep_conv_3x3', 0), ('sep_conv_3x3', 1)" in printed
    made = ("drawings/normal.svg", "mine.json", "exports/fashion/1/saved_model.pb", "runs/stopped/summary.json")
    assert all((tmp_path / name).is_file() for name in made)


def test_the_tuner(tmp_path):
    (block,) = blocks(PAGES["docs/guides/tuning.md"], "python")
    changes = {"max_trials=4": "max_trials=2", "epochs=4": "epochs=1", "channels=8": "channels=4"}
    changes |= {"cells=5": "cells=3", "1200": "96", "1500": "144"}
    code = smaller(block.code, changes)
    genotypes.save(genotypes.load("DARTS_V2"), tmp_path / "runs" / "digits_search" / "genotype.json")
    printed = python(code, tmp_path)
    assert printed.splitlines()[-1].startswith("Genotype(") and printed.count("Complete") == 2
    assert len([*(tmp_path / "runs" / "tuner").glob("trial_*/trial.json")]) == 2
