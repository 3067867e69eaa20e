"""Genotypes: the golden cells and derivations, round trips of both written forms, and what is refused and how."""

import dataclasses
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from darts_tf import genotypes as genotype
from darts_tf.genotypes import ConvGenotype, RecurrentGenotype
from darts_tf.genotypes import text as genotype_text
from darts_tf.system.errors import UserError
from darts_tf.system.files import write_atomically
from tests.helpers.derivation import derive_conv, derive_recurrent
from tests.helpers.paths import GOLDEN

FILES = {"conv": "cnn", "recurrent": "rnn"}
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def golden(name):
    path = GOLDEN / name
    if not path.exists():
        pytest.skip(f"no golden numbers at {path}; DARTS_TF_GOLDEN names their folder")
    return json.loads(path.read_text()) if path.suffix == ".json" else dict(np.load(path))


def refused(call, *args, **kwargs):
    """The message of the UserError that the call must raise; one line that says what came."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and 0 < len(message) < 700
    return message


def cell(draw, inputs, edges, nodes):
    name = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}", fullmatch=True)
    pairs = [(draw(name), draw(st.integers(0, inputs + i // edges - 1))) for i in range(nodes * edges)]
    concat = draw(st.lists(st.integers(inputs, inputs + nodes - 1), min_size=1, unique=True))
    return pairs, concat


@st.composite
def genotypes(draw):
    if draw(st.booleans()):
        return RecurrentGenotype(*cell(draw, 1, 1, draw(st.integers(1, 12))))
    return ConvGenotype(*cell(draw, 2, 2, draw(st.integers(1, 6))), *cell(draw, 2, 2, draw(st.integers(1, 6))))


# Golden numbers and published cells


@pytest.mark.parametrize("kind", FILES)
def test_published_cells_and_primitives_are_the_originals(kind):
    data = golden(f"genotypes_{FILES[kind]}.json")
    shared = set(data["genotypes"]) & set(genotype.names(kind))
    assert shared, "no name in common"
    for name, fields in data["genotypes"].items():
        read = genotype.from_json(fields)
        assert read.kind == kind and read.to_json() == fields
        if name in shared:
            assert genotype.load(name, kind) == read
    known = genotype.CONV_PRIMITIVES if kind == "conv" else genotype.RECURRENT_PRIMITIVES
    assert list(known) == data["primitives"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", FILES)
def test_derivation_agrees_with_the_original(kind, dtype):
    data, alphas = golden(f"genotype_{FILES[kind]}.json"), golden(f"genotype_{FILES[kind]}_alphas.npz")
    differing = 0
    for index, case in enumerate(data["cases"]):
        expected = case["genotype"]
        if dtype == "float64":
            differing += "genotype_if_softmax_in_float64" in case
            expected = case.get("genotype_if_softmax_in_float64", expected)
        read = genotype.from_json(expected)
        options = {"primitives": data["primitives"], "num_nodes": read.num_nodes}
        if kind == "conv":
            arrays = [alphas["alphas_normal"][index], alphas["alphas_reduce"][index]]
            options["concat"], derive = read.normal_concat, derive_conv
        else:
            arrays = [alphas["alphas"][index]]
            options["concat"], derive = read.concat, derive_recurrent
        found = derive(*[x.astype(dtype) for x in arrays], **options)  # the type of the alphas decides
        assert found == read, f"case {case['id']}, {case['category']}"
    if dtype == "float64":
        assert differing == sum(not case["same_in_float64"] for case in data["cases"])


@pytest.mark.parametrize("kind", FILES)
def test_every_published_name_is_a_genotype_of_known_operations(kind):
    known = {
        "conv": (*genotype.CONV_PRIMITIVES, "sep_conv_7x7", "conv_7x1_1x7"),
        "recurrent": genotype.RECURRENT_PRIMITIVES,
    }
    for name in genotype.names(kind):
        found = genotype.load(name, kind)
        found.check_operations(known[kind])
        assert found.kind == kind and set(found.operations) <= set(known[kind])


def test_one_name_two_kinds():
    assert genotype.load("DARTS_V2") == genotype.load("DARTS_V2", "conv") != genotype.load("DARTS_V2", "recurrent")
    assert genotype.load("ENAS").num_nodes == 11 and genotype.load("NASNet").num_nodes == 5
    assert set(genotype.names()) == set(genotype.names("conv")) | set(genotype.names("recurrent"))


# Derivation, by hand


def rows(*best, primitives=3):
    """Alphas whose row `e` has the value `best[e][1]` in the column `best[e][0]` and 0 elsewhere."""
    alphas = np.zeros((len(best), primitives), np.float32)
    for edge, (column, value) in enumerate(best):
        alphas[edge, column] = value
    return alphas


def test_the_two_strongest_edges_strongest_first_and_none_never():
    alphas = rows((1, 1), (2, 2), (2, 1), (0, 9), (1, 3))  # the second edge into node 1 is mostly `none`
    found = derive_conv(alphas, alphas, ["none", "a", "b"], num_nodes=2)
    assert found.normal == (("b", 1), ("a", 0), ("a", 2), ("b", 0)) == found.reduce
    assert found.normal_concat == (2, 3)


def test_ties_go_to_the_lower_index():
    alphas = np.zeros((9, 4), np.float32)
    found = derive_conv(alphas, alphas, ["none", "a", "b", "c"], num_nodes=3, concat=[4])
    assert found.normal == (("a", 0), ("a", 1)) * 3 and found.reduce_concat == (4,)


def test_derivation_without_none():
    alphas = rows((0, 1), (2, 2))
    assert derive_conv(alphas, alphas, ["a", "b", "c"], num_nodes=1).normal == (("c", 1), ("a", 0))
    assert derive_recurrent(rows((1, 1), (0, 2), (2, 1)), ["a", "b", "c"], 2).recurrent == (("b", 0), ("a", 0))


@pytest.mark.parametrize(
    ("alphas", "options", "message"),
    [
        (np.zeros((4, 3)), {}, r"alphas: expected the shape \(3, 3\) \(edges, primitives\). Received: \(4, 3\)"),
        (np.zeros(3), {}, r"Received: \(3,\)"),
        (np.full((3, 3), np.nan), {}, r"not finite at \(0, 0\); the search has diverged. Received: nan"),
        (np.full((3, 3), 1e300, np.longdouble), {}, "not finite"),
        (np.full((3, 3), "x"), {}, "expected real numbers"),
        (np.full((3, 3), 1j), {}, "expected real numbers"),
        ([[1], [1, 2]], {}, "expected real numbers"),
        (np.zeros((3, 3)), {"primitives": ["none", "none", "a"]}, "different names"),
        (np.zeros((3, 1)), {"primitives": ["none"]}, "at least one other than 'none'"),
        (np.zeros((3, 3)), {"num_nodes": True}, "num_nodes: expected an integer in 1..100. Received: True"),
        (np.zeros((3, 3)), {"num_nodes": 0}, "Received: 0"),
        (np.zeros((3, 3)), {"concat": [0]}, "concat: expected different integers from 1..2"),
    ],
)
def test_alphas_that_are_refused(alphas, options, message):
    options = {"primitives": ["none", "a", "b"], "num_nodes": 2, **options}
    with pytest.raises(UserError, match=message):
        derive_recurrent(alphas, **options)


def test_extreme_alphas_give_no_warning():
    alphas = np.array([[3e38, -3e38, 0], [0, 1, 2], [-3e38, 0, 3e38]], np.float32)
    assert derive_recurrent(alphas, ["none", "a", "b"], 2).recurrent == (("a", 0), ("b", 1))


# Written forms


@QUICK
@example(RecurrentGenotype([("a" + "-" * 63, 0)], [1]))  # looks like a chain of signs
@given(genotypes())
def test_round_trips(found):
    assert genotype.parse(found.to_text()) == found
    assert genotype.parse(json.dumps(found.to_json())) == found
    assert type(found).from_json(found.to_json()) == found == genotype.load(found.to_text())
    assert hash(genotype.parse(found.to_text())) == hash(found)


def test_the_text_form_is_the_papers():
    text = (
        "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), "
        "('tanh', 3), ('relu', 5)], concat=range(1, 9))"
    )
    assert genotype.parse(text) == genotype.load("DARTS_V2", "recurrent")
    assert genotype.load("DARTS_V2", "recurrent").to_text() == text
    assert "concat=[2, 5, 6, 9, 10, 11])" in genotype.load("ENAS").to_text()


@pytest.mark.parametrize("concat", ["range(2, 4)", "[2, 3]", "(2, 3)", "range(2, 4, 1)", " [ 2 ,\n 3 ] "])
def test_ways_to_write_one_genotype(concat):
    pairs = "[('a', 0), ['b', 1], ('a', 2), ('c', 0)]"
    fields = f"(normal={pairs}, reduce={pairs}, normal_concat={concat}, reduce_concat={concat})"
    expected = ConvGenotype(*[[("a", 0), ("b", 1), ("a", 2), ("c", 0)], range(2, 4)] * 2)
    assert genotype.parse("Genotype" + fields) == expected
    assert genotype.parse("\ufeff\n MINE = Genotype " + fields + "  # found on Monday\n") == expected


GOOD = "Genotype(recurrent=[('tanh', 0)], concat=[1])"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (None, "must be a string"),
        ("x" * 30_000, "at most 20000 characters. Received: 30000 characters"),
        (
            "Genotype(recurrent=[('tanh', 0)], concat=range(1, 10**12))",
            "concat: expected a list of",
        ),
        (
            "Genotype(recurrent=[('tanh', 0)], concat=range(1, 1000000000000))",
            "concat: range takes 1 to 3 integers up to 1000",
        ),
        ("Genotype(recurrent=[('tanh', 0)], concat=range(1, 2, 0))", "range takes"),
        ("Genotype(recurrent=[('tanh', 0)], concat=range())", "range takes"),
        ("Genotype(recurrent=[('tanh', 0)], concat=[-1])", "from 1..1, the nodes of this cell. Received: -1 in"),
        ("Genotype(recurrent=[('tanh', 0)], concat=[1], concat=[1])", "field 'concat' twice"),
        ("Genotype([('tanh', 0)], [1])", "every field of a genotype must be given by name"),
        ("Genotype(**{})", "every field of a genotype must be given by name"),
        ("Genotype(recurrent=[('tanh', 0)], concat=list(range(1, 2)))", "concat: expected a list"),
        ("Genotype(recurrent=__import__('os').getcwd(), concat=[1])", "recurrent: expected a list"),
        ("__import__('os').getcwd()", "the text is not one genotype"),
        (GOOD + ";" + GOOD, "the text is not one genotype"),
        ("Genotype(" + "[" * 5000, "nested too deeply"),
        ("Genotype(concat=" + "-" * 5000 + "1)", "nested too deeply"),
        ("Genotype(concat=" + "not " * 4500 + "1)", "expected"),
        ("Genotype(concat=" + "a." * 9000 + "a)", "expected"),
        ("Genotype(concat=[1,", "not well-formed"),
        ("Genotype(concat=['\\d'])", "not well-formed"),
        ("Genotype(concat=[\0])", "not well-formed"),
        ("Genotype(concat=[" + "9" * 5000 + "])", "not well-formed"),
        ("{", "not valid JSON"),
        ("[1, 2]", "an object with named fields. Received: [1, 2]"),
        ('{"a":' * 3000, "nested too deeply"),
        ('{"recurrent": [["tanh", NaN]], "concat": [1]}', "not finite; inputs are integers. Received: NaN"),
        ('{"recurrent": [["tanh", 1e999]], "concat": [1]}', "Received: input=inf"),
        ('{"recurrent": [["tanh", 0]], "concat": [1], "concat": [1]}', "the key 'concat' twice"),
        (
            '{"recurrent": [["tanh", 0]], "concat": [1], "conact": [1]}',
            "unknown field 'conact' in a recurrent genotype",
        ),
        ('{"normal": [["a", 0], ["b", 1]], "normal_concat": [2]}', "field 'reduce' is missing in a conv genotype"),
        ('{"recurrent": [["tanh", ' + "9" * 5000 + ']], "concat": [1]}', "not valid JSON"),
    ],
)
def test_texts_that_are_refused(text, message):
    assert message in refused(genotype.parse, text)


@QUICK
@given(st.one_of(st.text(max_size=200), st.text("Genotype(=[]){}'\",:.0123-\\ \nrangeu_* ", max_size=80)))
def test_any_text_is_a_genotype_or_refused(text):
    for variant in (text, "{" + text, f"Genotype({text})", f"Genotype(recurrent=[('tanh', 0)], concat={text})"):
        try:
            assert genotype.parse(genotype.parse(variant).to_text())
        except UserError as error:
            assert "\n" not in str(error)


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["normal", "x"]), inner),
        max_leaves=12,
    ),
    st.sampled_from(["normal", "normal_concat", "reduce", "reduce_concat", "more"]),
)
def test_any_json_is_a_genotype_or_refused(value, field):
    fields = {**genotype.load("DARTS_V2").to_json(), field: value}
    for call, argument in (
        (genotype.from_json, fields),
        (genotype.from_json, value),
        (genotype.parse, json.dumps(fields)),
    ):
        try:
            assert call(argument)
        except UserError as error:
            assert "\n" not in str(error)


@QUICK
@given(genotypes(), st.data())
def test_a_text_with_one_character_changed_is_a_genotype_or_refused(found, data):
    text = found.to_text()
    where = data.draw(st.integers(0, len(text) - 1))
    changed = text[:where] + data.draw(st.sampled_from("([{)]}'\"\\,=0-*#\n:")) + text[where + 1 :]
    try:
        assert genotype.parse(changed)
    except UserError as error:
        assert "\n" not in str(error)


# What a genotype must be


PAIRS = (("a", 0), ("b", 1), ("a", 2), ("b", 0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normal": (*PAIRS[:2], ("a", 3), ("b", 0))}, "normal[2]: node 1 must read one of the inputs 0..2"),
        ({"normal": (*PAIRS[:2], ("a", 3), ("b", 0))}, "later nodes do not exist yet. Received: input=3 of 'a'"),
        ({"reduce": PAIRS[:3]}, "reduce: expected 2 pairs per node. Received: 3 pairs; add or remove some"),
        ({"reduce": ()}, "reduce: expected a list of 1 to 100 (operation, input) pairs. Received: ()"),
        ({"reduce": "ab"}, "Received: 'ab'"),
        ({"reduce": [("a", 0), ("b", 1, 2)]}, "reduce[1]: expected a pair (operation, input). Received: ('b', 1, 2)"),
        ({"reduce": [("a", 0), "b1"]}, "reduce[1]: expected a pair"),
        ({"normal": [("a", True), ("b", 0)]}, "Received: input=True of 'a'"),
        ({"normal": [("a", 1.0), ("b", 0)]}, "Received: input=1.0 of 'a'"),
        ({"normal": [("a", float("nan")), ("b", 0)]}, "Received: input=nan of 'a'"),
        ({"normal": [("a", -1), ("b", 0)]}, "Received: input=-1 of 'a'"),
        ({"normal": [("a", 10**5000), ("b", 0)]}, "Received: input=a huge int of 'a'"),
        ({"normal": [(1, 0), ("b", 0)]}, "normal[0]: an operation's name must consist of"),
        ({"normal": [("", 0), ("b", 0)]}, "Received: ''"),
        ({"normal": [("a b", 0), ("b", 0)]}, "Received: 'a b'"),
        ({"normal": [("a\n", 0), ("b", 0)]}, r"Received: 'a\n'"),
        ({"normal_concat": ()}, "normal_concat: expected different integers from 2..3"),
        ({"normal_concat": (2, 4)}, "Received: 4 in (2, 4)"),
        ({"normal_concat": (1, 2)}, "Received: 1 in (1, 2)"),
        ({"normal_concat": (2, 2)}, "Received: 2 in (2, 2)"),
        ({"normal_concat": (2.0,)}, "Received: 2.0 in (2.0,)"),
        ({"normal_concat": range(2, 10**12)}, "Received: 4 in range(2, 1000000000000)"),
        ({"normal_concat": {2, 3}}, "at least one. Received: {2, 3}"),
    ],
)
def test_fields_that_are_refused(change, message):
    fields = {"normal": PAIRS, "normal_concat": (2, 3), "reduce": PAIRS, "reduce_concat": (2, 3)}
    assert ConvGenotype(**fields).num_nodes == 2
    assert message in refused(ConvGenotype, **{**fields, **change})


def test_a_genotype_is_plain_immutable_data():
    found = RecurrentGenotype([["tanh", np.int64(0)]], [np.int32(1)])
    assert found.recurrent == (("tanh", 0),) and type(found.recurrent[0][1]) is int and type(found.concat[0]) is int
    json.dumps(found.to_json())
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.concat = (1,)


def test_unknown_operation_lists_the_known_and_suggests_the_closest():
    found = genotype.parse("Genotype(recurrent=[('tanh', 0), ('sigmod', 1)], concat=[1])")
    message = refused(found.check_operations, genotype.RECURRENT_PRIMITIVES)
    assert message == (
        "recurrent[1]: unknown operation 'sigmod'; did you mean 'sigmoid'? "
        "Known: none, tanh, relu, sigmoid, identity. Received: 'sigmod'"
    )


# Files


def test_save_and_load(tmp_path):
    found = genotype.load("DARTS_V1", "recurrent")
    path = genotype.save(found, tmp_path / "new" / "genotype.json")
    assert json.loads(path.read_text()) == found.to_json()
    (tmp_path / "text.txt").write_text(found.to_text())
    for spec in (path, path.parent, tmp_path / "text.txt"):
        assert genotype.load(spec) == genotype.load(str(spec), "recurrent") == found
    assert genotype.load(found) is found
    assert "expected a conv genotype. Received: a recurrent genotype from" in refused(genotype.load, path, "conv")
    assert "expected a conv genotype" in refused(genotype.load, found.to_text(), "conv")


def test_files_that_are_refused_are_named(tmp_path):
    path = tmp_path / "genotype.json"
    assert str(path) in refused(genotype.load, tmp_path)
    assert "does not exist" in refused(genotype.load, path)
    (tmp_path / "metrics.jsonl").touch()
    assert f"The run in {tmp_path} has no genotype yet" in refused(genotype.load, tmp_path)
    for content, message in (
        (b"", "is empty"),
        (b"\xff\xfe", "not a text file"),
        (b"{" + b" " * 10**6, "at most 20000"),
    ):
        path.write_bytes(content)
        answer = refused(genotype.load, path)
        assert message in answer and str(path) in answer


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        (
            "darts_v2",
            "conv",
            "'darts_v2' is neither a published genotype nor a file; did you mean 'DARTS_V2'? Known: Amoeba",
        ),
        ("nothing like it", None, "neither a published genotype nor a file"),
        ("x" * 5000, None, "neither a published genotype nor a file"),
        ("a\0b", None, "neither a published genotype nor a file"),
        ("", None, "is empty"),
        ("Genotipe(normal=[])", None, "the text is not one genotype"),
        (7, None, "a name, a path or text. Received: 7"),
        ("DARTS_V2", "cnn", "kind: unknown kind 'cnn'. Known: conv, recurrent"),
    ],
)
def test_specs_that_are_refused(spec, kind, message):
    assert message in refused(genotype.load, spec, kind)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "file", "old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_show_is_one_short_line():
    assert len(genotype_text.show(["x" * 1000] * 1000)) < 700
    assert genotype_text.show(10**5000) == "a huge int"


def test_the_largest_genotype_is_read_back(tmp_path):
    pairs = [("x" * 64, node // 2) for node in range(100)]
    found = ConvGenotype(*[pairs, list(range(51, 1, -1))] * 2)
    assert genotype.load(genotype.save(found, tmp_path / "genotype.json")) == found == genotype.parse(found.to_text())
    assert "1 to 100 (operation, input) pairs" in refused(ConvGenotype, *[pairs * 2, [2]] * 2)
