"""The page about runs: well-formed, self-contained, of every kind of run, and one line for what is no run."""

import collections
import html.parser
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from darts_tf import genotypes as genotype
from darts_tf.bin import report as binary
from darts_tf.config import SearchConfig, TrainConfig, presets
from darts_tf.config.protocol import ComparisonConfig, ProtocolConfig
from darts_tf.genotypes import NasBench201Genotype
from darts_tf.genotypes import drawing as visualize
from darts_tf.report import charts, drawings, runs, sections, tables, write_report
from darts_tf.report.film import SCRIPT, film
from darts_tf.report.markup import Html, join, tag
from darts_tf.runs.workdir import write_json
from darts_tf.system.errors import UserError

EVIL = "<script>alert('1')</script>&\"x"
VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """Parses a page; fails where tags do not match, and keeps what tests ask for."""

    def __init__(self, path):
        super().__init__()
        self.source, self.open, self.tags, self.text = path.read_text(encoding="utf-8"), [], collections.Counter(), []
        self.attributes = collections.defaultdict(list)
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.tags[name] += 1
        for key, value in attributes:
            self.attributes[key].append(value)
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):  # in the SVGs of Graphviz
        self.tags[name] += 1
        for key, value in attributes:
            self.attributes[key].append(value)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.text.append(data)

    def __contains__(self, text):
        return text in " ".join(self.text)


def page_of(tmp_path, *workdirs):
    """Writes and parses the page; it must need nothing but itself."""
    page = Page(write_report(workdirs, tmp_path / "page.html"))
    assert page.tags["script"] <= 1 and not page.tags["link"] and not page.tags["iframe"]
    assert page.tags["script"] == ("film" in page.attributes["class"])
    assert page.source.count("<script>" + SCRIPT + "</script>") == page.tags["script"]  # nothing of a run is in it
    for key in ("src", "href", "xlink:href"):
        assert all(value.startswith("data:") for value in page.attributes[key])
    assert (
        "url(" not in page.source
        and "@import" not in page.source
        and "http" not in re.sub(r'="[^"]*"', "", page.source)
    )
    assert len(page.attributes["id"]) == len(set(page.attributes["id"]))
    assert not [key for key in page.attributes if key.startswith("on")]
    assert ("viewport" in page.attributes["name"]) and page.source.startswith("<!DOCTYPE html>")
    return page


def write_metrics(path, records):
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def search(path, epochs=4, name="DARTS_V2", cells=("normal", "reduction"), **config):
    """The work directory of a search that never ran; its genotype changes after half the epochs."""
    path.mkdir(parents=True)
    write_json(path / "config.json", SearchConfig(epochs=max(epochs, 1)).to_json() | config)
    first, last = genotype.load("DARTS_V1"), genotype.load(name)
    records = []
    for epoch in range(1, epochs + 1):
        now = first if epoch <= epochs // 2 else last
        record = {"epoch": epoch, "step": 10 * epoch, "train_loss": 2 / epoch, "valid_loss": 3 / epoch, "seconds": 61.5}
        record |= {"valid_accuracy": 1 - 0.5 / epoch, "skip_normal": 1, "skip_reduce": epoch % 3, "gradient_norm": None}
        record |= {"eigenvalue": 0.1 if epoch < 11 else 0.3} if epoch % 2 == 0 else {}
        records.append(record | {"genotype": now.to_json()})
        write_json(path / "genotypes" / f"epoch_{epoch:03d}.json", now.to_json())
        for cell in cells:
            weights = np.random.default_rng(epoch).dirichlet(np.ones(3), 2)
            write_json(
                path / "alphas" / cell / f"epoch_{epoch:03d}.json",
                {
                    "edges": ["0->2", "1->2"],
                    "primitives": ["none", "skip_connect", "a"],
                    "mixing_weights": weights.tolist(),
                }
                | ({"entropy": [1.0, 0.5], "gap": [0.1, 0.2]} if cell == "reduction" else {}),  # older files have none
            )
    write_metrics(path, records)
    if epochs:
        genotype.save(last, path / "genotype.json")
    return path


def training(path, metric="accuracy", kind="train", valid=0.9):
    """The work directory of a training that never ran."""
    path.mkdir(parents=True)
    write_json(path / "config.json", TrainConfig().to_json() | {"kind": kind})
    write_metrics(
        path, [{"epoch": n, f"valid_{metric}": valid - 0.1 / n, "train_loss": 1 / n, "seconds": 2} for n in (1, 2)]
    )
    genotype.save(genotype.load("DARTS_V2"), path / "genotype.json")
    write_json(path / "summary.json", {f"test_{metric}": valid - 0.01, "parameters": 50362, "best": {"epoch": 2}})
    return path


def tuning(path, ended=True):
    """The work directory of a tuning of two trials, one of which failed."""
    path.mkdir(parents=True)
    write_json(path / "config.json", TrainConfig(train_portion=0.9).to_json() | {"kind": "tune", "prior": "uniform"})
    training(path / "trials" / "000")
    (path / "trials" / "001").mkdir()
    if not ended:
        return path
    cell = genotype.load("DARTS_V2")
    good = {"trial": 1, "status": "completed", "valid_accuracy": 0.85, "parameters": 5, "seconds": 7.0}
    good |= {"genotype": cell.to_json(), "workdir": "trials/000"}
    bad = {"trial": 2, "status": "failed", "valid_accuracy": None, "parameters": None, "seconds": None, "message": EVIL}
    write_json(
        path / "summary.json", {"best": good, "trials": [good, bad], "stopped_because": "2 of 1 minutes are spent"}
    )
    genotype.save(cell, path / "genotype.json")
    return path


def protocol(path, metric="accuracy"):
    """A protocol's directory: two searches with retrainings, a random cell, evaluations, one of them missing."""
    path.mkdir(parents=True)
    searches = [
        {"seed": n, "workdir": search(path / f"s{n}").name, "retrain": training(path / f"r{n}", metric).name}
        | {"valid": 0.9 + n / 100, "seconds": 70.0, "retrain_seconds": 100.0, "genotype": {}}
        for n in (0, 1)
    ]
    chance = [{"seed": 0, "workdir": training(path / "x0", metric).name, "valid": 0.8, "seconds": 9.0, "genotype": {}}]
    runs_of = [
        {"seed": n, "workdir": training(path / f"e{n}", metric).name, "valid": 0.9, "test": 0.91} for n in (0, 1)
    ] + [{"seed": 2, "workdir": "nowhere", "valid": None, "test": None}]
    row = {"method": "search", "selected_valid": 0.91, "test_mean": 0.9123, "test_std": 0.0045, "n": 2}
    write_json(
        path / "protocol.json",
        {"metric": metric, "better": "higher", "searches": searches, "random": chance}
        | {"selected": {"search": 1, "random": 0}, "evaluations": {"search": runs_of, "random": []}}
        | {"table": [row | {"search_seconds": 140.0, "select_seconds": 7200.0}]},
    )
    return path


def test_a_search(tmp_path):
    page = page_of(tmp_path, search(tmp_path / "mine"))
    assert "mine: search" in page and "4 of 4" in page and "DARTS" not in page
    assert "Mixing weights over epochs" in page and page.tags["img"] == 4  # two edges of two cells
    assert "Left to right: epochs 1 to 4" in page and "epochs 1 to 2" in page and "epochs 3 to 4" in page
    figures = 2 + 2 + 4  # the result, that of the slider, and what there was on the way
    assert page.source.count('class="cell"') == figures
    for title in ("supernet loss", "supernet accuracy", "skip connections", "eigenvalue", "seconds"):
        assert f'aria-label="{title}"' in page.source
    assert 'aria-label="gradient norm"' not in page.source  # nothing but None
    assert "epoch 4: supernet validation accuracy 87.50 %" in page
    assert "sep_conv_3x3 of c_{k-2}" in page and genotype.load("DARTS_V2").to_text() in page
    assert "the genotype of epoch" not in page


@pytest.mark.parametrize("asked", ["none", "eigenvalue"])
def test_what_the_rule_says(tmp_path, asked):
    page = page_of(tmp_path, search(tmp_path / "long", 24, early_stop=asked))
    assert "stops after epoch 22 and returns the genotype of epoch 10" in page
    assert ("as requested" in page) == (asked == "eigenvalue") and page.source.count('class="mark"') == 2


def test_a_recurrent_search(tmp_path):
    path = search(tmp_path / "words", 0, kind="recurrent_search")
    cell = genotype.load("DARTS_V2", "recurrent")
    write_json(path / "genotypes" / "epoch_001.json", cell.to_json())
    write_metrics(path, [{"epoch": 1, "valid_perplexity": 412.5, "skip_recurrent": 2, "train_loss": 6.1}])
    page = page_of(tmp_path, path)
    assert "words: recurrent_search" in page and "412.5" in page and "Genotype so far" in page
    assert page.source.count('class="cell"') == 2


def test_runs_that_have_hardly_begun(tmp_path):
    assert "No epoch has finished yet" in page_of(tmp_path, search(tmp_path / "new", 0))
    page_of(tmp_path, search(tmp_path / "one", 1))
    assert "has not finished" in page_of(tmp_path, tuning(tmp_path / "going", ended=False))
    (tmp_path / "plan").mkdir()
    write_json(tmp_path / "plan" / "protocol.json", {"metric": "accuracy"})
    assert "no table yet" in page_of(tmp_path, tmp_path / "plan")


@pytest.mark.parametrize("begun", [0, 1, 12])
def test_a_protocol_that_was_killed_in_a_search(tmp_path, begun):
    path = tmp_path / "all"
    write_json(path / "config.json", ProtocolConfig().to_json())
    for n in range(begun):
        search(path / "searches" / f"seed_{n}", 1)
    if begun > 1:
        training(path / "retrain" / "search_0")
        training(path / "retrain" / "random_0")
        training(path / "evaluate" / "random" / "seed_0")
    (path / "searches" / "seed_99").mkdir(parents=True)  # killed before it wrote anything
    page = page_of(tmp_path, path)
    assert "all: protocol" in page and "no table yet; its runs so far are below." in page and "cifar10_search" in page
    names = [f"searches/seed_{n}" for n in range(begun)]
    names += ["retrain/search_0", "retrain/random_0", "evaluate/random/seed_0"] if begun > 1 else []
    assert re.findall("<summary>([a-z]+/[^:<]+)", page.source) == [*names[:begun], "searches/seed_99", *names[begun:]]
    assert re.findall('data-label="run"[^>]*>([^<]+)<', page.source) == names
    assert page.source.count("<svg") >= begun and "neither config.json nor protocol.json" in page


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_a_training(tmp_path, metric):
    page = page_of(tmp_path, training(tmp_path / "net", metric))
    assert ("89.00 %" if metric == "accuracy" else "0.89") in page and "50,362" in page
    assert f'aria-label="{metric}"' in page.source and page.source.count('class="cell"') == 2


def test_a_tuning(tmp_path):
    page = page_of(tmp_path, tuning(tmp_path / "tune"))
    assert "85.00 %" in page and EVIL in page and "No further trials: 2 of 1 minutes are spent" in page
    assert page.source.count('class="marked"') == 1 and "trial 1: validation accuracy" in page
    assert "is not a work directory" in page  # the failed trial's, in its fold


@pytest.mark.parametrize("metric", ["accuracy", "perplexity"])
def test_a_protocol(tmp_path, metric):
    page = page_of(tmp_path, protocol(tmp_path / "all", metric))
    assert ("91.23 % ± 0.45 %" if metric == "accuracy" else "0.9123 ± 0.0045") in page and "2 h 0 min" in page
    assert page.source.index("<table") < page.source.index("<svg")
    for name in ("s0", "r1", "x0", "nowhere"):
        assert f">{name}<" in page.source
    search, short = (page.source.index(f">{name}<") for name in ("s1", "r1"))  # a row: the run, then what selects it
    shown = ">91.00 %<" if metric == "accuracy" else ">0.91<"
    assert search < short < page.source.index(shown, search) < page.source.index("</tr>", search)
    assert (
        'data-label="short training run" class="short">r1<' in page.source
        and 'data-label="short training time" class="short">1 min 40 s<' in page.source
    )
    assert page.source.count('class="marked"') == 2 and "no such directory" in page


def test_a_protocol_in_itself(tmp_path):
    (tmp_path / "plan").mkdir()
    write_json(tmp_path / "plan" / "protocol.json", {"searches": [{"seed": 0, "workdir": "."}]})
    assert "is itself a protocol" in page_of(tmp_path, tmp_path / "plan")


def test_several_side_by_side(tmp_path):
    searches = [search(tmp_path / name, epochs) for name, epochs in (("new", 0), ("a/run", 4), ("b/run", 2))]
    page = page_of(tmp_path, *searches, training(tmp_path / "net"))
    assert "new · a/run · b/run · net" in page and page.tags["section"] == 4
    assert 'aria-label="supernet validation accuracy (search)"' in page.source
    assert "last supernet validation accuracy" in rows_of(page)[1] and "last validation accuracy" in rows_of(page)[3]
    whole = searches[1].resolve().as_posix()  # the same twice: no ending is distinct
    assert runs.names([searches[1], searches[1]]) == [whole] * 2


def rows_of(page):
    """The first table of a page: for each row its cells by their headings."""
    lines = page.source.split("</table>")[0].split("<tr>")[2:]
    return [dict(re.findall('<td data-label="([^"]+)"[^>]*>([^<]*)<', line)) for line in lines]


def test_tunings_and_protocols_side_by_side_with_what_they_found(tmp_path):
    made = [training(tmp_path / "net"), tuning(tmp_path / "tune"), tuning(tmp_path / "going", ended=False)]
    made += [protocol(tmp_path / "all"), search(tmp_path / "new", 0), tmp_path / "plan"]
    write_json(tmp_path / "plan" / "config.json", ProtocolConfig().to_json())
    page = page_of(tmp_path, *made)
    found, chosen = rows_of(page), "validation accuracy of the selected cell"
    nothing = dict.fromkeys(("epochs", "last validation accuracy", chosen, "test accuracy", "parameters", "time"), "–")
    assert [{k: v for k, v in row.items() if v != nothing.get(k)} for row in found] == [
        {"run": "net", "kind": "train", "epochs": "2", "last validation accuracy": "85.00 %"}
        | {"test accuracy": "89.00 %", "parameters": "50,362", "time": "4 s"},
        {"run": "tune", "kind": "tune", chosen: "85.00 %", "parameters": "5", "time": "7 s"},
        {"run": "going", "kind": "tune", "time": "4 s"},
        {"run": "all, search", "kind": "protocol", chosen: "91.00 %", "test accuracy": "91.23 % ± 0.45 %"}
        | {"time": "2 h 2 min"},
        {"run": "new", "kind": "search", "epochs": "0"},
        {"run": "plan", "kind": "protocol"},
    ]
    assert "not its full training runs" in page
    table = {"table": [{"method": "search", "test_mean": 0.9, "test_std": None}], "metric": "accuracy"}
    write_json(tmp_path / "plan" / "protocol.json", table)
    assert rows_of(page_of(tmp_path, made[0], tmp_path / "plan"))[1]["test accuracy"] == "90.00 %"


def test_everything_from_files_is_escaped(tmp_path):
    path = search(tmp_path / EVIL.replace("/", "_"), dataset=EVIL, kind=EVIL)
    for file in path.glob("alphas/*/*.json"):
        file.write_text(file.read_text().replace("skip_connect", "<b onclick=x>").replace("0->2", "<i>"))
    record = {"epoch": 1, "<u>": 1.5, "valid_accuracy": 0.5}
    write_metrics(path, [record])
    page = page_of(tmp_path, path, path)
    assert not page.tags["u"] and "<u>" in page and "<b onclick=x>" in page


def test_without_anything_that_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(visualize, "_programs", lambda: [])
    drawings._drawn.cache_clear()
    page = page_of(tmp_path, search(tmp_path / "mine"))
    assert 'class="drawing"' not in page.source and "sep_conv_3x3 of c_{k-2}" in page
    drawings._drawn.cache_clear()


def test_files_of_epochs_that_are_to_be_run_again(tmp_path):
    path = search(tmp_path / "mine")
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
    page = page_of(tmp_path, path)
    assert "2 of 4" in page and "epochs 1 to 2" in page and "epochs 3 to 4" not in page


def errors(tmp_path):
    yield tmp_path / "nowhere", "no such directory"
    (tmp_path / "other").mkdir()
    yield tmp_path / "other", "neither config.json nor protocol.json"
    for file, content in (
        ("config.json", "{"),
        ("summary.json", "[]"),
        ("genotype.json", "{}"),
        ("metrics.jsonl", "x\n\n\n"),
    ):
        path = search(tmp_path / file)
        (path / file).write_text(content)
        yield path, file
    path = search(tmp_path / "alphas")
    (path / "alphas" / "normal" / "epoch_002.json").write_text('{"mixing_weights": [[1]]}')
    yield path, "alphas"


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    for path, what in errors(tmp_path):
        with pytest.raises(SystemExit) as stopped:
            binary.main([str(path), f"--output={tmp_path / 'page.html'}"])
        line = capsys.readouterr().err
        assert stopped.value.code == 1 and line.count("\n") == 1 and line.startswith("darts-report: error: ")
        assert what in line and str(path) in line
    assert not (tmp_path / "page.html").exists()
    mine = search(tmp_path / "mine")
    with pytest.raises(SystemExit) as stopped:
        binary.main([str(mine), f"--output={mine}"])
    line = capsys.readouterr().err
    assert stopped.value.code == 1 and line.startswith("darts-report: error: The output must be a file. Expected ")
    assert line.endswith(f"Received: the directory {mine}\n") and line.count("\n") == 1
    with pytest.raises(UserError, match="No work directory"):
        write_report([], tmp_path / "page.html")


def test_the_true_accuracy_of_searches_in_nasbench201(tmp_path, capsys):
    cells = [NasBench201Genotype.of_index(index) for index in (1835, 0, 6111)]
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.mkdir()
        write_json(path / "config.json", presets.get("nasbench201_small").config.to_json())
        write_metrics(
            path, [{"epoch": n, "valid_loss": 1 / n, "genotype": c.to_json()} for n, c in enumerate(cells, 1)]
        )
        for epoch, cell in enumerate(cells, 1):
            write_json(path / "genotypes" / f"epoch_{epoch:03d}.json", cell.to_json())
    output = f"--output={tmp_path / 'page.html'}"
    assert binary.main([str(paths[0]), "--nasbench201=cifar10", output]) == 0
    page = Page(tmp_path / "page.html")
    assert 'aria-label="true test accuracy on cifar10, according to NAS-Bench-201"' in page.source
    assert page.source.count("94.37 %") == 2 and "87.06 %" in page  # the last genotype's, and the best of all
    assert "vertical" not in page
    genotype.save(cells[0], paths[0] / "genotype.json")  # as of a method that chooses its cell at the end
    assert binary.main([str(paths[0]), "--nasbench201=cifar10", output]) == 0
    page = Page(tmp_path / "page.html")
    assert page.source.count("94.37 %") == 1 and page.source.count("54.30 %") == 1 and "A vertical line" in page
    compared = tmp_path / "compared"
    for seed, path in enumerate(paths):
        shutil.copytree(path, compared / "searches" / "darts" / f"seed_{seed}")
    row = {"method": "darts", "test_mean": 0.7434, "test_std": 0.01, "curve": [0.5430, 0.8586, 0.9437]}
    write_json(compared / "comparison.json", {"table": [row], "random": []})
    write_json(compared / "config.json", ComparisonConfig().to_json())
    assert binary.main([str(compared), "--nasbench201=cifar10", output]) == 0
    page = Page(tmp_path / "page.html")
    for seed, true in enumerate(("54.30 %", "94.37 %")):
        assert f"darts/seed_{seed}: true test accuracy {true}" in page
    assert "darts <b>74.34 %" in page.source and page.source.count("A vertical line") == 2
    assert binary.main([*map(str, paths), "--nasbench201=imagenet16_120", output]) == 0
    assert Page(tmp_path / "page.html").source.count('aria-label="true test accuracy on imagenet16_120') == 3
    assert binary.main([str(paths[0]), output]) == 0
    assert "true test accuracy" not in Page(tmp_path / "page.html").source
    with pytest.raises(SystemExit) as stopped:
        binary.main([str(search(tmp_path / "mine")), "--nasbench201=cifar10", output])
    line = capsys.readouterr().err
    assert stopped.value.code == 1 and "Only searches in NAS-Bench-201 have a true accuracy" in line
    assert line.count("\n") == 1


def test_the_binary(tmp_path):
    path, output = search(tmp_path / "mine"), tmp_path / "deep" / "page.html"
    code = (
        "import sys; from darts_tf.bin import report; report.main(sys.argv[1:])\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), "--output", str(output)], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == (f"{output}\n", "")
    Page(output)


# The parts.


def test_markup_escapes_all_but_html():
    assert (
        tag("p", "<", Html("<br>"), None, 1, title='"', open=True, hidden=None)
        == '<p title="&quot;" open>&lt;<br>1</p>'
    )
    assert join("&", tag("img", alt="", class_="a", data_label=2)) == '&amp;<img alt="" class="a" data-label="2">'


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.12, 0.131), (-3, 800), (1e-9, 2e-9), (99.9, 100)])
def test_ticks_are_few_round_and_inside(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 6 and low - 1e-12 <= found[0] and found[-1] <= high + 1e-12
    assert np.allclose(np.diff(found), found[1] - found[0])
    assert charts.ticks(2, 2) == [2] and charts.ticks(0, 2, whole=True) == [0, 1, 2]


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [5e-324, 1e300], [-2.0, 3.0]])
def test_curves_stay_inside_their_chart(values):
    found = charts.chart("x", [("x", list(enumerate(values, 1)))])
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', found)[1].split()]
    assert len(points) == len(values)
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)


@pytest.mark.parametrize(
    "values",
    [(2.07938, 2.07944), (2.0794412, 2.0794415), (0.1, 0.9), (1.5e-7, 1.7e-7), (123456.5, 123457.5), (-2, 3e9)],
)
@pytest.mark.parametrize("kind", ["entropy", "accuracy"])
def test_labels_differ_and_have_room(values, kind):
    found = charts.chart("x", [("x", list(enumerate(values, 1)))], kind)
    labels = re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="end">([^<]+)<', found)
    assert len({text for _, text in labels}) == len(labels) >= 2
    assert all(6.5 * len(text) < float(right) < charts.WIDTH / 2 for right, text in labels)
    assert all(float(x) > float(labels[0][0]) for x in re.findall(r'points="([\d.]+),', found))


def test_heat_maps_are_pictures_of_the_weights():
    shares = np.array([[0.0, 0.5], [1.0, 0.25], [0.0, 1.0]])
    pixels = np.asarray(Image.open(io.BytesIO(charts._png(shares))))
    assert pixels.shape == (3, 2, 4)
    np.testing.assert_array_equal(pixels[..., 3], np.rint(20 + 235 * shares))


def test_values_in_words():
    shown = [tables.show("valid_accuracy", 0.98765), tables.show("perplexity", 61.234), tables.show("seconds", 7265)]
    assert shown == ["98.77 %", "61.23", "2 h 1 min"]
    assert [tables.show("n", value) for value in (None, 12345, float("nan"), "text", 0.5)] == [
        "–",
        "12,345",
        "–",
        "text",
        "0.5",
    ]
    assert [tables.show("x", value, 0.002) for value in (2.076, 2.078)] == ["2.076", "2.078"]
    assert [tables.show("accuracy", value, 0.005) for value in (0.99, 0.995)] == ["99.0 %", "99.5 %"]
    assert [tables.show("x", value, step) for value, step in ((3e5, 1e5), (2e-7, 1e-7), (0, 50))] == [
        "3e+05",
        "2e-07",
        "0",
    ]
    assert [tables.show("x", value, 5e-7) for value in (2.079441, 2.0794415)] == ["2.079441", "2.0794415"]
    assert [tables.show("seconds", value) for value in (3.25, 125.0)] == ["3.25 s", "2 min 5 s"]


def test_keys_go_into_charts():
    keys = [
        "gradient_norm",
        "valid_loss",
        "train_loss",
        "valid_top5_accuracy",
        "valid_accuracy",
        "gap_normal",
        "gap_reduce",
    ]
    assert sections.groups(keys) == {
        "accuracy": ["valid_accuracy"],
        "loss": ["valid_loss", "train_loss"],
        "gap": ["gap_normal", "gap_reduce"],
        "gradient_norm": ["gradient_norm"],
        "top5_accuracy": ["valid_top5_accuracy"],
    }


def test_cells_by_the_epochs_in_which_they_stayed():
    one, two = genotype.load("DARTS_V1"), genotype.load("DARTS_V2")
    mixed = genotype.from_json({**one.to_json(), "reduce": two.to_json()["reduce"]})
    found = drawings.timeline([(1, one), (2, mixed), (3, two)])
    assert [(cell, epochs) for cell, epochs, _ in found] == [
        ("normal", (1, 2)),
        ("normal", (3, 3)),
        ("reduce", (1, 1)),
        ("reduce", (2, 3)),
    ]
    assert drawings.every_cell([]) is None


def test_the_slider_has_every_epoch_and_without_a_script_the_last_cells_are_shown(tmp_path):
    one, two = genotype.load("DARTS_V1"), genotype.load("DARTS_V2")
    mixed = genotype.from_json({**one.to_json(), "reduce": two.to_json()["reduce"]})
    shown = film([(1, one), (2, mixed), (5, two)], {1: "valid accuracy 10.00 %", 5: EVIL})
    (tmp_path / "film.html").write_text(shown)
    page = Page(tmp_path / "film.html")
    (epochs,) = page.attributes["data-epochs"]
    assert json.loads(epochs) == [[1, "epoch 1: valid accuracy 10.00 %"], [2, "epoch 2"], [5, f"epoch 5: {EVIL}"]]
    assert page.attributes["value"] == page.attributes["max"] == ["2"]
    spans = [*zip(page.attributes["data-first"], page.attributes["data-last"], strict=True)]
    assert spans == [("1", "2"), ("5", "5"), ("1", "1"), ("2", "5")]  # of the normal cell, of the reduction cell
    assert '<div class="bar" hidden>' in shown  # there is nothing that would move it
    stage = shown[shown.index('class="stage') : shown.index("<details")]
    for cell, epochs in (("normal", (5, 5)), ("reduce", (2, 5))):
        assert drawings.stretch_figure((cell, epochs, two)) in stage
    assert stage.count("<figure") == 2
    assert film([(1, one)], {}) == drawings.every_cell([(1, one)]) and film([], {}) is None


def test_the_page_of_a_protocol_that_has_evaluated_nothing(tmp_path):
    (tmp_path / "protocol.json").write_text('{"metric": "accuracy", "evaluations": {"search": null}}')
    assert "The protocol has not finished" in sections.run(runs.read(tmp_path, "mine"))
