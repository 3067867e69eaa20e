"""The architecture: the layers are the folders, as `pyproject.toml` orders them, and some things appear nowhere."""

import ast
import subprocess
import sys
import tomllib

import pytest

from tests.helpers.paths import ROOT, SOURCES

LIGHT = "genotypes, genotypes.drawing, config, config.presets, runs.workdir, report, bin.search, bin.train, bin.tune"


def test_every_import_goes_down():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_every_folder_has_a_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {name.strip().removeprefix("darts_tf.") for row in contracts[0]["layers"] for name in row.split("|")}
    assert layers == {"bin", "export"} | {path.parent.name for path in (ROOT / "darts_tf").glob("*/__init__.py")}


def test_the_root_is_the_public_face_only():
    assert [path.name for path in (ROOT / "darts_tf").glob("*.py")] == ["__init__.py"]


def test_what_needs_no_tensorflow_does_not_import_it():
    modules = ", ".join(f"darts_tf.{name.strip()}" for name in LIGHT.split(","))
    heavy = "{'tensorflow', 'keras', 'tensorflow_datasets', 'keras_tuner', 'torch'}"
    program = (
        f"import sys, {modules}; sys.exit(str({heavy} & sys.modules.keys()) if {heavy} & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_long_file_says_why():
    lines = {path.relative_to(ROOT): path.read_text(encoding="utf-8").splitlines() for path in SOURCES}
    long = {str(path): text[0] for path, text in lines.items() if len(text) > 300}
    assert not [path for path, first in long.items() if "in one file because" not in first]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_may_appear_where(path):
    graph_allowed = path.parent.name in ("bench", "bilevel", "cluster", "engine", "export", "tasks")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"line {getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: `assert` in library code; raise an error that says more"
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{where}: relative import; write the full name"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{where}: {node.func.id}()"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not graph_allowed:
            assert (node.value.id, node.attr) != ("tf", "function"), f"{where}: tf.function below what traces steps"
