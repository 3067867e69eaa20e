"""Runs as separate processes, a few at a time; all state is in their work directories."""

import concurrent.futures
import pathlib
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable

from darts_tf.protocol.runs import Run
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError
from darts_tf.system.signals import stopping

POLL_SECONDS = 1.0
RELAY_SECONDS = 60.0  # seconds between reports of a run's progress
NOTICE = "stopping: the runs save and stop; a second signal kills them"


def start(command: list[str], log: pathlib.Path) -> subprocess.Popen:
    """Starts a process whose output goes to the end of a file, after its command line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode())
        file.flush()
        # In its own session, so that Ctrl-C in a terminal reaches it once, through us.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


class Workers:
    """Runs commands as processes.

    Args:
        directory: The protocol's directory; run `a/b` has its work directory there, and its output in `logs/a/b.log`.
        processes: How many at a time.
        say: Called with each progress line.
    """

    def __init__(self, directory: pathlib.Path, processes: int, say: Callable[[str], None]):
        self.directory, self.processes, self.say = directory, processes, say
        self._stop = threading.Event()
        self._running: set[subprocess.Popen] = set()
        self._failures: list[str] = []
        self._ended = self._count = 0

    def run(self, runs: Iterable[Run]) -> bool:
        """Runs those that are not done yet, and waits for them.

        Returns:
            Whether all are done; False if a signal has stopped them: they have saved, and are resumed the next time.

        Raises:
            UserError: One has failed; those that were running have ended, and no others were started.
            KeyboardInterrupt: A second signal was received; the processes are killed.
        """
        waiting = [run for run in runs if not run.done(self.directory)]
        self._ended, self._count = 0, len(waiting)
        with (
            stopping(NOTICE, self._terminate, self._kill),
            concurrent.futures.ThreadPoolExecutor(self.processes) as pool,
        ):
            try:
                for future in [pool.submit(self._one, run) for run in waiting]:
                    # In short waits: a signal that comes just before one would otherwise be noticed after the run.
                    while concurrent.futures.wait([future], POLL_SECONDS).not_done:
                        pass
                    future.result()
            except BaseException:
                self._stop.set()  # otherwise the pool would start the remaining runs before raising the error
                raise
        if self._failures:
            raise UserError(f"{self._failures[0]} Once that is fixed, the same command resumes the protocol")
        return not self._stop.is_set()

    def _log(self, run):
        return self.directory / "logs" / f"{run.name}.log"

    def _one(self, run):
        """Runs one, even if a process left over from an earlier start is still running it."""
        said = False
        while not self._stop.is_set() and not self._failures:
            if (user := WorkDir(self.directory / run.name).user()) is not None:
                if not said:
                    self.say(
                        f"{run.name}: process {user} of an earlier start is still running it; waiting for it to finish"
                    )
                said = True
                self._stop.wait(POLL_SECONDS)
            elif run.done(self.directory):
                if said:
                    self._end(run)
                return
            else:
                self._process(run)

    def _process(self, run):
        begin = time.monotonic()
        self.say(f"{run.name}: running, output in {self._log(run)}")
        try:
            process = start(run.command(self.directory), self._log(run))
        except OSError as error:
            self._failures.append(f"{run.name} cannot be started: {error}.")
            return
        self._running.add(process)
        if self._stop.is_set():  # the signal arrived before the process was in the set
            process.terminate()
        status = self._wait(run, process)
        self._running.discard(process)
        if status == 0 and run.done(self.directory):
            self._end(run, f" in {time.monotonic() - begin:.0f} s")
        elif self._stop.is_set():
            self.say(f"{run.name}: stopped")
        elif WorkDir(self.directory / run.name).user() is None:  # otherwise that process was first
            self._fail(run, status)

    def _wait(self, run, process):
        """Waits for its end, and now and then passes on its last line."""
        said = None
        while True:
            try:
                return process.wait(RELAY_SECONDS)
            except subprocess.TimeoutExpired:
                if (last := self._last_line(run)) != said:
                    self.say(f"{run.name}: {last}")
                said = last

    def _last_line(self, run):
        lines = self._log(run).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def _end(self, run, after=""):
        self._ended += 1
        self.say(f"{run.name}: done{after}, {self._ended} of {self._count}")

    def _fail(self, run, status):
        self._failures.append(
            f"{self.directory / run.name} failed with status {status}: {self._last_line(run)} (all of its output: "
            f"{self._log(run)})."
        )
        if others := len(self._running):
            self.say(self._failures[-1])
            self.say(f"no further runs will start; waiting for {others} to finish (Ctrl-C stops them, too)")
        else:
            self.say(f"{run.name}: failed")

    def _terminate(self, number):
        """Passes the first signal on as one SIGTERM, which makes a run save and stop."""
        self._stop.set()
        for process in list(self._running):
            process.terminate()

    def _kill(self):
        for process in list(self._running):
            process.kill()
