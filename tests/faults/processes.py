"""A run's place on disk, and the processes that are started in it and hurt."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import NamedTuple

POLL = 0.002  # seconds; a checkpoint of a run this small takes about as long
PATIENCE = 1200  # seconds that a process may take on a busy machine

popen = subprocess.Popen
"""What starts a process of this package in the usual environment; `tests/test_faults.py` has a quicker one."""


class Moment(NamedTuple):
    """When a process is hurt.

    Attributes:
        changes: After its files have been seen to change so often since its start.
        seconds: Further seconds.
    """

    changes: int
    seconds: float


class Life(NamedTuple):
    """What a process has done.

    Attributes:
        hurt: Whether the signal reached it before its end.
        status: As `subprocess` tells it.
        out: Its standard output.
        err: Its standard error.
        changes: How often its files were seen to change.
        start_up: Seconds until they changed first.
    """

    hurt: bool
    status: int
    out: str
    err: str
    changes: int
    start_up: float


class Place:
    """A folder with `run/`, which the binaries write into, and `tmp/`, which they take for the system's.

    Args:
        folder: Created if need be.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.run, self.tmp = self.folder / "run", self.folder / "tmp"
        self.tmp.mkdir(parents=True, exist_ok=True)

    def start(self, command, **environment):
        """Starts a process whose output is kept in files, since a pipe may fill."""
        start = subprocess.Popen if environment or command[0] != sys.executable else popen
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            return start(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "TMPDIR": str(self.tmp), **environment},
            )

    def live(self, command, moment=None, number=signal.SIGKILL, **environment):
        """Runs a process until its end, or until the moment at which it is sent a signal."""
        began, changes, start_up, due, hurt = time.monotonic(), 0, None, None, False
        before = self.files()
        process = self.start(command, **environment)
        try:
            while process.poll() is None:
                if (now := self.files()) != before:
                    before, changes = now, changes + 1
                    start_up = start_up or time.monotonic() - began
                if moment is not None and due is None and changes >= moment.changes:
                    due = time.monotonic() + moment.seconds
                if due is not None and not hurt and time.monotonic() >= due:
                    process.send_signal(number)
                    hurt = True
                if time.monotonic() - began > PATIENCE:
                    raise TimeoutError(f"{command} has not ended after {PATIENCE} s")
                time.sleep(POLL)
        finally:
            process.kill()
            process.wait()
        out, err = ((self.folder / name).read_text(errors="replace") for name in ("out", "err"))
        return Life(hurt, process.returncode, out, err, changes, start_up or 0.0)

    def files(self):
        """Every file of the run with its size, date and number on disk."""
        result = {}
        waiting = [self.run]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        else:
                            status = entry.stat(follow_symlinks=False)
                            result[entry.path] = status.st_size, status.st_mtime_ns, status.st_ino
            except OSError:  # gone since it was listed
                continue
        return result

    def temporaries(self):
        """What is not meant to stay: half written files, folders of unfinished exports, the system's temporary ones."""
        hidden = [path for path in self.run.rglob(".*") if path.name != ".lock"] if self.run.exists() else []
        return sorted(hidden) + sorted(self.tmp.iterdir())

    def newest_step(self):
        """The step of the newest checkpoint, 0 where there is none."""
        names = [path.name for path in self.run.glob("checkpoints/step_*.npz")]
        return max((int(re.sub(r"\D", "", name)) for name in names), default=0)
