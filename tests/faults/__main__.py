"""`python -m tests.faults --kills=30`: the whole of it, with a table of counts at the end; takes about an hour."""

import argparse
import pathlib
import sys
import tempfile
import time

from . import disks, kinds
from .processes import Place
from .siege import Counts, Lost, Siege


def main():
    """Besieges each kind of run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    names = [kind.name for kind in kinds.RUNS] + ["export"]
    parser.add_argument("--kills", type=int, default=30, help="kill -9 so often, per kind of run")
    parser.add_argument("--terms", type=int, default=6, help="SIGTERM so often, per kind of run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kinds", default=",".join(names), help="which kinds of runs, of: " + ",".join(names))
    parser.add_argument("--folder", type=pathlib.Path, help="where the runs go and stay; a temporary one if not given")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or pathlib.Path(temporary)
        rows = [_besiege(name, asked, folder.absolute()) for name in asked.kinds.split(",")]
    print(f"\n{'kind':12}{'kill -9':>8}{'SIGTERM':>9}{'finished':>10}{'full disks':>12}{'minutes':>9}")
    for name, counts, failure, minutes in rows:
        row = f"{name:12}{counts.kills:8}{counts.terms:9}{counts.finished:10}{counts.full:12}"
        print(f"{row}{minutes:9.1f}  {failure or 'equal'}")
    return int(any(failure for _, _, failure, _ in rows))


def _besiege(name, asked, folder):
    begin, siege, failure = time.monotonic(), None, None

    def say(line):
        print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)

    try:
        if name == "export":
            trained = Place(folder / "trained")
            trained.live(kinds.TRAINING.command())
            kind = kinds.export(trained.run)
        else:
            kind = next(kind for kind in kinds.RUNS if kind.name == name)
        siege = Siege(kind, folder / name, asked.seed, say)
        siege.run(asked.kills, asked.terms)
        for share in (0.3, 0.8) if kind.goes_on else ():
            siege.fill(share)
    except disks.NotPermitted:
        say("no full disks: mounting takes the superuser")
    except (Lost, TimeoutError) as lost:
        failure = str(lost)
        say(f"LOST: {failure}")
    return name, siege.counts if siege else Counts(), failure, (time.monotonic() - begin) / 60


if __name__ == "__main__":
    sys.exit(main())
