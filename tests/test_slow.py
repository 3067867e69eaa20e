"""The list of slow tests names tests that exist, and is read from what pytest prints."""

import re

from tests.helpers import slow
from tests.helpers.paths import ROOT

LOG = """
12.50s call     tests/a.py::test_b[x - y]
3.25s setup    tests/a.py::test_b[x - y]
0.50s call     tests/a.py::test_c
"""


def test_seconds_are_those_of_a_test_without_what_others_share():
    assert slow.measured(LOG) == {"tests/a.py::test_b[x - y]": 12.5, "tests/a.py::test_c": 0.5}


def test_every_test_of_the_list_exists():
    for node in filter(None, slow.listed()):
        path, name = re.fullmatch(r"(tests/[\w/]+\.py)::(?:\w+::)?(\w+)(?:\[.*\])?", node).groups()
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{node} is no more: measure again"
