"""What a chief of keras-tuner and its workers need: a lock that is always freed, and to hear whom they wait for."""

import functools
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import keras_tuner

from darts_tf.system import streams

SECONDS = 10.0  # between two looks at the chief
PATIENCE = 5.0  # of one look

Method = TypeVar("Method", bound=Callable)


def say(line: str) -> None:
    """Prints a line on stderr."""
    streams.err(f"darts_tf: {line}")


def is_chief() -> bool:
    """Whether this process serves the oracle to workers."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def is_worker() -> bool:
    """Whether this process asks a chief for its trials."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not is_chief()


def watch_chief() -> None:
    """Reports from a thread when a worker's chief is gone and when it is back: the worker itself waits silently."""
    address = os.environ["KERASTUNER_ORACLE_IP"], int(os.environ.get("KERASTUNER_ORACLE_PORT", 0))

    def watch():
        there = True
        while True:
            time.sleep(SECONDS)
            before = there
            try:
                socket.create_connection(address, PATIENCE).close()
                there = True
            except OSError:
                there = False
            if before and not there:
                say(
                    f"the chief at {':'.join(map(str, address))} does not answer. If there are trials left, start it "
                    "again, and this worker continues"
                )
            elif there and not before:
                say("the chief answers")

    threading.Thread(target=watch, name="chief watch", daemon=True).start()


def releasing(method: Method) -> Method:
    """As `keras_tuner.synchronized`, which keeps an oracle's lock for ever when what it guards raises."""

    @keras_tuner.synchronized
    def held(*arguments, **named):
        try:
            return method(*arguments, **named), None
        except BaseException as error:  # noqa: B036 (raised again, outside the lock)
            return None, error

    def guarded(*arguments, **named):
        result, error = held(*arguments, **named)
        if error is not None:
            raise error
        return result

    found: Any = functools.wraps(method)(guarded)
    return found
