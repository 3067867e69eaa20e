"""What bad input gets: one line, status 1 (2 for wrong flags), nothing half written."""

import ast
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from darts_tf.bin import benchmark, visualize
from darts_tf.bin import search as search_binary
from darts_tf.config import SearchConfig
from darts_tf.engine import memory, phases
from darts_tf.engine.loop import Loop
from darts_tf.spaces.conv.operations import FactorizedReduce
from darts_tf.system import runtime
from darts_tf.system.errors import UserError, some_of
from darts_tf.tasks.images import SearchImages
from tests.helpers.paths import ROOT


@pytest.fixture(autouse=True)
def configured(monkeypatch, capfd):
    """This process uses TensorFlow already: it has said what it has to say, and its threads can no longer be set."""
    tf.zeros(1)
    capfd.readouterr()
    monkeypatch.setattr(runtime, "configure", lambda *args: None)


@pytest.fixture
def refused(capfd, tmp_path):
    """Calls a binary that must refuse; returns its one line."""

    def call(argv, status=1, main=search_binary.main, name="darts-search"):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in argv])
        error = capfd.readouterr().err
        assert caught.value.code == status, error
        assert len(error.splitlines()) == 1 and error.startswith(f"{name}: error: "), error
        assert len(error) < 700 and "Traceback" not in error
        assert not (tmp_path / "run").exists()
        return error

    return call


def smoke(tmp_path, *flags):
    return ["--preset=smoke", f"--workdir={tmp_path / 'run'}", *flags]


@pytest.mark.parametrize(
    "flags, status, words",
    [
        (["--preset=cifar_search"], 1, ["cifar_search", "cifar10_search"]),
        (["--primitives=none,sep_conv_9x9"], 1, ["sep_conv_9x9", "sep_conv_3x3"]),
        (["--dataset=imagenet"], 2, ["imagenet", "cifar10"]),
        (["--chanels=8"], 2, ["chanels"]),
        (["stray"], 2, ["stray"]),
        (["--epochs=many"], 2, ["epochs", "many"]),
        (["--epochs=0"], 2, ["epochs", "at least 1", "Received: epochs=0"]),
        (["--order=third"], 2, ["order", "third", "first", "second"]),
        (["--learning_rate=nan"], 2, ["learning_rate", "finite"]),
        (["--num_cells=2"], 2, ["num_cells", "at least 3", "2"]),
        (["--epochs=100000000000"], 2, ["epochs", "at most 100000", "Received: epochs=100000000000"]),
        (["--init_channels=1000000000000"], 2, ["init_channels", "at most 10000"]),
        (["--num_nodes=1000000"], 2, ["num_nodes", "at most 100"]),
        (["--threads=10000000000"], 2, ["threads", "at most 4096"]),
        (["--concat=5"], 2, ["concat", "num_nodes", "5"]),
        (["--batch_size=64"], 1, ["batch", "32 examples", "64"]),
        (["--max_train_examples=1"], 1, ["part empty", "1 examples"]),
        (["--operations_file=none.py"], 1, ["none.py"]),
        (["--dataset=npz"], 2, ["data_dir"]),
        (["--dataset=npz", "--data_dir=none.npz"], 1, ["none.npz"]),
        (["--dataset=folder", "--data_dir=none"], 1, ["none"]),
        (["--dataset=cifar10", "--data_dir=none"], 1, ["none"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and value else None,
)
def test_flags(refused, tmp_path, flags, status, words):
    base = smoke(tmp_path)[1:] if flags[0].startswith("--preset") else smoke(tmp_path)
    message = refused([*base, *flags], status)
    for word in words:
        assert word in message


@pytest.mark.parametrize("where", ["supernet", "step", "data"])
def test_memory_that_runs_out(monkeypatch, capfd, tmp_path, where):
    def steps(*arguments):
        tf.zeros((2**30, 2**30))  # TensorFlow's own refusal

    def building(*arguments):
        return np.zeros(2**50)

    owner, name, function = {
        "supernet": (SearchImages, "supernet", building),
        "step": (phases, "steps_in_graph", steps),
        "data": (SearchImages, "load", building),
    }[where]
    monkeypatch.setattr(owner, name, function)
    with pytest.raises(SystemExit) as caught:
        search_binary.main(smoke(tmp_path, "--eigenvalue"))
    error = capfd.readouterr().err
    assert caught.value.code == 1 and len(error.splitlines()) == 1, error
    assert error.lower().startswith("darts-search: error: out of memory ("), error
    if where != "data":
        assert "Received: batch_size=8, accumulate=1" in error
        assert "a larger accumulate, recompute=True, eigenvalue=False or a smaller network may help" in error


def test_a_process_of_a_cluster_says_that_its_own_memory_has_run_out():
    class Peers:
        def lost(self, error, kept):
            return UserError("lost")

    loop = Loop.__new__(Loop)
    loop.peers, loop._kept = Peers(), lambda: ""
    exhausted = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    for error, expected in ((exhausted, "Out of memory"), (tf.errors.UnavailableError(None, None, ""), "lost")):
        with pytest.raises(UserError, match=expected), memory.told(SearchConfig()), loop._together():
            raise error


def test_odd_channels_where_halves_are_needed():
    """A supernet has none, since its reductions double the channels first; an operation by itself can."""
    with pytest.raises(UserError, match="even number of output channels. Received: 3"):
        FactorizedReduce(3)


@pytest.mark.parametrize("argv", [["search", "--steps=0"], ["gradients", "--radii=a"], ["search", "--num_cells=2"]])
def test_benchmark_flags(refused, argv):
    refused(argv, 2, benchmark.main, "darts-benchmark")


@pytest.mark.parametrize(
    "spec, words",
    [
        ("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 5)], normal_concat=[2], "
         "reduce=[('sep_conv_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])", ["5"]),
        ("DARTS_V9", ["DARTS_V9", "DARTS_V2"]),
        ("__import__('os').system('true')", ["Received"]),
    ],
)  # fmt: skip
def test_genotypes(refused, tmp_path, spec, words):
    flags = [spec, f"--output_dir={tmp_path / 'run'}"]
    message = refused(flags, 1, visualize.main, "darts-visualize")
    for word in words:
        assert word in message


def test_flags_of_the_drawing(refused, tmp_path):
    flags = ["DARTS_V2", f"--output_dir={tmp_path / 'run'}"]
    refused([*flags, "--kind=graph"], 2, visualize.main, "darts-visualize")
    assert "gif" in refused([*flags, "--formats=gif"], 1, visualize.main, "darts-visualize")


def folder(path, classes, count=4):
    for name in classes:
        (path / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (8, 8), (index, 0, 0)).save(path / name / f"{index}.png")
    return path


def test_folders(refused, tmp_path):
    def call(name):
        return refused(smoke(tmp_path, "--dataset=folder", f"--data_dir={tmp_path / name}", "--batch_size=2"))

    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in call("empty")
    (folder(tmp_path / "bare", ["cat", "dog"]) / "cow").mkdir()
    assert "cow" in call("bare")
    folder(tmp_path / "one", ["cat"])
    assert "one class" in call("one")
    bad = folder(tmp_path / "bad", ["cat", "dog"]) / "dog" / "2.png"
    bad.write_bytes(bad.read_bytes()[:40])
    assert str(bad) in call("bad")
    odd = folder(tmp_path / "odd", ["cat", "dog"]) / "dog" / "3.png"
    Image.new("RGB", (9, 8)).save(odd)
    assert str(odd) in call("odd")


IMAGES, LABELS = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 3


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"x": IMAGES[0, 0], "y": LABELS}, ["'x'", "rank"]),
        ({"x": IMAGES, "y": np.eye(3)[LABELS] / 2}, ["'y'", "one-hot"]),
        ({"x": IMAGES.astype(str), "y": LABELS}, ["'x'", "dtype"]),
        ({"x": IMAGES, "y": LABELS / 2}, ["'y'", "whole numbers"]),
        ({"x": IMAGES, "y": LABELS - 1}, ["'y'", "label -1"]),
        ({"x": IMAGES, "y": LABELS, "class_names": np.array(["a", "b"])}, ["'y'", "out of range"]),
        ({"x": IMAGES, "y": LABELS * 0}, ["one class"]),
        ({"x": IMAGES, "y": LABELS[1:]}, ["length"]),
        ({"x": IMAGES - 1.0, "y": LABELS}, ["'x'", "out of range"]),
        ({"x": np.full(IMAGES.shape, np.nan), "y": LABELS}, ["'x'", "out of range"]),
        ({"x": IMAGES, "y": LABELS.astype(object)}, ["objects"]),
        ({"x": IMAGES}, ["no array 'y'"]),
    ],
)
def test_arrays(refused, tmp_path, arrays, words):
    np.savez(tmp_path / "own.npz", **arrays)
    message = refused(smoke(tmp_path, "--dataset=npz", f"--data_dir={tmp_path / 'own.npz'}", "--batch_size=2"))
    for word in [*words, "own.npz"]:
        assert word in message


def test_work_directories(refused, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/below"):
        assert str(tmp_path / "file") in refused(["--preset=smoke", f"--workdir={tmp_path / place}"])
    assert "work directory" in refused(["--preset=smoke", "--workdir="])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    assert "thesis.tex" in refused(["--preset=smoke", f"--workdir={tmp_path / 'other'}"])
    assert os.listdir(tmp_path / "other") == ["thesis.tex"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_work_directory_without_permission(refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "denied" in refused(["--preset=smoke", f"--workdir={tmp_path / 'locked' / 'deep'}"])
    assert not os.listdir(tmp_path / "locked")


@pytest.mark.parametrize(
    "code, words",
    [
        ("raise ValueError('no\\nway')", ["ValueError", "no way"]),
        ("import nowhere", ["nowhere"]),
        ("from darts_tf.spaces.conv.operations import add_operation\nadd_operation('none', print)", ["'none'"]),
    ],
)
def test_a_file_of_operations_that_fails(refused, tmp_path, code, words):
    path = tmp_path / "own.py"
    path.write_text(code)
    message = refused(smoke(tmp_path, f"--operations_file={path}"))
    for word in [*words, "own.py"]:
        assert word in message


def binary(*argv, prelude=""):
    code = f"import sys\n{prelude}\nfrom darts_tf.bin import search\nsys.exit(search.main(sys.argv[1:]))\n"
    return subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_the_real_process_says_it_in_one_line(tmp_path):
    """Flags that only the supernet can refuse, a ruined loss and a full disk, with TensorFlow's own noise about."""
    for flags, prelude, words in (
        (["--operations_file=none.py"], "", ["none.py"]),
        (["--learning_rate=1e30"], "", ["not finite", "learning rate"]),
        ([], f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, {(150_000,) * 2})", ["MB needed"]),
    ):  # fmt: skip
        path = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        flags = [*smoke(tmp_path), f"--workdir={path}", "--order=first", *flags]
        done = binary(*flags, prelude=prelude)
        assert done.returncode == 1, done
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("darts-search: error: "), done.stderr
        for word in words:
            assert word in done.stderr
        assert not pathlib.Path(path, "genotype.json").exists()


# Messages of any number of things


def test_some_of_many():
    names = [f"name{index}" for index in range(1000)]
    assert some_of(names) == "name0, name1, name2 and 997 more"
    assert some_of(names[:3], 3, "; ") == "name0; name1; name2" and some_of([]) == ""
    assert some_of(iter(names), 1) == "name0 and 999 more"
    assert some_of(["a\nb", 7, "x" * 5000]) == f"a b, 7, {'x' * 48} ... {'x' * 47}"


FEW = {  # what else is joined in a message: as many as a cell has parts, an image sizes, a package kinds
    *("genotype.cells", "space.cells", "problems", "known", "ways", "names", "names(kind)", "KNOWN[config.space]"),
    *("loaded.signatures", "self.operations", "NAMES[role]"),
}


def test_messages_do_not_list_any_number_of_things():
    """A join inside a `raise` is of a constant, or of something that is known to be short; else it is `some_of`."""
    for path in [path for folder in ("darts_tf", "bin", "export") for path in sorted((ROOT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for part in ast.walk(node) if isinstance(node, ast.Raise) else ():
                if not (isinstance(part, ast.Call) and getattr(part.func, "attr", "") == "join"):
                    continue
                separator, joined = getattr(part.func.value, "value", ""), ast.unparse(part.args[0])
                short = separator in ("x", " ", " and no ", ":") or joined.isupper() or joined in FEW
                assert short, f"{path.name}: line {part.lineno}: {joined} may be long; see errors.some_of"
