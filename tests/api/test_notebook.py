"""In a notebook: the bar is updated in place, the interrupt stops a search cleanly, and the same cell resumes it."""

import os
import signal
import threading
import time

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELL = """
import darts_tf
found = darts_tf.search("smoke", {!r}, order="first", epochs={}, max_train_examples=400, steps_per_loop=1)
found
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook's own libraries
def test_a_search_in_a_notebook(tmp_path):
    run = tmp_path / "run"
    cell = nbformat.v4.new_code_cell(CELL.format(str(run), 3))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
    with client.setup_kernel():
        kernel = client.km.provisioner.process.pid
        interrupter = threading.Thread(target=_interrupt, args=(kernel, run / "metrics.jsonl"))
        interrupter.start()
        client.execute_cell(cell, 0)
        interrupter.join()
        assert "interrupted" in _shown(cell)["text/plain"] and "stopped; the same" in _printed(cell)
        client.execute_cell(cell, 0)
    shown, bars = _shown(cell), [o for o in cell.outputs if o.output_type == "display_data"]
    assert "3 epochs" in shown["text/plain"] and "interrupted" not in shown["text/plain"]
    assert "<svg" in shown["text/html"] and "resuming at step" in _printed(cell)
    assert len(bars) == 1 and "epoch 3/3" in bars[0].data["text/plain"] and "<progress" in bars[0].data["text/html"]


def _interrupt(kernel, metrics):
    """Interrupts a kernel as its front end does, once the first epoch is over."""
    end = time.monotonic() + 240
    while time.monotonic() < end and not metrics.exists():
        time.sleep(0.02)
    os.kill(kernel, signal.SIGINT)


def _shown(cell):
    return next(output.data for output in cell.outputs if output.output_type == "execute_result")


def _printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")
