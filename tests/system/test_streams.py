"""Standard streams that are closed, full, ASCII only, or objects of somebody else: no run dies of its messages."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

from darts_tf.bin import _main, report, search, visualize
from darts_tf.engine.console import Console
from darts_tf.system import streams
from darts_tf.system.runtime import module_command, quiet_stderr
from darts_tf.tasks.search import search as run_search
from darts_tf.tuner.peers import say
from tests.helpers.searches import SMOKE

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


class OnlyWrite:
    """As loggers put in the place of standard output: nothing but `write`."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Ascii(OnlyWrite):
    """Says nothing about what it takes."""

    encoding = None

    def write(self, text):
        self.text += text.encode("ascii").decode()


class Failing:
    """Raises what nobody expects, from everything."""

    def __getattr__(self, name):
        raise LookupError(name)

    def write(self, text):
        raise RuntimeError("no")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


BAD = {"None": lambda: None, "closed": closed, "failing": Failing, "binary": io.BytesIO, "no stream": object}


@pytest.mark.parametrize("make", [OnlyWrite, Ascii])
def test_lines_reach_whatever_can_write(make):
    out = make()
    streams.say("größe", out)
    Console(out).line("größe")
    assert out.text in ("größe\ngröße\n", "gr??e\ngr??e\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16", "cp437"])
def test_what_an_encoding_lacks_is_replaced(encoding):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    streams.say("a → \udcff", out)
    assert raw.getvalue().decode(encoding).splitlines() == [raw.getvalue().decode(encoding).strip()]
    assert raw.getvalue().decode(encoding).startswith("a ") and raw.getvalue().decode(encoding).endswith("?\n")


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_raised_for_messages(name, monkeypatch):
    streams.say("a", BAD[name]())
    console = Console(BAD[name]())
    console.line("a")
    with console.busy("b", lambda: 1.0):
        pass
    console.stop()
    assert not console.terminal
    monkeypatch.setattr(sys, "stderr", BAD[name]())
    say("a")
    _main.sayer("x")("a")
    with contextlib.redirect_stdout(streams.Errors()):
        print("a", flush=True)
    with quiet_stderr():
        pass
    monkeypatch.setattr(sys, "stdout", BAD[name]())
    streams.out("a")


@pytest.mark.parametrize("name", BAD)
def test_results_that_cannot_be_printed_are_a_failure_in_one_line(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", BAD[name]())
    with pytest.raises(SystemExit) as caught:
        visualize.main(["--help"])
    error = capsys.readouterr().err
    assert caught.value.code == 1 and len(error.splitlines()) == 1
    assert "cannot write the results" in error


@pytest.mark.parametrize("name", BAD)
def test_where_the_results_are_files_their_names_need_not_be_printed(name, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", BAD[name]())
    monkeypatch.setattr(sys, "stderr", BAD[name]())
    assert visualize.main(["DARTS_V2", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "normal.gv").exists()
    with pytest.raises(SystemExit) as caught:
        report.main([str(tmp_path / "none")])
    assert caught.value.code == 1


class Empty(OnlyWrite):
    """A list of lines, say, which is false as long as there is none."""

    def __len__(self):
        return 0


@pytest.mark.parametrize("out", [Empty(), Failing()], ids=lambda out: type(out).__name__)
def test_a_run_with_such_an_output(out, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    config = SMOKE.replace(order="first", epochs=1, eigenvalue=False, tensorboard=False)
    assert run_search(config, tmp_path / "run", out=out) is not None
    assert (tmp_path / "run" / "genotype.json").exists()
    if isinstance(out, Empty):
        assert "epoch 1 done" in out.text


# Real processes.


def call(redirections, *words, **options):
    """Runs a binary by the shell, with redirections; returns the finished process."""
    command = " ".join([*module_command("darts_tf.bin.visualize"), *words, redirections])
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, errors="replace", timeout=120, **options
    )


@pytest.mark.parametrize("where", [">&-", pytest.param(">/dev/full", marks=FULL)])
def test_a_process_says_that_its_results_are_lost(where):
    done = call(where, "--help")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("darts-visualize: error: cannot write the results")


@pytest.mark.parametrize("where", [">&-", "2>&-", ">&- 2>&- <&-", pytest.param(">/dev/full 2>/dev/full", marks=FULL)])
def test_a_process_writes_its_files_wherever_it_prints(where, tmp_path):
    done = call(where, "DARTS_V2", "--output_dir=.", "--formats=", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and sorted(each.name for each in tmp_path.iterdir()) == ["normal.gv", "reduction.gv"]


def test_a_reader_that_leaves_is_no_error(tmp_path):
    done = call("| true", "DARTS_V2", "--output_dir=.", "--formats=", cwd=tmp_path)
    assert done.stderr == "" and (tmp_path / "normal.gv").exists()
    assert call("| true", "--help").stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_process_whose_output_is_narrow(encoding, tmp_path):
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    done = call("", "DARTS_V2", "--output_dir=größe→", "--formats=", cwd=tmp_path, env=variables)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert (tmp_path / "größe→" / "normal.gv").exists()


SEARCH = """
import contextlib, os, sys
sys.stdout = sys.stderr = None
os.close(1), os.close(2)
from darts_tf.bin import search
status = search.main(["--preset=smoke", "--order=first", "--epochs=1", "--noeigenvalue", "--workdir=run"])
assert status == 0
"""


def test_a_search_without_standard_streams(tmp_path):
    """As under pythonw, or in a daemon: what C++ code writes must not end up in the run's files."""
    done = subprocess.run([sys.executable, "-c", SEARCH], cwd=tmp_path, timeout=300)
    assert done.returncode == 0
    for path in (tmp_path / "run").rglob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line)


def test_ctrl_c_is_heeded_where_nobody_can_be_told():
    program = """
import os, signal
from darts_tf.system.signals import stopping
came = []
os.close(2)
with stopping("stopping", came.append):
    os.kill(os.getpid(), signal.SIGINT)
assert came == [signal.SIGINT]
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_what_is_held_back_is_shown_after_an_error_only(capfd):
    for error in (None, KeyboardInterrupt, ValueError):
        with contextlib.suppress(ValueError, KeyboardInterrupt), quiet_stderr():
            os.write(2, b"noise")
            if error is not None:
                raise error
        assert capfd.readouterr().err == ("noise" if error is ValueError else "")


def test_holding_back_needs_no_disk(monkeypatch, capfd):
    def fail(*arguments, **settings):
        raise OSError(28, "No space left on device")

    for name in ("memfd_create", "none"):
        monkeypatch.setattr(os, name, fail, raising=False)
        with quiet_stderr():
            os.write(2, b"noise")
        monkeypatch.setattr("tempfile.TemporaryFile", fail)
    assert capfd.readouterr().err == ""


def test_help_is_printed_whole(capsys):
    assert search.main(["--help"]) == 0
    assert "--workdir" in capsys.readouterr().out
