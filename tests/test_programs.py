"""What `helpers.programs` starts is as `subprocess` would start it, but for the import of TensorFlow."""

import os
import signal
import subprocess
import sys

import pytest

from tests.helpers import programs

pytestmark = pytest.mark.slow
SAID = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ.get('WORD'), sys.path[0] in ('', os.getcwd()))\n"


def ended(code, folder, *arguments):
    """Both ways: the status, the output, and the last line of what is said of errors."""
    found = []
    for run in (subprocess.run, programs.run):
        command = [sys.executable, "-c", SAID + code, *arguments]
        variables = {**os.environ, "WORD": "größe"}
        done = run(command, capture_output=True, text=True, timeout=60, cwd=folder, env=variables)
        found.append((done.returncode, done.stdout, done.stderr.splitlines()[-1:]))
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import atexit; atexit.register(print, 'bye')",
        "sys.exit(3)",
        "sys.exit('no')",
        "raise ValueError('no')",
        "print('no', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)",
        "import signal; signal.raise_signal(signal.SIGINT)",
        "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD))",
        "import subprocess; print(subprocess.run(['true']).returncode)",
        "import tempfile; print(tempfile.gettempdir())",
    ],
)
def test_code_ends_as_by_itself(tmp_path, code):
    one, other = ended(code, tmp_path, "--flag", "a b")
    assert one == other and one[1].startswith("['--flag', 'a b']")


def test_a_module_is_the_main_one():
    command = [sys.executable, "-m", "darts_tf.bin.visualize", "--help"]
    variables = dict(os.environ)  # of which `import readline`, done by others, has more that only C sees
    one, other = (
        run(command, capture_output=True, text=True, timeout=60, env=variables)
        for run in (subprocess.run, programs.run)
    )
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)


def test_it_can_be_watched_and_hurt(tmp_path):
    code = "import time; print('here', flush=True); time.sleep(60)"
    with open(tmp_path / "log", "w") as log:
        process = programs.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout.readline() == "here\n" and process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(20) == ("", None) and process.returncode == -signal.SIGTERM == process.poll()
        process.kill()  # of no process, or of another one, if it were sent
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_it_has_tensorflow_and_has_not_used_it():
    code = """
import sys
assert "tensorflow" in sys.modules
import darts_tf
darts_tf.configure(threads=2)  # refused if TensorFlow had been used
import tensorflow as tf
print(float(tf.linalg.trace(tf.eye(3) @ tf.eye(3))), tf.config.threading.get_intra_op_parallelism_threads())
"""
    done = programs.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("3.0 2\n", "")
