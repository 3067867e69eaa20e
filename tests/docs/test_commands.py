"""What the pages show runs, or is at least understood, and what they list is what there is."""

import json
import re
import shlex

import pytest
from absl import flags

import darts_tf
from darts_tf.api import products
from darts_tf.bin import tune
from darts_tf.config import presets
from docs.hooks import notebook, reference
from tests.helpers.pages import BINARIES, PAGES, blocks, commands
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_code

PRESETS = "\n".join(f"```bash\n{preset.command}\n```" for preset in presets.PRESETS.values())
COMMANDS = sorted({command for text in (*PAGES.values(), PRESETS) for command in commands(text)})
DEVIATIONS = PAGES["docs/explanation/deviations.md"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_flags_that_exist(command):
    name, *arguments = shlex.split(command, comments=True)
    values = BINARIES[name].main.defined()
    values([name, *arguments])
    if name == "darts-tune":
        tune.config_from(values)
    elif hasattr(BINARIES[name], "SETTINGS"):
        BINARIES[name].SETTINGS.config(values)


def test_every_flag_that_is_named_exists():
    names = set()
    for binary in BINARIES.values():
        values = flags.FlagValues()
        binary.main.define_flags(values)
        names |= set(values) | {f"no{name}" for name in values if values[name].boolean}
    others = {"help", "logdir", "format", "check", "inplace"}
    others |= {"rm", "dir", "tag_set", "signature_def", "port", "rest_api_port"}  # of others in "Serving"
    others |= {"path", "model_config_file", "model_config_file_poll_wait_seconds"}
    others |= {"kills", "kinds", "folder"}  # of tests/faults
    others |= {"yes", "no", "gpus", "shm", "network"}  # of apt, pip and docker
    others |= set(re.findall(r"--(\w+)", PAGES["docs/explanation/quark0.md"]))
    for page, text in PAGES.items():
        text = re.sub(
            "<style>.*?</style>|var\\(.*?\\)", "", text, flags=re.DOTALL
        )  # properties of what a notebook shows
        for name in re.findall(r"(?<![\w-])--(\w+)", text):
            assert name in names | others, f"{page}: {name}"


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "<!-- run -->" in text])
def test_blocks_run(page, tmp_path):
    for block in blocks(PAGES[page]):
        if block.mark == "run":
            printed = run_code(block.language, block.code, tmp_path)
            for expected in re.findall(r"print\(.*  # (.+)", block.code):
                assert expected in printed


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if blocks(text, "python")])
def test_python_is_python(page):
    for block in blocks(PAGES[page], "python"):
        compile(block.code, page, "exec")


def test_every_deviation_is_in_the_list():
    listed = sorted(re.findall(r"^- \[`([\w/]+\.py)`\]", DEVIATIONS.split("## Further")[0], re.MULTILINE))
    found = []
    for folder in ("darts_tf", "export", "bin"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT / "darts_tf" if folder == "darts_tf" else ROOT)
            found += [name.as_posix()] * path.read_text(encoding="utf-8").count("Deviation:")
    assert listed == sorted(found)


def test_the_reference_has_every_flag_and_preset():
    """It is generated; each flag of each binary is in that binary's section once, each preset with its figures."""
    page = reference.filled(PAGES["docs/reference/command-line.md"])
    sections = dict(re.findall(r"^## (darts-\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(BINARIES)
    for name, binary in BINARIES.items():
        values = flags.FlagValues()
        binary.main.define_flags(values)
        for flag in values:
            if flag != values[flag].short_name:
                shown = re.search(rf"^\| `--(\[no\])?{flag}(=\.\.\.)?`", sections[name], re.MULTILINE)
                assert shown, f"{name} --{flag}"
    page = reference.filled(PAGES["docs/reference/presets.md"])
    for preset in presets.PRESETS.values():
        assert f"\n## {preset.name}\n" in page and f"\n{preset.command}\n" in page
        for text in (preset.source, preset.cost, preset.expected):
            assert text.replace("`", "") in re.sub(r"[\\`]", "", page)


def test_the_reference_has_every_public_name():
    page = PAGES["docs/reference/python.md"]
    for name in darts_tf.__all__:
        target = darts_tf._MODULES.get(name) or f"{darts_tf._NAMES[name]}.{name}"
        if hasattr(products, name):  # a package that is a function, too
            target = f"{products.__name__}.{name}"
        assert f"::: {target}" in page, name


def test_text_is_shown_as_it_is():
    """In Markdown: bars, stars and angles of the code's own words, and its flags."""
    assert reference._text("a|b * c_d `x_*y --z` <z>") == r"a\|b \* c\_d `x_*y --z` \<z\>"
    assert reference._text("only --a_b, --c=d.") == "only `--a_b`, `--c=d`."


def test_a_notebook_as_a_page():
    stream = {"output_type": "stream", "text": ["<1>\n", "\n", "2\n"]}
    picture = {"output_type": "display_data", "data": {"image/svg+xml": ["<svg>\n\n</svg>"], "text/plain": ["no"]}}
    text = {"cell_type": "markdown", "source": ["# A\n", "b"]}
    code = {"cell_type": "code", "source": ["f()"], "outputs": [stream, picture]}
    assert notebook.markdown(json.dumps({"cells": [text, code]})) == (
        '# A\nb\n\n````python\nf()\n````\n\n<pre class="output">&lt;1&gt;\n&#8203;\n2</pre>\n\n'
        '<div style="overflow-x: auto"><svg>\n&#8203;\n</svg></div>\n'
    )


def test_one_place_of_the_version():
    version = re.escape(darts_tf.__version__)
    assert re.search(rf"^## {version}\b", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert re.search(rf"^version: {version}$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
