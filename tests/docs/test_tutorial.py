"""The tutorial runs from beginning to end, and is kept with its outputs."""

import json

import pytest

from tests.helpers.pages import smaller
from tests.helpers.paths import ROOT
from tests.helpers.processes import python

TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def shown(text):
    """For each cell of code what kinds of output it has; text apart, whose pieces depend on timing."""
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return [
        [sorted(output["data"]) if "data" in output else output["output_type"] for output in cell["outputs"][-1:]]
        for cell in code
    ]


def test_outputs_are_kept():
    text = TUTORIAL.read_text(encoding="utf-8")
    assert ["text/html", "text/plain"] in sum(shown(text), [])
    assert not {"stderr", "error"} & {
        output.get("name", output["output_type"])
        for cell in json.loads(text)["cells"]
        for output in cell.get("outputs", [])
    }


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    """With fewer epochs and nodes than it has."""
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    fewer = smaller(TUTORIAL.read_text(encoding="utf-8"), {"epochs=4": "epochs=2, num_nodes=2", "epochs=5": "epochs=2"})
    (tmp_path / "fewer.ipynb").write_text(fewer, encoding="utf-8")
    python(
        "import nbclient, nbformat\n"
        "notebook = nbformat.read('fewer.ipynb', as_version=4)\n"
        "nbclient.NotebookClient(notebook, timeout=300).execute()\n"
        "nbformat.write(notebook, 'run.ipynb')\n",
        tmp_path,
    )
    found, kept = (path.read_text(encoding="utf-8") for path in (tmp_path / "run.ipynb", TUTORIAL))
    assert shown(found) == shown(kept)
