"""What the processes of a cluster must have in common, compared before the first step."""

import json
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from darts_tf.config import ImageRun, Run
from darts_tf.config.fields import named
from darts_tf.system.errors import UserError, short, some_of
from darts_tf.system.files import user_path

if TYPE_CHECKING:  # TensorFlow is not needed here
    from darts_tf.cluster.distribution import Distribution

# These may differ between processes. Other settings that a resumed run may change must not: what is recomputed,
# measured or done between two updates determines the collective operations, and a process with different ones would
# wait forever.
_OWN = named(("data_dir", "threads", "checkpoint_minutes", "keep_checkpoints", "tensorboard"), ImageRun)


def checksum(*arrays: np.ndarray) -> str:
    """Returns a fingerprint of arrays, in their order."""
    total = 0
    for each in arrays:
        total = zlib.crc32(np.ascontiguousarray(each).data, total)
    return f"{total:08x}"


def described(config: Run, task: Any) -> dict[str, Any]:
    """Returns everything that determines a run's numbers and operations: settings, steps, data."""
    found = {name: value for name, value in config.to_json().items() if name not in _OWN}
    if path := found.get("operations_file"):  # the content matters; its path may differ between machines
        found["operations_file"] = f"checksum {zlib.crc32(user_path(path, 'operations_file').read_bytes()):08x}"
    return found | {"steps": sum(task.epoch_steps)} | task.describe_data()


def check(peers: "Distribution", config: Run, task: Any) -> None:
    """Compares the settings and data of this process' run, a `loop.Task`, with the chief's.

    Raises:
        UserError: They differ, here or in another process: all processes end, and the differing one reports how.
    """
    own = json.dumps(described(config, task)).encode()
    mine, theirs = json.loads(own), json.loads(peers.share(own))
    different = [
        f"{name}: {short(str(theirs.get(name)), 80)} -> {short(str(mine.get(name)), 80)}"
        for name in mine | theirs
        if theirs.get(name) != mine.get(name)
    ]
    anywhere, _, _ = peers.agree(bool(different), False, 0)
    if different:
        raise UserError(
            f"Worker {peers.worker} of {peers.workers} has different settings or data from the chief. Expected the "
            f"same. Received (chief -> here): {some_of(different, 12, '; ')}. Use the same command and data on all "
            "machines."
        )
    if anywhere:
        raise UserError(
            f"Another process has different settings or data from the chief, and reports which. Worker {peers.worker} "
            f"of {peers.workers} also stops. Expected the same in all. Use the same command and data on all machines."
        )
