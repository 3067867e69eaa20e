"""The cells of NAS-Bench-201 as they are written and numbered, and the table of their accuracies."""

import hashlib
import json

import numpy as np
import pytest

from darts_tf import genotypes
from darts_tf.bin import visualize
from darts_tf.genotypes import NASBENCH201_PRIMITIVES, NasBench201Genotype, benchmark
from darts_tf.genotypes.canonical import canonical
from darts_tf.genotypes.nasbench201 import NUM_CELLS
from darts_tf.genotypes.selection import select
from darts_tf.system.errors import UserError
from tests.helpers.golden import read
from tests.helpers.paths import DATA, VARIANTS

BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
golden = pytest.mark.skipif(not VARIANTS.is_dir(), reason=f"golden numbers of the variants are not at {VARIANTS}")


def every():
    return [NasBench201Genotype.of_index(index) for index in range(NUM_CELLS)]


@golden
def test_all_strings_and_numbers():
    known, cells = read(VARIANTS, "nb201_strings.json"), every()
    joined = "\n".join(cell.string for cell in cells)
    assert hashlib.sha256(joined.encode()).hexdigest() == known["sha256_of_all_strings_joined_by_newline"]
    assert [cell.index for cell in cells] == list(range(NUM_CELLS))
    for sample in known["samples"]:
        cell = NasBench201Genotype(sample["string"])
        assert cell.index == sample["index"]
        assert [NASBENCH201_PRIMITIVES.index(name) for name, _ in cell.nasbench201] == sample["operations"]
    for named in known["named"].values():
        assert NasBench201Genotype(named.get("full_string", named["string"])).index == named["index"]


def test_every_form_is_read(tmp_path):
    cell = NasBench201Genotype(BEST)
    assert cell == NasBench201Genotype.of_index(6111) and cell.index == 6111 and cell.num_nodes == 3
    pairs = [list(pair) for pair in cell.nasbench201]
    forms = [BEST, f" {BEST}\n", cell.to_text(), f"epoch 3: {BEST}", f"Structure(4 nodes with {BEST})"]
    forms += [json.dumps(each) for each in ({"nasbench201": BEST}, {"arch_str": BEST}, {"nasbench201": pairs})]
    forms.append(json.dumps({"nasbench201": pairs[:1] + pairs[2:0:-1] + pairs[:2:-1], "nasbench201_concat": [3]}))
    for text in forms:
        assert genotypes.parse(text) == genotypes.load(text) == genotypes.load(text, "nasbench201") == cell, text
    path = genotypes.save(cell, tmp_path / "genotype.json")
    assert json.loads(path.read_text()) == {"nasbench201": BEST} == cell.to_json()
    assert genotypes.load(path) == genotypes.load(tmp_path) == genotypes.from_json({"nasbench201": BEST}) == cell
    with pytest.raises(UserError, match="expected a conv genotype. Received: a nasbench201 genotype"):
        genotypes.load(BEST, "conv")


def test_a_number_is_a_cell_where_one_of_the_benchmark_is_expected():
    assert genotypes.load("6111", "nasbench201") == NasBench201Genotype(BEST)
    with pytest.raises(UserError, match="expected the number of a NAS-Bench-201 cell, 0 to 15624. Received: 15625"):
        genotypes.load("15625", "nasbench201")
    with pytest.raises(UserError, match="'best' is neither a published genotype nor a file. Received: 'best'"):
        genotypes.load("best", "nasbench201")
    with pytest.raises(UserError, match="neither a published genotype nor a file. Known:"):
        genotypes.load("6111", "conv")


def test_it_is_drawn(tmp_path):
    assert visualize.main([BEST, f"--output_dir={tmp_path}", "--formats=svg", "--kind=nasbench201"]) == 0
    assert (tmp_path / "nasbench201.svg").read_text().count("nor_conv_3x3") == 4


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("|none~0|", "the text is not a cell of NAS-Bench-201; expected |op~0|+"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|", "node 3 has 3 edges"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "node 2 must read each of the inputs 0..1 once"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~3|", "must read one of the inputs 0..2"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|sep_conv_3x3~2|", "unknown operation 'sep_conv_3x3'; did you mean"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "an edge must be written operation~input"),
        ("none", "the text is not a cell"),
        (-1, "expected the number of a NAS-Bench-201 cell, 0 to 15624. Received: -1"),
        (NUM_CELLS, "Received: 15625"),
        (True, "expected the number of a NAS-Bench-201 cell, 0 to 15624. Received: True"),
        (1.0, "expected the number of"),
        (None, "expected the number of"),
    ],
)
def test_what_is_no_cell(cell, message):
    with pytest.raises(UserError) as error:
        benchmark.query(cell)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nasbench201": [["none", 0], ["none", 0], ["none", 1]]}, "num_nodes: a cell of NAS-Bench-201 has 3 nodes"),
        ({"nasbench201": BEST, "nasbench201_concat": [1, 3]}, "nasbench201_concat: expected [3], the last node"),
        ({"nasbench201": BEST, "output": []}, "unknown field 'output' in a nasbench201 genotype"),
        ({"nasbench201": 7}, "nasbench201: expected a list of"),
    ],
)
def test_fields_that_are_refused(fields, message):
    with pytest.raises(UserError) as error:
        genotypes.from_json(fields)
    assert message in str(error.value)
    with pytest.raises(UserError, match="concat must be 0 or 1"):
        NasBench201Genotype.output_nodes(3, 2)


def test_every_edge_keeps_its_strongest_operation_none_included():
    topology = NasBench201Genotype.topology(3)
    assert topology.edge_labels == ["0->1", "0->2", "1->2", "0->3", "1->3", "2->3"]
    for chosen in ((0, 0, 0, 0, 0, 0), (3, 0, 1, 4, 2, 0), (4, 3, 2, 1, 0, 3)):
        alphas = np.eye(5)[list(chosen)] * np.arange(1, 7)[:, None]
        found = genotypes.derive(NasBench201Genotype, {"nasbench201": alphas})
        assert [NASBENCH201_PRIMITIVES.index(name) for name, _ in found.nasbench201] == list(chosen)
    without = genotypes.derive(NasBench201Genotype, {"nasbench201": np.zeros((6, 2))}, ["skip_connect", "nor_conv_1x1"])
    assert without.operations == ["skip_connect"]
    image = genotypes.ConvGenotype.topology(1)
    assert select([[9, 1, 0], [9, 0, 1]], image, ["none", "a", "b"]) == [("a", 0), ("b", 1)]


def test_cells_that_are_the_same_network():
    one = NasBench201Genotype("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|skip_connect~1|nor_conv_1x1~2|")
    other = NasBench201Genotype("|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_1x1~1|skip_connect~2|")
    third = NasBench201Genotype("|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|nor_conv_1x1~2|")
    assert canonical(one) == canonical(other) != canonical(third)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the benchmark's table is not at {DATA}")
def test_the_table_is_the_benchmarks():
    table = read(DATA, "nasbench201.npz")
    names = {"cifar10": "c10", "cifar100": "c100", "imagenet16_120": "in16"}
    for dataset, short in names.items():
        for measure in ("test", "valid_12", "test_12"):
            theirs = table[f"{short}_{'test_200' if measure == 'test' else measure}"]
            np.testing.assert_allclose(benchmark.accuracies(dataset, measure), theirs, rtol=0, atol=1e-5)
    records = [benchmark.query(cell) for cell in every()]
    assert [record.parameters for record in records] == table["params"].tolist()
    assert [record.flops for record in records] == table["flops"].tolist()


def test_a_query():
    record = benchmark.query(BEST)
    assert record == benchmark.query(6111) == benchmark.query(NasBench201Genotype(BEST))
    assert (record.index, record.string, record.parameters, record.flops) == (6111, BEST, 1_073_466, 153_272_970)
    assert record.test["cifar10"] == pytest.approx(94.3733, abs=1e-4)
    assert record.test["cifar10"] == benchmark.accuracies().max()
    assert record.test.keys() == record.valid_12.keys() == record.test_12.keys() == set(benchmark.DATASETS)
    assert benchmark.accuracies().mean() == pytest.approx(87.0629, abs=1e-4)
    with pytest.raises(UserError, match="expected one of the data sets cifar10, cifar100, imagenet16_120"):
        benchmark.accuracies("mnist")
    with pytest.raises(ValueError, match="read-only"):
        benchmark.accuracies()[0] = 100
