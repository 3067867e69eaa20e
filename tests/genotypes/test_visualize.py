"""Drawings: the graph that is drawn, the files that are written, and the binary around them."""

import io
import os
import re
import shutil
import subprocess
import sys

import pytest

from darts_tf import genotypes as genotype
from darts_tf.bin import _main
from darts_tf.bin import visualize as binary
from darts_tf.genotypes import drawing as visualize
from darts_tf.system.errors import UserError

PURE = visualize._of_package()
MAGIC = {"svg": b"<svg", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF"}


def edges(graph):
    """`(tail, head, label or None)` of every edge in the source, in order."""
    found = []
    for line in graph.source.splitlines():
        match = re.fullmatch(r'\s*"?([^"]+?)"? -> "?([^"\[]+?)"?(?: \[(.*)\])?', line)
        if match:
            label = re.search(r'label="?\s*([\w.\-]+)', match[3] or "")
            found.append((match[1], match[2], label and label[1]))
    return found


@pytest.mark.parametrize("name", genotype.names("conv"))
@pytest.mark.parametrize("cell", ["normal", "reduce"])
def test_the_drawing_is_the_cell(name, cell):
    found = genotype.load(name, "conv")
    inputs = ["c_{k-2}", "c_{k-1}", *map(str, range(found.num_nodes))]
    expected = [(inputs[source], str(i // 2), op) for i, (op, source) in enumerate(getattr(found, cell))]
    expected += [(inputs[node], "c_{k}", None) for node in getattr(found, f"{cell}_concat")]
    assert edges(visualize.to_digraph(found, cell)) == expected


@pytest.mark.parametrize("name", genotype.names("recurrent"))
def test_the_drawing_is_the_recurrent_cell(name):
    found = genotype.load(name, "recurrent")
    expected = [("x_{t}", "0", None), ("h_{t-1}", "0", None)]
    expected += [(str(source), str(1 + i), op) for i, (op, source) in enumerate(found.recurrent)]
    expected += [(str(node), "h_{t}", None) for node in found.concat]
    assert edges(visualize.to_digraph(found, "recurrent")) == expected


def test_only_concatenated_nodes_reach_the_output():
    graph = visualize.to_digraph(genotype.load("NASNet"), "reduce")  # the original draws all five
    assert [tail for tail, head, _ in edges(graph) if head == "c_{k}"] == ["2", "3", "4"]


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_an_svg_shows_all_of_the_cell():
    """Its background, which spans the whole drawing, is as large as what is seen of it."""
    svg = visualize.render(visualize.to_digraph(genotype.load("DARTS_V2"), "normal").source, "svg").decode()
    seen = [float(number) for number in re.search(r'viewBox="([^"]+)"', svg)[1].split()]
    scale = float(re.search(r"scale\(([\d.]+)", svg)[1])
    corners = re.search(r'<polygon fill="white"[^>]*points="([^"]+)"', svg)[1].split()
    xs, ys = zip(*[map(float, corner.split(",")) for corner in corners], strict=True)
    assert [scale * (max(xs) - min(xs)), scale * (max(ys) - min(ys))] == pytest.approx(seen[2:], abs=1)


def test_no_such_cell():
    with pytest.raises(UserError, match="cell: a conv genotype has normal, reduce. Received: 'recurrent'"):
        visualize.to_digraph(genotype.load("DARTS_V2"), "recurrent")


@pytest.mark.parametrize("program", ["dot", "graphviz-pure"])
def test_both_programs_draw_both_kinds(program, tmp_path, monkeypatch):
    path = shutil.which("dot") if program == "dot" else PURE
    if not path and program == "dot":
        pytest.skip("Graphviz is not installed")
    monkeypatch.setattr(visualize, "_programs", lambda: [path])
    for kind, cells in (("conv", ["normal", "reduction"]), ("recurrent", ["recurrent"])):
        written = visualize.draw(genotype.load("DARTS_V2", kind), tmp_path / kind)
        assert written == [tmp_path / kind / f"{cell}.{form}" for cell in cells for form in ("gv", "svg", "png")]
        assert sorted(written) == sorted((tmp_path / kind).iterdir())  # nothing temporary stays
        for file in written:
            assert MAGIC.get(file.suffix[1:], b"digraph") in file.read_bytes()


def program(folder, script, name="dot"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


BROKEN = {
    "fails": "echo 'no layout plugin' >&2; exit 1",
    "draws nothing": "cat >/dev/null",
    "is another program of that name": "echo usage: dot FILE",
    "was killed": "kill -9 $$",
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_dot_that_does_not_work_is_followed_by_the_package(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    dot = program(tmp_path / "bin", script)
    assert visualize._programs()[0] == dot and PURE in visualize._programs()
    written = visualize.draw(genotype.load("ENAS"), tmp_path / "drawings")
    assert [path.name for path in written] == ["recurrent.gv", "recurrent.svg", "recurrent.png"]
    monkeypatch.setattr(visualize, "_programs", lambda: [dot])
    with pytest.warns(UserWarning, match="recurrent.svg, recurrent.png not drawn: .*dot made no svg"):
        assert visualize.draw(genotype.load("ENAS"), tmp_path / "drawings") == written[:1]
    assert [path.name for path in (tmp_path / "drawings").iterdir()] == ["recurrent.gv"]  # no older picture stays


def test_a_program_that_cannot_be_run_is_followed_by_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [str(tmp_path / "gone"), PURE])
    assert (tmp_path / "normal.svg") in visualize.draw(genotype.load("DARTS_V2"), tmp_path, ["svg"])


def test_a_dot_that_hangs_is_waited_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_SECONDS", 3)
    monkeypatch.setattr(visualize, "_hanging", set())
    hanging = program(tmp_path / "bin", "echo asked >>$0.log; exec sleep 60")
    monkeypatch.setattr(visualize, "_programs", lambda: [hanging, PURE])
    visualize.draw(genotype.load("DARTS_V2"), tmp_path)
    assert (tmp_path / "reduction.png").exists()
    assert (tmp_path / "bin/dot.log").read_text() == "asked\n"


def test_the_dot_of_the_system_is_preferred(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program(tmp_path, "cat >/dev/null; echo '<svg>mine</svg>'")
    assert visualize.render("digraph {}", "svg") == b"<svg>mine</svg>\n"


def test_the_package_draws_where_path_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    visualize.draw(genotype.load("DARTS_V2"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{cell}.{form}" for cell in ("normal", "reduction") for form in ("gv", "svg", "png")
    )


def test_what_the_package_cannot_draw_says_what_can(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [PURE])
    with pytest.warns(UserWarning, match="^recurrent.pdf not drawn: .*graphviz-pure made no pdf .*; install Graphviz"):
        written = visualize.draw(genotype.load("ENAS"), tmp_path, ["pdf", "png"])
    assert written == [tmp_path / "recurrent.gv", tmp_path / "recurrent.png"]


def test_without_a_program_one_warning_and_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [])
    with pytest.warns(UserWarning, match="normal.svg, reduction.svg not drawn: neither .*pip install") as caught:
        written = visualize.draw(genotype.load("DARTS_V2"), tmp_path, ["svg"])
    assert len(caught) == 1
    assert sorted(written) == sorted(tmp_path.iterdir()) == [tmp_path / "normal.gv", tmp_path / "reduction.gv"]


def test_the_program_beside_python_is_found(monkeypatch, tmp_path):
    (tmp_path / "graphviz-pure").write_text("#!/bin/sh\n")
    (tmp_path / "graphviz-pure").chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(visualize, "_of_package", lambda: None)
    assert visualize._programs() == [str(tmp_path / "graphviz-pure")]


def test_unknown_format(tmp_path):
    with pytest.raises(UserError, match="formats: expected some of svg, png, pdf. Received: 'gif'"):
        visualize.draw(genotype.load("DARTS_V2"), tmp_path / "new", ["svg", "gif"])
    assert not (tmp_path / "new").exists()


def run_binary(argv, capsys):
    try:
        status = binary.main(argv)
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.mark.parametrize("argv", [["DARTS_V2"], ["--genotype=DARTS_V2"], ["--genotype", "DARTS_V2", "--kind=conv"]])
def test_binary(argv, tmp_path, capsys):
    status, out, err = run_binary([*argv, f"--output_dir={tmp_path}", "--formats="], capsys)
    assert (status, err) == (0, "")
    assert out.splitlines() == [str(tmp_path / "normal.gv"), str(tmp_path / "reduction.gv")]


def test_binary_says_in_one_line_that_it_could_not_draw(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [])
    status, out, err = run_binary(["ENAS", f"--output_dir={tmp_path}"], capsys)
    assert (status, out) == (0, f"{tmp_path / 'recurrent.gv'}\n")
    assert err.startswith("darts-visualize: warning: recurrent.svg, recurrent.png not drawn") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        ([], 1, "no genotype given"),
        (["DARTS_V3"], 1, "neither a published genotype nor a file; did you mean 'DARTS_V"),
        (["ENAS", "--kind=conv"], 1, "expected a conv genotype. Received: a recurrent genotype from 'ENAS'"),
        (["Genotype(normal=[])"], 1, "the field 'normal_concat' is missing"),
        (["DARTS_V2", "--formats=gif"], 1, "Received: 'gif'"),
        (["DARTS_V2", "--formats=", "--output_dir=/dev/null/x"], 1, "Not a directory: /dev/null/x"),
        (["DARTS_V2", "DARTS_V1"], 2, "unexpected argument 'DARTS_V1'"),
        (["DARTS_V2", "--kind=cnn"], 2, "value should be one of <conv|recurrent|nasbench201>"),
        (["--genotyp=DARTS_V2"], 2, "Unknown command line flag 'genotyp'"),
        (["--genotype"], 2, "Missing value for flag --genotype"),
        (["--flagfile=/dev/null/x"], 2, "Unable to open flagfile"),
    ],
)
def test_a_users_mistake_is_one_line(argv, status, message, capsys):
    got, out, err = run_binary(argv, capsys)
    assert (got, out) == (status, "")
    assert err.startswith("darts-visualize: error: ") and message in err and err.count("\n") == 1


def test_run_passes_on_what_is_no_users_mistake():
    def defect(flag_values):
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        _main.Command("x", defect, lambda flag_values: None)([])


def test_run_interrupted_and_status(capsys):
    def interrupted(flag_values):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        _main.Command("x", interrupted, lambda flag_values: None)([])
    assert (stop.value.code, capsys.readouterr().err) == (130, "x: interrupted\n")
    assert _main.Command("x", lambda flag_values: 3, lambda flag_values: None)([]) == 3


def test_help_lists_the_binarys_own_flags_and_imports_no_tensorflow():
    code = (
        "import sys; from darts_tf.bin import visualize; status = visualize.main(['--help'])\n"
        "from darts_tf import genotype, visualize\n"
        "sys.exit(status or any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    flags = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  --")]
    assert flags == ["--genotype=...", "--kind=...", "--output_dir=...", "--formats=...", "--help,"]
    assert "(svg, png)" in done.stdout


def test_a_closed_pipe_is_silent():
    code = "from darts_tf.bin import _main; _main.Command('x', lambda f: print('y' * 10**6), lambda f: None)([])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert io.BytesIO(process.stderr.read()).getvalue() == b""
    process.stderr.close()
    assert process.wait() == 1
