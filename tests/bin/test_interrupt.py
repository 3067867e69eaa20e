"""Ctrl-C in the first moments of a binary: one line, status 130, no traceback."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from darts_tf.bin import _interrupt
from darts_tf.system.runtime import module_command

SMOKE = ["--preset=smoke", "--order=first", "--workdir=run"]


def start(words, folder, **options):
    words = [sys.executable, "-X", "importtime", *words[1:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "bufsize": 0}
    return subprocess.Popen(words, cwd=folder, **pipes | options)


def after(process, imported):
    """Waits until a module has been imported; `-X importtime` says so on stderr."""
    for line in process.stderr:
        if re.search(rf"\| +{re.escape(imported)}$", line.rstrip()):
            return
    raise AssertionError(f"{imported} was never imported")


def interrupted(process, name):
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert process.returncode == _interrupt.STATUS, err[-2000:]
    assert lines == [f"{name}: interrupted"], lines


@pytest.mark.parametrize("imported", ["darts_tf.bin", "absl.flags", "numpy"])
def test_while_our_modules_are_imported(tmp_path, imported):
    process = start([*module_command("darts_tf.bin.search"), *SMOKE], tmp_path)
    after(process, imported)
    interrupted(process, "darts-search")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("pause", [0.1, 1.0, 2.0])
def test_while_tensorflow_is_imported(tmp_path, pause):
    """What is written to stderr is held back at the time."""
    process = start([*module_command("darts_tf.bin.search"), *SMOKE], tmp_path)
    assert "loading TensorFlow" in process.stdout.readline()
    time.sleep(pause)
    interrupted(process, "darts-search")
    assert not (tmp_path / "run").exists()


def test_the_console_script(tmp_path):
    script = os.path.join(os.path.dirname(sys.executable), "darts-evaluate")
    if not os.path.exists(script):
        pytest.skip("darts_tf is not installed")
    process = start([sys.executable, script, "--model=x"], tmp_path)
    after(process, "absl.flags")
    interrupted(process, "darts-evaluate")


def test_a_process_that_is_to_ignore_ctrl_c_does(tmp_path):
    """As in the background of a script, or under nohup."""
    words = [*module_command("darts_tf.bin.visualize"), "DARTS_V2", "--output_dir=out", "--formats="]
    process = start(words, tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    after(process, "darts_tf.bin")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0 and (tmp_path / "out" / "normal.gv").exists()


def test_other_programs_keep_their_handler(tmp_path):
    program = "import signal; from darts_tf.bin import search; print(signal.getsignal(2) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    "argv, orig, name",
    [
        (["/bin/darts-search", "-h"], [], "darts-search"),
        (["-m"], ["python", "-P", "-m", "darts_tf.bin.train", "--x"], "darts-train"),
        (["-m"], ["python", "-mdarts_tf.bin.train"], "darts-train"),
        (["-m"], ["python", "-m", "pytest"], None),
        (["-c"], ["python", "-c", "import darts_tf.bin.search"], None),
        ([""], ["python"], None),
        ([], [], None),
    ],
)
def test_which_program_this_is(monkeypatch, argv, orig, name):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig)
    assert _interrupt._program() == name
