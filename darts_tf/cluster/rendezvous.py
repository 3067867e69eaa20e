"""The meeting point at which the processes of a cluster wait for one another before TensorFlow joins them.

TensorFlow's own wait holds Python's lock, takes over SIGTERM and lasts for an hour: only `kill -9` ends it. Here a
process waits in Python, for a given time, and TensorFlow is started once all are present.
"""

import contextlib
import errno
import select
import socket
import time
from collections.abc import Callable, Sequence

from darts_tf.system.errors import UserError, some_of

PATIENCE = 600.0  # seconds
GREETING, GO = b"darts_tf", b"go\n"
_RETRY = 0.5  # seconds between two checks of who is present


def wait(worker: int, addresses: Sequence[str], say: Callable[[str], None], seconds: float = PATIENCE) -> None:
    """Returns once all processes are waiting.

    Args:
        worker: Index of this process; the others report to 0, the chief.
        addresses: `host:port` of all processes.
        say: Called with a line that lists those it waits for.
        seconds: How long to wait.

    Raises:
        UserError: An address is malformed, this process cannot listen on its own, or others are missing; the message
            names them.
    """
    others = [address for i, address in enumerate(addresses) if i != worker]
    places = [_parsed(address) for address in addresses]
    if not others:
        return
    say(f"waiting for the other processes: {some_of(others)}")
    until = time.monotonic() + seconds
    if worker:
        missing = [] if _report(worker, places[0], until) else [addresses[0]]
    else:
        missing = [addresses[i] for i in _gather(places[0][1], len(addresses), until)]
    if missing:
        raise UserError(
            f"The other processes did not appear within {seconds:.0f} s: {some_of(missing)}. Expected one at each "
            "address of TF_CONFIG, started with the same command and reachable from here. Restart all of them."
        )


def _parsed(address):
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UserError(f"TF_CONFIG must name addresses as host:port. Received: {address[:100]!r}.")
    return host.strip("[]"), int(port)


def _gather(port, count, until):
    """Waits for all others; returns the numbers of the missing ones."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_server(port))
        except OSError as error:
            raise UserError(
                f"This process cannot listen at its port in TF_CONFIG: {error.strerror or error}. Expected a free one. "
                f"Received: {port}."
            ) from error
        unnamed: set[socket.socket] = set()
        here: dict[int, socket.socket] = {}

        @stack.callback
        def hang_up() -> None:
            for each in (*unnamed, *here.values()):
                each.close()

        while len(here) < count - 1 and time.monotonic() < until:
            for each in select.select([server, *unnamed, *here.values()], [], [], _RETRY)[0]:
                if each is server:
                    unnamed.add(server.accept()[0])
                    continue
                number = _number(each, count)
                unnamed.discard(each)
                if each in here.values() or number is None:  # it has exited, or is another program
                    here = {i: other for i, other in here.items() if other is not each}
                    each.close()
                else:
                    if number in here:
                        here[number].close()
                    here[number] = each
        if len(here) == count - 1:
            for each in here.values():
                with contextlib.suppress(OSError):
                    each.sendall(GO)
        return [i for i in range(1, count) if i not in here]


def _server(port):
    """Listens on every address of this machine, as TensorFlow's server does afterwards."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
    return socket.create_server(("", port))  # works also if IPv6 is known but disabled, as in containers


def _number(connection, count):
    """Returns the index of the process at the other end; None if it has exited or is not one of ours."""
    try:
        words = connection.recv(64).split()
        number = int(words[1]) if len(words) == 2 and words[0] == GREETING else 0
    except (OSError, ValueError):
        return None
    return number if 0 < number < count else None


def _report(worker, place, until):
    """Reports this process to the chief; returns whether it answered in time that all are present."""
    while (left := until - time.monotonic()) > 0:
        try:
            with socket.create_connection(place, timeout=min(left, 10.0)) as connection:
                connection.sendall(GREETING + b" %d\n" % worker)
                connection.settimeout(max(until - time.monotonic(), 0.01))
                # Other bytes come from TensorFlow's own server: the chief has seen all processes, and this one was
                # restarted.
                if connection.recv(64):
                    return True
        except OSError:  # the chief is not there yet, or no longer
            pass
        time.sleep(_RETRY)
    return False
