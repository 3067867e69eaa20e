"""In a notebook: a bar updated in place; the interrupt stops a search, the same cell resumes it; errors are a line."""

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
found = darts_tf.search("smoke", {!r}, order="first", num_nodes=1, epochs={}, max_train_examples=400, steps_per_loop=1)
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


def test_a_notebook_shows_an_error_as_a_line_and_where_a_callback_failed(monkeypatch):
    shell = pytest.importorskip("IPython").core.interactiveshell.InteractiveShell.instance()
    shown = []
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, error, lines: shown.append("\n".join(lines)))
    shell.run_cell("import darts_tf; darts_tf.genotype.load('DARTS_V3')")
    shell.run_cell(
        "import keras\nfrom darts_tf.engine.callbacks import Callbacks\n"
        "def broken(epoch, logs): return logs['no']\n"
        "Callbacks([keras.callbacks.LambdaCallback(on_epoch_end=broken)], keras.Model(), 1).epoch({'epoch': 1})"
    )
    assert len(shown[0].splitlines()) == 1 and shown[0].startswith("UserError: 'DARTS_V3' is neither")
    lines = shown[1].splitlines()
    assert (
        "in broken" in shown[1] and "KeyError: 'no'" in lines and "LambdaCallback failed in on_epoch_end" in lines[-1]
    )


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
