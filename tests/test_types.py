"""The public surface is typed: every public function, method and property says what it takes and returns."""

import ast
import importlib
import pathlib
import re
import tomllib

import pytest

import darts_tf

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = [path for folder in ("darts_tf", "export", "bin") for path in sorted((ROOT / folder).rglob("*.py"))]
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
CALLED = ("__init__", "__call__")  # what a user of a public class calls without its name


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def public_functions(body, of_class=""):
    """Yields `(name, function, whether its first parameter is the object or the class)`."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name in CALLED):
            static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in node.decorator_list)
            yield f"{of_class}{node.name}", node, bool(of_class) and not static


def unannotated(function, bound):
    """Yields what lacks an annotation: names of parameters, `return`."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args][bound:]
    rest = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    yield from (each.arg for each in (*positional, *arguments.kwonlyargs, *rest) if each.annotation is None)
    if function.returns is None and function.name != "__init__":
        yield "return"


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_public_functions_are_annotated(path):
    functions = public_functions(ast.parse(path.read_text(encoding="utf-8")).body)
    missing = {name: lacking for name, node, bound in functions if (lacking := [*unannotated(node, bound)])}
    assert not missing


@pytest.mark.parametrize("path", SOURCES, ids=module)
def test_what_the_type_checker_is_not_to_see_has_a_code_and_a_reason(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        assert "# type: ignore" not in line or re.search(r"# type: ignore\[[a-z-]+\]  # \w", line), line


def test_the_type_checker_overlooks_nothing_but_libraries_without_types():
    assert all(each.keys() == {"module", "ignore_missing_imports"} for each in MYPY["overrides"])


def test_the_names_of_the_package_are_those_a_type_checker_sees():
    tree = ast.parse((ROOT / "darts_tf/__init__.py").read_text())
    imports = [each for node in tree.body if isinstance(node, ast.If) for each in node.body]
    seen = {name.asname or name.name for each in imports for name in each.names}
    assert seen == set(darts_tf.__all__) == {*darts_tf._MODULES, *darts_tf._NAMES}
    for each in imports:
        for name in each.names:
            there, public = importlib.import_module(each.module), getattr(darts_tf, name.asname or name.name)
            if name.name in ("export", "protocol", "report"):  # packages that are functions, too
                assert callable(public) and public.__name__ == f"darts_tf.{name.name}"
            else:
                assert public is getattr(there, name.name)
