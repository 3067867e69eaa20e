"""Processes that run this package, without the seconds that each would take to import TensorFlow.

All else is as with `subprocess`, whose names these are. So what depends on how a process starts (options of Python,
variables that are read at import, the first sign of life, installed scripts) is tested with `subprocess` itself.
"""

import atexit
import concurrent.futures
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from subprocess import DEVNULL, PIPE, STDOUT

from tests.helpers.paths import ROOT


@functools.cache
def _warm() -> str:
    """Starts the process whose copies become programs, and which ends when this one does; returns its address."""
    until_the_end = contextlib.ExitStack()
    folder = until_the_end.enter_context(tempfile.TemporaryDirectory())
    address = os.path.join(folder, "socket")
    command = [sys.executable, "-m", "tests.helpers.warm", address]
    process = until_the_end.enter_context(subprocess.Popen(command, stdin=PIPE, stdout=PIPE, cwd=ROOT))
    assert process.stdout.readline() == b"ready\n"
    atexit.register(until_the_end.close)
    return address


class Popen:
    """A process of `[sys.executable, "-m", module, ...]` or `[sys.executable, "-c", code, ...]`.

    Attributes:
        args: The command.
        pid: Its number.
        returncode: As `subprocess` tells it; None until that has been asked for.
        stdout, stderr: What is read from it, where they were to be pipes.
    """

    def __init__(self, args, *, stdin=None, stdout=None, stderr=None, text=False, cwd=None, env=None):
        python, kind, source, *arguments = self.args = [os.fspath(each) for each in args]
        assert python == sys.executable and kind in ("-m", "-c") and stdin != PIPE, args
        self.returncode = None
        with contextlib.ExitStack() as ours:  # what only the program needs to have open
            number, _ = self._stream(stdin, 0, ours)
            out, self.stdout = self._stream(stdout, 1, ours, text)
            err, self.stderr = (out, None) if stderr == STDOUT else self._stream(stderr, 2, ours, text)
            request = {"kind": kind, "source": source, "arguments": arguments, "folder": os.fspath(cwd or os.getcwd())}
            request["environment"] = dict(os.environ if env is None else env)
            self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._connection.connect(_warm())
            socket.send_fds(self._connection, [json.dumps(request).encode()], [number, out, err])
        self.pid = int(self._connection.recv(64))

    @staticmethod
    def _stream(wanted, inherited, ours, text=False):
        """Returns the program's end and, of a pipe, the other one."""
        if wanted == PIPE:
            read, write = os.pipe()
            ours.callback(os.close, write)
            return write, open(read, "r" if text else "rb")
        if wanted == DEVNULL:
            return ours.enter_context(open(os.devnull, "r+b", buffering=0)).fileno(), None
        return (inherited if wanted is None else wanted.fileno()), None

    def wait(self, timeout=None):
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._connection.recv(64))
            except (TimeoutError, BlockingIOError) as error:
                raise subprocess.TimeoutExpired(self.args, timeout) from error
            self._connection.close()
        return self.returncode

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout=None):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            streams = self.stdout, self.stderr
            read = [stream and pool.submit(stream.read) for stream in streams]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        for stream in filter(None, streams):
            stream.close()
        return tuple(each and each.result() for each in read)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def run(args, *, capture_output=False, timeout=None, **settings):
    """Runs a program to its end; returns a `subprocess.CompletedProcess`."""
    if capture_output:
        settings |= {"stdout": PIPE, "stderr": PIPE}
    process = Popen(args, **settings)
    output = process.communicate(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, *output)
