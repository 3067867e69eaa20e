"""Genotypes as other projects write them: read as ours, or refused with the difference named in one line."""

import collections
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darts_tf import genotypes as genotype
from darts_tf.system.errors import UserError

V2 = genotype.load("DARTS_V2", "conv")
RECURRENT = genotype.load("DARTS_V2", "recurrent")
NAMES = {"max_pool_3x3": "maxpool", "skip_connect": "skipconnect", "sep_conv_3x3": "sepconv3x3"}
NAMES |= {"dil_conv_3x3": "dilconv3x3"}


def refused(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message and 0 < len(message) < 700
    return message


def nodes(pairs, sequence=list):
    return [sequence(pairs[index : index + 2]) for index in range(0, len(pairs), 2)]


def nested(concat="range(2, 6)"):
    """As pt.darts prints it."""
    parts = [f"{cell}={nodes(getattr(V2, cell))}, {cell}_concat={concat}" for cell in ("normal", "reduce")]
    return f"Genotype({', '.join(parts)})"


FLAT = V2.to_text()
NESTED = nested()
FIELDS = NESTED.removeprefix("Genotype(").removesuffix(")")
GENOTYPES_PY = f"""
from collections import namedtuple

Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')
PRIMITIVES = ['max_pool_3x3', 'avg_pool_3x3', 'skip_connect', 'sep_conv_3x3', 'none']

# OLD = Genotype(normal=[('skip_connect', 0)], normal_concat=range(2, 3))
DARTS_V2 = {FLAT}

DARTS = DARTS_V2
"""
TEXTS = {
    "nested": NESTED,
    "concat as a list": nested([2, 3, 4, 5]),
    "assigned": f"genotype = {NESTED}",
    "a name before": f"gt.{NESTED}",
    "another name": f"NAS{NESTED}",
    "no name": f"({FIELDS})",
    "fields alone": FIELDS,
    "statements": "\n".join(
        f"{cell} = {nodes(getattr(V2, cell))}\n{cell}_concat = range(2, 6)" for cell in ("normal", "reduce")
    ),
    "lines": NESTED.replace(", [", ",\n   ["),
    "log of the original": f"2019-11-28 01:52:10,123 genotype = {FLAT}\n2019-11-28 01:52:11,001 epoch 3 lr 1e-3",
    "log of pt.darts": f"11/28 01:52:10 AM | genotype = {NESTED}\r\n",
    "log that begins with brackets": f"[2019-11-28 01:52] [INFO] {FLAT} :)",
    "a colon before": f"genotype: {FLAT}",
    "a command": f'python augment.py --name x --genotype "{NESTED}"',
    "quoted": f'"genotype = {NESTED}"',
    "a text in a file": f"GENE = ({NESTED[:90]!r}\n    {NESTED[90:]!r})\n",
    "genotypes.py": GENOTYPES_PY,
    "numpy": FLAT.replace(", 1)", ", np.int64(1))").replace("'skip_connect'", "np.str_('skip_connect')"),
    "numpy's lists": FLAT.replace("range(2, 6)", "array([2, 3, 4, 5])"),
    "pytorch": FLAT.replace(", 0)", ", tensor(0, device='cuda:0'))"),
    "AutoDL-Projects": NESTED.replace("[(", "((").replace(")]", "))").removesuffix(")")
    + ", connectN=None, connects=None)",
    "AutoDL-Projects, printed": repr(
        {
            "normal": nodes([(*pair, 0.137) for pair in V2.normal], tuple),
            "normal_concat": [2, 3, 4, 5],
            "reduce": nodes([(*pair, 0.25) for pair in V2.reduce], tuple),
            "reduce_concat": [2, 3, 4, 5],
            "connectN": None,
            "connects": None,
        }
    ),
    "JSON, nested": json.dumps(V2.to_json() | {cell: nodes(getattr(V2, cell)) for cell in ("normal", "reduce")}),
    "JSON of a namedtuple": json.dumps([V2.normal, V2.normal_concat, nodes(V2.reduce), V2.reduce_concat]),
    "JSON around JSON": json.dumps({"epoch": 3, "genotype": V2.to_json()}),
    "JSON around the text": json.dumps({"genotype": NESTED, "top1": 0.97}),
    "JSON with ranges as text": json.dumps(V2.to_json() | {"normal_concat": "range(2, 6)"}),
}


@pytest.mark.parametrize("form", TEXTS)
def test_forms_that_are_read(form, tmp_path):
    assert genotype.parse(TEXTS[form]) == V2
    assert genotype.load(TEXTS[form], "conv") == V2
    path = tmp_path / "found.txt"
    path.write_text(TEXTS[form], encoding="utf-8", newline="")
    assert genotype.load(path) == genotype.load(str(path)) == V2


def test_recurrent_forms():
    pairs = [[pair] for pair in RECURRENT.recurrent]
    for text in (
        f"genotype = Genotype(recurrent={pairs}, concat=range(1, 9))",
        f"recurrent={list(RECURRENT.recurrent)}, concat=range(1, 9)",
        json.dumps([RECURRENT.recurrent, RECURRENT.concat]),
    ):
        assert genotype.load(text, "recurrent") == RECURRENT


def test_objects_of_others():
    theirs = collections.namedtuple("Genotype", "normal normal_concat reduce reduce_concat connectN connects")
    pairs = nodes([(op, np.int64(source)) for op, source in V2.normal], tuple)
    found = theirs(pairs, range(2, 6), nodes(V2.reduce), np.arange(2, 6).tolist(), None, None)
    assert genotype.load(found) == genotype.load(dict(found._asdict()), "conv") == V2


def labels(wrap):
    """As NNI exports it since version 2.7."""
    found = {"width": 36, "depth": 20}
    for cell in ("normal", "reduce"):
        for index, (operation, source) in enumerate(getattr(V2, cell)):
            found[f"{cell}/op_{2 + index // 2}_{index % 2}"] = operation
            found[f"{cell}/input_{2 + index // 2}_{index % 2}"] = wrap(source)
    return found


def edges(switch):
    """As NNI exported it before; `switch` writes the two chosen inputs."""
    found = {}
    for cell in ("normal", "reduce"):
        for node, pairs in enumerate(nodes(getattr(V2, cell)), 2):
            found |= {f"{cell}_n{node}_p{source}": [] for source in range(node)}
            found |= {f"{cell}_n{node}_p{source}": NAMES[operation] for operation, source in pairs}
            found[f"{cell}_n{node}_switch"] = [switch(f"{cell}_n{node}_p{source}", source) for _, source in pairs]
    return found


@pytest.mark.parametrize("exported", [labels(int), labels(lambda source: [source])])
def test_exported_by_nni(exported, tmp_path):
    assert genotype.parse(json.dumps(exported)) == genotype.parse(f"exported_arch = {exported}") == V2
    (tmp_path / "arch.json").write_text(json.dumps(exported, indent=2))
    assert genotype.load(tmp_path / "arch.json") == genotype.from_json(exported) == V2


@pytest.mark.parametrize("switch", [lambda name, source: name, lambda name, source: source])
def test_exported_by_earlier_nni(switch):
    assert genotype.parse(json.dumps(edges(switch))) == V2


def test_the_concatenated_nodes_of_nnis_other_spaces_are_asked_for():
    exported = {name: value for name, value in labels(int).items() if "_5_" not in name}  # three nodes; one is read
    assert "Add the key reduce_concat, such as [2, 3, 4]" in refused(genotype.parse, json.dumps(exported))
    given = exported | {"reduce_concat": [3, 4], "normal_concat": [4]}
    assert genotype.parse(json.dumps(given)).reduce_concat == (3, 4)


def changed(fields, **changes):
    found = {**fields, **{name.replace("__", "/"): value for name, value in changes.items()}}
    return json.dumps({name: value for name, value in found.items() if value != "gone"})


BY_NAME = edges(lambda name, source: name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|none~2|",
            "node 2 has 2 edges; expected |op~0",
        ),
        (
            "|none~0|+|none~0|none~1|+|none~0|skip_conect~1|none~2|",
            "unknown operation 'skip_conect'; did you mean 'skip_connect'?",
        ),
        ("epoch 1 |none~0|+|none~0|\nepoch 2 |skip_connect~0|", "not one genotype but 2 strings of NAS-Bench-201"),
        (changed(BY_NAME, normal_n2_p0=3), "as an index into candidates that it does not include. Expected its name"),
        (changed(BY_NAME, normal_n2_p0=[False, True]), "normal_n2_p0: NNI's export gives the operation as an index"),
        (changed(BY_NAME, normal_n3_switch="gone"), "the key 'normal_n3_switch' is missing"),
        (changed(BY_NAME, normal_n3_switch=["normal_n3_p0"]), "expected the two edges that the node keeps"),
        (changed(BY_NAME, normal_n3_switch=[True, False, True]), "expected the two edges that the node keeps"),
        (changed(BY_NAME, normal_n3_switch=["normal_n2_p0", "normal_n2_p1"]), "expected the two edges"),
        (changed(BY_NAME, normal_n3_p0="gone"), "the key 'normal_n3_p0' is missing"),
        (changed(BY_NAME, reduce_n8_switch=[0, 1]), "reduce: NNI's export counts the nodes of a cell from 2"),
        (json.dumps({k: v for k, v in BY_NAME.items() if "reduce" not in k}), "Received: no node"),
        (changed(labels(int), normal__input_3_1="gone"), "the key 'normal/input_3_1' is missing"),
        (changed(labels(int), normal__op_3_2="skip_connect"), "expected 2 operations per node"),
        (changed(labels(int), normal__input_3_1=[0, 1]), "Received: input=[0, 1]"),
        (changed(labels(int), normal__input_3_1=7), "node 1 must read one of the inputs 0..2"),
        (FLAT.removesuffix(")") + ", connectN=3, connects=[1])", "connectN: the genotype connects cells across others"),
        (NESTED.replace("[('sep_conv_3x3', 0), ", "[", 1), "normal: expected 2 pairs per node. Received: 1 for node 0"),
        (FLAT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 2, 0)", 1), "normal[0]: expected a pair"),
        (
            f"{GENOTYPES_PY}\nMINE = {NESTED}",
            "the text is not one genotype but 2 (DARTS_V2, MINE); keep the lines of one",
        ),
        (f"epoch 1 {FLAT}\nepoch 2 {NESTED}", "the text is not one genotype but 2; keep the lines of one"),
        (FLAT.replace("range(2, 6)", "print('x')", 1), "Received: a Call expression"),
        (f"[1] {FLAT[:100]}", "not well-formed"),
        ("{'normal': __import__('os').getcwd()}", "Received: a Call expression"),
        ("{'normal': [], 'normal': []}", "has the field 'normal' twice"),
        ("normal = []", "field 'normal_concat' is missing"),
    ],
)
def test_forms_that_are_refused(text, message):
    assert message in refused(genotype.parse, text)
    assert message in refused(genotype.load, text)


VALUES = st.recursive(
    st.none() | st.integers(-2, 6) | st.floats() | st.sampled_from(["none", "maxpool", "normal_n2_p0", "range(2, 6)"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["normal", "arch"]), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([labels(int), BY_NAME, {"genotype": V2.to_json()}, V2.to_json()]),
    st.dictionaries(
        st.sampled_from([*labels(int), *BY_NAME, "normal", "connectN", "genotype", "arch", "normal_concat"]),
        VALUES,
        max_size=3,
    ),
)
def test_any_change_is_a_genotype_or_refused(fields, changes):
    for call, argument in ((genotype.from_json, fields | changes), (genotype.parse, repr(fields | changes))):
        try:
            assert call(argument)
        except UserError as error:
            assert "\n" not in str(error)
