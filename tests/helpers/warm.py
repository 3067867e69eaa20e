"""A process that has imported TensorFlow as the commands do, and turns copies of itself into programs: see `programs`.

Each connection of its socket is one program: it gets what to run and its standard streams, and tells the number of the
process, then how that ended. Nothing has used TensorFlow before a copy is made, or its threads would be missing there.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from types import ModuleType

from darts_tf.system import runtime

LIMIT = 1 << 20  # bytes of a request; a packet is read as a whole or not at all


def wait_for_a_program(path: str) -> dict:
    """Returns in a copy of this process, with the streams of the program that it has to become."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(path)
        door.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([door, 0], [], [])
            if door not in ready:  # whoever started this has ended
                raise SystemExit
            connection, _ = door.accept()
            if not os.fork():
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return watched(connection)


def watched(connection: socket.socket) -> dict:
    """Starts a program and tells how it ended; returns in the program what it has to run."""
    message, streams, _, _ = socket.recv_fds(connection, LIMIT, 3)
    if process := os.fork():
        for stream in streams:
            os.close(stream)
        connection.send(str(process).encode())
        _, status = os.waitpid(process, 0)
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return json.loads(message)


def become(kind: str, source: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Runs a module, or code, as Python does by itself."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.path[0] = folder
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(source, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(source, "<string>", "exec"), vars(main))


if __name__ == "__main__":
    runtime.load()
    import darts_tf.export.exporting
    import darts_tf.tasks.search
    import darts_tf.tasks.train  # noqa: F401

    become(**wait_for_a_program(sys.argv[1]))
