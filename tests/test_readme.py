"""README.md: its first screen and its Python. Its links and commands are tested with those of all pages, in `docs`."""

from tests.helpers.pages import PAGES, blocks, smaller
from tests.helpers.paths import ROOT
from tests.helpers.processes import python

README = PAGES["README.md"]


def test_the_first_screen_is_two_commands():
    first, second = (block.code for block in blocks(README, "bash")[:2])
    assert len(first.splitlines()) == len(second.splitlines()) == 1
    assert "darts-search" in first and "pytest" in second and len(README.splitlines()) <= 150
    assert README[: README.index(second)].count("\n") < 25


def test_the_python_of_the_readme_runs(tmp_path):
    """With fewer epochs and nodes than it shows; `test_search` has the search on its own."""
    code = blocks(README, "python")[0].code
    assert len(code.splitlines()) <= 9
    code = smaller(code, {"epochs=4": "epochs=1, num_nodes=2", "epochs=8": "epochs=1"})
    assert "Genotype(" in python(code, tmp_path)
    assert (tmp_path / "runs/found/genotype.json").exists() and (tmp_path / "runs/trained/best.keras").exists()


def test_public_names():
    code = (
        "import sys, darts_tf\n"
        "print(*dir(darts_tf), darts_tf.presets.get('smoke').name)\n"
        "assert 'tensorflow' not in sys.modules\n"
        "for name in darts_tf.__all__: getattr(darts_tf, name)\n"
        "try: darts_tf.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    printed = python(code, ROOT)
    assert "SearchConfig" in printed and "has no attribute 'nothing'" in printed
