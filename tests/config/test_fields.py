"""Whatever names a setting names one that there is: in code that reads settings, in lists of them, in messages."""

import ast
import dataclasses
import pathlib
import re

import pytest
from absl import flags

from darts_tf.bin import benchmark, evaluate, export, predict, protocol, report, search, train, tune, visualize
from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.config import language as language_config
from darts_tf.config import protocol as protocol_config
from darts_tf.config import tuning as tune_config
from darts_tf.config.fields import Config, named
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.report import runs, sections
from tests.helpers.paths import ROOT

SOURCES = [path for folder in ("darts_tf", "bin", "export", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
# Their configs are those of the original, and of TensorFlow Serving.
SOURCES = [path for path in SOURCES if "golden" not in path.name and path.name != "publish.py"]
BINARIES = (benchmark, evaluate, export, predict, protocol, report, search, train, tune, visualize)
assert language_config and protocol_config and tune_config  # with them every config there is has been imported


def kinds(config=Config):
    for each in config.__subclasses__():
        yield from (each, *kinds(each))


FIELDS = {field.name for config in kinds() for field in dataclasses.fields(config)}
KNOWN = FIELDS | {name for config in (Config, *kinds()) for name in vars(config)}
KNOWN |= {*dir(dict), *dir(pathlib.Path), *dir(type)}  # of settings as they were read, of config.json, of a class


def is_config(node):
    """Whether an expression is a config by its name, such as `self.config`; modules called so are not."""
    if isinstance(node, ast.Attribute):
        return node.attr == "config" and getattr(node.value, "id", "") not in ("tf", "keras")
    return isinstance(node, ast.Name) and node.id == "config"


def text(node):
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def reads(node):
    """The names that a node reads of a config."""
    if isinstance(node, ast.Subscript) and is_config(node.value):
        return text(node.slice)
    if isinstance(node, ast.Attribute) and is_config(node.value):
        return [node.attr]
    if not isinstance(node, ast.Call):
        return []
    if isinstance(node.func, ast.Attribute) and is_config(node.func.value):
        if node.func.attr == "replace":
            return [keyword.arg for keyword in node.keywords if keyword.arg]
        return text(node.args[0]) if node.func.attr in ("get", "pop") and node.args else []
    if getattr(node.func, "id", "") in ("getattr", "hasattr") and is_config(node.args[0]):
        return text(node.args[1])
    return []


def looped(node):
    """The names that a comprehension reads of a config one after the other, should they be written there."""
    if not isinstance(node, ast.ListComp | ast.DictComp | ast.GeneratorExp | ast.SetComp):
        return []
    reading = [n for n in ast.walk(node) if isinstance(n, ast.Call) and any(map(is_config, (n.func, *n.args)))]
    reading += [n for n in ast.walk(node) if isinstance(n, ast.Call) and is_config(getattr(n.func, "value", None))]
    lists = [part.iter for part in node.generators if isinstance(part.iter, ast.Tuple | ast.List)]
    return [name for each in lists if reading for item in each.elts for name in text(item)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_are_read_exist(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in (*reads(node), *looped(node)):
            assert name in KNOWN, f"{path.name}: line {node.lineno}: no config has the field {name!r}"


def test_what_is_walked():
    """The walk finds what it is for."""
    wrong = (
        'config.get("hidden_size"); config["hidden_size"]; getattr(run.config, "hidden_size", 0); config.hidden_size'
    )
    wrong += '; config.replace(hidden_size=3); {n: getattr(config, n) for n in ("hidden_size",)}'
    wrong += '; [found.config.get(key) for key in ("hidden_size", "seed")]'
    found = [name for node in ast.walk(ast.parse(wrong)) for name in (*reads(node), *looped(node))]
    assert found.count("hidden_size") == 7 and "hidden_size" not in KNOWN


def test_a_list_of_fields_is_checked_where_it_is_written():
    assert named(("seed", "num_units"), SearchConfig, LanguageTrainConfig) == ("seed", "num_units")
    with pytest.raises(AttributeError, match="'hidden_size' is not a field of SearchConfig, TrainConfig"):
        named(("seed", "hidden_size"), SearchConfig, TrainConfig)
    with pytest.raises(AttributeError, match="Did you mean num_units"):
        named(("num_unit",), LanguageTrainConfig)


def test_flags_in_messages_exist():
    known = {"help"}
    for binary in BINARIES:
        values = flags.FlagValues()
        binary.main.define_flags(values)
        for name in values:
            known |= {name, f"no{name}"}
    assert known >= FIELDS
    for path in SOURCES:
        if path.is_relative_to(ROOT / "tests") or path.name == "style.py":  # whose variables begin with -- as well
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for word in text(node):
                unknown = set(re.findall(r"(?<![\w-])--([a-z][a-z_0-9]*[a-z0-9])\b(?!-)", word)) - known
                assert not unknown, f"{path.name}: line {node.lineno}: no binary has the flag --{', --'.join(unknown)}"


@pytest.mark.parametrize("kind", ["language_search", "language_train"])
def test_the_page_of_a_language_model_shows_its_width(kind, tmp_path):
    """The report once asked for `hidden_size`, which no config has."""
    config = {"kind": kind, "num_units": 12345, "bptt": 678, "epochs": 3, "dataset": "english"}
    page = str(sections.run(runs.Run("mine", tmp_path, kind, config)))
    table = page[: page.index("all settings")]
    assert "12,345" in table and "678" in table
