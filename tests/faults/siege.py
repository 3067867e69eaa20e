"""Kills the processes of a kind of run, again and again, and looks after each whether anything was lost."""

import random
import re
import shutil
import signal
from typing import NamedTuple

from . import disks
from .processes import Moment, Place
from .results import differences

ALMOST = 0.01  # seconds; up to so much later than a file's change
LAST = 45  # changes of files that are reckoned with at least before the end
BOTHERED = 15  # changes of files that a start makes before it goes on
LEFT = 2  # temporaries that one killed process may leave; the next start removes them


class Lost(AssertionError):
    """Something was lost, or said wrongly."""


class Counts(NamedTuple):
    """What was done to a kind of run, and came out well."""

    kills: int = 0
    terms: int = 0
    finished: int = 0
    full: int = 0


class Siege:
    """Hurts one kind of run.

    Args:
        kind: A `kinds.Kind`.
        folder: Where its runs go.
        seed: Of the moments.
        say: Is told each line of progress.
    """

    def __init__(self, kind, folder, seed, say):
        self.kind, self.folder, self.say = kind, folder, say
        self.random = random.Random(f"{kind.name} {seed}")
        whole = Place(folder / "whole")
        life = whole.live(kind.command())
        if life.status or whole.temporaries():
            raise Lost(f"{kind.name}: the uninterrupted run ended with {life.status}: {life.err[-500:]}")
        self.expected = kind.result(whole.run)
        self.changes, self.start_up, self.counts = life.changes, life.start_up, Counts()
        say(f"{kind.name}: whole run seen, {self.changes} changes of files, the first after {self.start_up:.1f} s")

    def run(self, kills, terms):
        """Kills so often with SIGKILL, and stops so often with SIGTERM; returns `counts`, what came out well.

        Raises:
            Lost: The place where it happened is kept.
        """
        due = [signal.SIGKILL] * kills + [signal.SIGTERM] * terms
        self.random.shuffle(due)
        while due:
            place = Place(self.folder / f"torn_{self.counts.finished:03d}")
            self._hurt_until_finished(place, due)
            shutil.rmtree(place.folder)
        return self.counts

    def fill(self, share):
        """One run on a disk with room for a share of what it writes, until there is more.

        Raises:
            Lost: Something was lost, or not told in one line.
            disks.NotPermitted: Only the superuser may mount.
        """
        place = Place(self.folder / f"full_{share}")
        whole = sum(path.stat().st_size for path in (self.folder / "whole" / "run").rglob("*") if path.is_file())
        with disks.small_disk(place.run, int(share * whole / 1024)) as again:
            life = place.live(self.kind.command())
            if life.status != 1 or not re.fullmatch(r"[\w-]+: error: .*No space left on device.*\n", life.err):
                raise Lost(f"{self.kind.name}, disk {share} full: status {life.status}: {life.err[-1500:]}")
            again("size=100m")
            after = place.live(self.kind.command())
            lines = differences(self.expected, self.kind.result(place.run))
            lines = [line for line in lines if not line.startswith("tensorboard")]  # its pictures are written once
            if after.status or after.err or place.temporaries() or lines:
                raise Lost(f"{self.kind.name}, disk {share} full: {after.err[-500:]} {'; '.join(lines[:5])}")
        shutil.rmtree(place.folder)
        self.say(f"{self.kind.name}: a disk {share} of its size was told; finished and equal")
        self.counts = self.counts._replace(full=self.counts.full + 1)

    def _hurt_until_finished(self, place, due):
        """One run from its start to its end, by as many processes as it takes."""
        left, hurts = self.changes, 0
        while True:
            # An export begins anew each time: every fifth may end.
            spared = not due or (not self.kind.goes_on and hurts == 5)
            moment = None if spared else self._moment(left)
            number = due[-1] if due else signal.SIGKILL
            before = place.newest_step()
            life = place.live(self.kind.command(), moment, number)
            self._check(place, life, before)
            if life.status == 0:
                break
            due.pop()
            hurts += 1
            # So far from the end that some of the next lives reach it.
            left = max(LAST, left - max(0, life.changes - BOTHERED)) if self.kind.goes_on else left
            kills, terms, finished, _ = self.counts
            killed = life.status == -signal.SIGKILL
            self.counts = self.counts._replace(kills=kills + killed, terms=terms + (not killed))
            self.say(
                f"{self.kind.name}: {self.counts.kills} killed, {self.counts.terms} stopped, {finished} finished; now "
                f"{number.name} after {life.changes} changes, status {life.status}"
            )
        if lines := differences(self.expected, self.kind.result(place.run)):
            raise Lost(f"{self.kind.name} in {place.folder}: {'; '.join(lines[:5])}")
        self.say(f"{self.kind.name}: finished and equal to the uninterrupted run after {hurts} wounds")
        self.counts = self.counts._replace(finished=self.counts.finished + 1)

    def _moment(self, left):
        """Anywhere in the rest of the run; a fifth of them before it has touched a file."""
        if self.random.random() < 0.2:
            return Moment(0, self.random.uniform(0, self.start_up))
        return Moment(self.random.randint(1, left), self.random.choice([0, self.random.uniform(0, ALMOST)]))

    def _check(self, place, life, before):
        """What holds after every process, however it ended."""
        told = f"{self.kind.name} in {place.folder}, status {life.status}"
        if "Traceback" in life.out + life.err or "error" in life.err:
            raise Lost(f"{told}: {(life.err or life.out)[-1500:]}")
        if life.status not in ((0, 130, -signal.SIGTERM, -signal.SIGKILL) if life.hurt else (0,)):
            raise Lost(f"{told}: {life.err[-500:]}")
        if life.status == 130 and "the same command" not in life.out.splitlines()[-1]:
            raise Lost(f"{told}: {life.out[-500:]}")
        resumed = re.search(r"^resuming at step (\d+)", life.out, re.MULTILINE)
        if resumed and int(resumed[1]) < before:
            raise Lost(f"{told}: went on from step {resumed[1]}, and {before} was saved")
        if before and not resumed and place.newest_step() != before:
            raise Lost(f"{told}: began anew, and step {before} was saved")
        temporaries = place.temporaries()
        if len(temporaries) > (LEFT if life.status < 0 else 0) or any(place.tmp.iterdir()):
            raise Lost(f"{told}: left {', '.join(map(str, temporaries))}")
