"""README.md and BUILD.md: what they show runs, and what they list is what there is."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags

from darts_tf import genotypes
from darts_tf.bin import _flags, benchmark, evaluate, export, predict, protocol, report, search, train, tune, visualize
from darts_tf.config import presets
from tests.helpers.paths import ROOT

README, BUILD = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "BUILD.md"))


BINARIES = {
    "darts-benchmark": benchmark,
    "darts-evaluate": evaluate,
    "darts-export": export,
    "darts-predict": predict,
    "darts-protocol": protocol,
    "darts-report": report,
    "darts-search": search,
    "darts-train": train,
    "darts-tune": tune,
    "darts-visualize": visualize,
}


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def python(code, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:darts_tf", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_screen_is_two_commands():
    first, second = blocks(README, "bash")[:2]
    assert len(first.splitlines()) == len(second.splitlines()) == 1
    assert "darts-search" in first and "pytest" in second
    assert README[: README.index(second)].count("\n") < 25


def commands():
    text = "\n".join(blocks(README, "bash") + blocks(BUILD, "bash") + [p.command for p in presets.PRESETS.values()])
    yield from (match[0] for match in re.finditer(rf"({'|'.join(BINARIES)}) .*", text))


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_have_flags_that_exist(command):
    name, *arguments = shlex.split(command)
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    BINARIES[name].define_flags(values)
    values([name, *arguments])
    if name == "darts-tune":
        tune.config_from(values)
    elif hasattr(BINARIES[name], "CONFIGS"):
        _flags.config_from(values, BINARIES[name].DEFAULT_PRESET, BINARIES[name].CONFIGS)


def test_every_flag_that_is_named_exists():
    names = set()
    for binary in BINARIES.values():
        values = flags.FlagValues()
        binary.define_flags(values)
        names |= set(values) | {f"no{name}" for name in values if values[name].boolean}
    original = BUILD[BUILD.index("## Names, for those") : BUILD.index("## Performance")]
    others = {"help", "logdir", "format", "check"} | set(re.findall(r"--(\w+)", original))
    others |= {"rm", "dir", "tag_set", "signature_def", "port", "rest_api_port"}  # of others in "Serving"
    others |= {"path", "model_config_file", "model_config_file_poll_wait_seconds"}
    others |= {"kills", "kinds", "folder"}  # of tests/faults
    others |= {"yes", "no", "gpus", "shm", "network"}  # of apt, pip and docker
    for name in re.findall(r"(?<![\w-])--(\w+)", README + BUILD):
        assert name in names | others, name


def test_the_python_of_the_readme_runs(tmp_path):
    code, _ = blocks(README, "python")
    assert "Genotype(" in python(code, tmp_path)
    assert (tmp_path / "mine.json").exists() and (tmp_path / "drawings" / "normal.gv").exists()


def test_the_tuner_of_the_readme_runs(tmp_path):
    """As it stands there, but for its numbers: fewer and shorter trials of smaller networks."""
    _, code = blocks(README, "python")
    smaller = {"max_trials=4": "max_trials=2", "epochs=4": "epochs=1", "channels=8": "channels=4"}
    smaller |= {"cells=5": "cells=3", "1200": "96", "1500": "144"}
    for before, after in smaller.items():
        assert before in code
        code = code.replace(before, after)
    genotypes.save(genotypes.load("DARTS_V2"), tmp_path / "runs" / "digits_search" / "genotype.json")
    printed = python(code, tmp_path)
    assert printed.splitlines()[-1].startswith("Genotype(") and printed.count("Complete") == 2
    assert len([*(tmp_path / "runs" / "tuner").glob("trial_*/trial.json")]) == 2


def test_an_operation_of_your_own(tmp_path):
    """BUILD.md's file and BUILD.md's Python, as they stand there; the command line in the same process."""
    own, code = blocks(BUILD, "python")
    (tmp_path / "own.py").write_text(own)
    (command,) = (text for text in commands() if "own.py" in text)
    code += (
        "print(sorted({name for name, _ in (*genotype.normal, *genotype.reduce)}))\n"
        "from darts_tf.spaces.conv import operations\n"
        "for name in ('conv_3x3', 'scale'):\n"
        "    del operations.OPERATIONS[name]\n"
        "from darts_tf.bin import search\n"
        "from darts_tf.system import runtime\n"
        "runtime.configure = lambda *arguments: None  # TensorFlow is running already\n"
        f"search.main({[*shlex.split(command)[1:], '--order=first', '--epochs=1', '--workdir=runs/binary']})\n"
    )
    printed = python(code, tmp_path)
    assert printed.count("Genotype(") == 1 and (tmp_path / "runs" / "binary" / "genotype.json").exists()
    assert "conv_3x3" in printed or "scale" in printed


def test_every_deviation_is_in_the_list():
    start, end = BUILD.index("## Deviations"), BUILD.index("\nFurther:")
    listed = sorted(re.findall(r"^- `([\w/]+\.py)`:", BUILD[start:end], re.MULTILINE))
    found = []
    for folder in ("darts_tf", "export", "bin"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT / "darts_tf" if folder == "darts_tf" else ROOT)
            found += [name.as_posix()] * path.read_text(encoding="utf-8").count("Deviation:")
    assert listed == sorted(found)


def test_presets_are_those_of_the_lab_book():
    rows = re.search(r"<!-- presets -->\n(.*?)\n<!-- end of presets -->", BUILD, re.DOTALL)[1].splitlines()[2:]
    assert rows == [
        f"| `{p.name}` | `{p.command}` | {p.source} | {p.cost} | {p.expected} |" for p in presets.PRESETS.values()
    ]


def test_public_names():
    code = (
        "import sys, darts_tf\n"
        "print(*dir(darts_tf), darts_tf.presets.get('smoke').name)\n"
        "assert 'tensorflow' not in sys.modules\n"
        "for name in darts_tf.__all__: getattr(darts_tf, name)\n"
        "try: darts_tf.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    printed = python(code, ROOT)
    assert "SearchConfig" in printed and "has no attribute 'nothing'" in printed
