"""What is said where a chief or a worker of keras-tuner waits for a process that may be dead."""

import os
import socket
import threading
import time

from darts_tf.system import streams

SECONDS = 10.0  # between two looks at the chief
PATIENCE = 5.0  # of one look


def say(line: str) -> None:
    """Prints a line on stderr."""
    streams.err(f"darts_tf: {line}")


def is_chief() -> bool:
    """Whether this process serves the oracle to workers."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")


def is_worker() -> bool:
    """Whether this process asks a chief for its trials."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not is_chief()


class ChiefWatch:
    """Tells when a worker's chief is not there, and when it is back: the worker itself waits an hour without a word.

    Args:
        say: Is told each line.
    """

    def __init__(self, say=say):
        self.address = os.environ["KERASTUNER_ORACLE_IP"], int(os.environ.get("KERASTUNER_ORACLE_PORT", 0))
        self.say, self._there = say, True

    def start(self):
        """Looks from now on, in a thread that ends with the process."""
        threading.Thread(target=self._watch, name="chief watch", daemon=True).start()

    def look(self):
        """Looks once."""
        try:
            socket.create_connection(self.address, PATIENCE).close()
            there = True
        except OSError:
            there = False
        if self._there and not there:
            self.say(
                f"the chief at {':'.join(map(str, self.address))} does not answer. If there are trials left, start it "
                "again, and this worker goes on"
            )
        elif there and not self._there:
            self.say("the chief answers")
        self._there = there

    def _watch(self):
        while True:
            time.sleep(SECONDS)
            self.look()
