"""The architecture, held by the syntax trees of the sources: who imports whom, and what may appear where."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = {"conv": 2, "recurrent": 2, "data": 3, "training": 4, "export": 5, "bin": 6}
FOLDERS |= {"protocol": 5, "report": 5, "tuner": 5}
MODULES = {  # the others at the top: layer 0
    "optimizers": 1,
    "bilevel": 1,
    "accumulation": 1,
    "replicas": 1,
    "loss_scale": 1,
    "precision": 1,
    "recomputation": 1,
    "graph": 1,
    "keras_settings": 1,
    "keras_model": 1,
    "runtime": 1,
    "state_dicts": 1,
    "architect": 3,
    "benchmark": 5,
    "gpu_suite": 5,
    "gradient_comparison": 5,
    "interop": 5,
    "interop_recurrent": 5,
}
SHARED = {"errors", "files", "npz", "streams"}  # of layer 0, for everybody
ARROWS = {  # inside a layer, from -> to; a folder may import from itself
    "derivation": {"genotype_cells", "genotype_text"},
    "genotype_cells": {"genotype_text"},
    "genotype_foreign": {"genotype_text"},
    "genotype": {"genotype_cells", "genotype_foreign", "genotype_text", "published", "derivation"},
    "visualize": {"genotype"},
    "config": {"config_fields", "genotype"},
    "language_config": {"config", "config_fields", "genotype"},
    "presets": {"config", "language_config", "protocol_config"},
    "protocol_config": {"config_fields"},
    "protocol.protocol": {"report.page", "tuner.prior", "tuner.proposals", "tuner.space"},
    "tune_config": {"config", "config_fields", "language_config"},
    "workdir": {"config_fields"},
    "gradient_comparison": {"benchmark"},
    "accumulation": {"graph"},
    "bilevel": {"keras_settings", "optimizers"},
    "optimizers": {"keras_settings"},
    "precision": {"loss_scale"},
    "interop": {"interop_recurrent"},
}


def sources():
    for folder, prefix in ((ROOT / "darts_tf", []), (ROOT / "export", ["export"]), (ROOT / "bin", ["bin"])):
        for path in sorted(folder.rglob("*.py")):
            parts = prefix + list(path.relative_to(folder).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULE_PATHS = dict(sources())
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULE_PATHS.items()}


def layer(module):
    top = module.split(".")[0]
    return FOLDERS.get(top, MODULES.get(top, 0))


def imports(name):
    """Full names of what a module imports, also inside functions; `from darts_tf import x` counts as `darts_tf.x`."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: line {node.lineno}: relative import; write the full name"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (x if x.removeprefix("darts_tf.") in TREES else node.module for x in inner)


def own_imports(name):
    return {x.removeprefix("darts_tf.") for x in imports(name) if x.startswith("darts_tf.")} - {name}


@pytest.mark.parametrize("name", [name for name in TREES if name])
def test_imports_go_down_or_along_a_named_arrow(name):
    for other in own_imports(name):
        same_folder = name.split(".")[0] == other.split(".")[0] and name.split(".")[0] in FOLDERS
        allowed = layer(other) < layer(name) or same_folder or other in SHARED or other in ARROWS.get(name, ())
        assert allowed, f"{name} (layer {layer(name)}) imports {other} (layer {layer(other)}): see MODULES and ARROWS"


def test_architect_knows_no_search_space():
    assert (
        not {x.split(".")[0] for x in own_imports("architect")} & {"conv", "recurrent"}
        if "architect" in TREES
        else True
    )


@pytest.mark.parametrize("name", [name for name in TREES if layer(name) == 0])
def test_layer_zero_is_instant(name):
    heavy = {"tensorflow", "keras", "tensorflow_datasets", "keras_tuner", "torch"}
    found = {x.split(".")[0] for x in imports(name)} & heavy
    if name:  # the package itself may resolve its names lazily, inside a function
        assert not found, f"{name} is of layer 0 and imports {found}; if it belongs higher, add it to MODULES"


def test_no_cycles():
    done, path = set(), []

    def visit(name):
        assert name not in path, f"import cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            path.append(name)
            for other in own_imports(name) & TREES.keys():
                visit(other)
            done.add(path.pop())

    for name in filter(None, TREES):
        visit(name)


@pytest.mark.parametrize("name", TREES)
def test_what_may_appear_where(name):
    graph_allowed = name.split(".")[0] in ("training", "export") or name == "benchmark"
    for node in ast.walk(TREES[name]):
        where = f"{name}: line {getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"{where}: `assert` in library code; raise an error that says more"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{where}: {node.func.id}()"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not graph_allowed:
            assert (node.value.id, node.attr) != ("tf", "function"), (
                f"{where}: tf.function outside training, export and benchmark"
            )
