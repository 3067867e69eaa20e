"""Tests that take long by measurement: `tests/slow.txt` lists them, and `-m 'not slow'` leaves them out.

It also names fixtures that take long: all tests that need one are slow, so that it is not made in both parts.

python -m pytest -n 2 --durations=0 --durations-min=1 > log; python -m tests.helpers.slow log
"""

import pathlib
import re
import sys

from tests.helpers.paths import ROOT

LIST = ROOT / "tests" / "slow.txt"
SECONDS = 3.5  # from here on a test is slow; of two busy cores, on idle ones half of it


def listed() -> set[str]:
    """Returns the node ids of the list, of tests and of fixtures."""
    return set(LIST.read_text(encoding="utf-8").splitlines())


def measured(log: str) -> dict[str, float]:
    """Returns the seconds of each test in the output of pytest's `--durations`.

    Without its set-up: where several tests share one, the next would have to make it.
    """
    return {node: float(seconds) for seconds, node in re.findall(r"^([\d.]+)s call +(tests/.+?) *$", log, re.MULTILINE)}


if __name__ == "__main__":
    seconds = measured(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    slow = sorted(node for node, value in seconds.items() if value >= SECONDS)
    fixtures = [node for node in listed() if "::test_" not in node]
    LIST.write_text("\n".join(sorted(slow + fixtures)) + "\n", encoding="utf-8")
    print(f"{len(slow)} tests, {sum(seconds[node] for node in slow):.0f} s of {sum(seconds.values()):.0f} s")
