"""Disks that are full or cannot be written, and a clock that jumps."""

import contextlib
import os
import subprocess

JUMPING_CLOCK = """
import random, time
_true, _draw = time.time, random.Random(0)
time.time = lambda: _true() + _draw.uniform(-10, 10) * 3600
time.time_ns = lambda: int(time.time() * 1e9)
"""


class NotPermitted(Exception):
    """Mounting takes more rights than this process has."""


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """Lets a folder be on a disk of its own while inside; yields what resizes it and what protects it from writing.

    Raises:
        NotPermitted: Only the superuser may mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            raise NotPermitted
    except FileNotFoundError:
        raise NotPermitted from None

    def again(options):
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)

    try:
        yield again
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def jumping_clock(folder):
    """The environment in which Python's wall clock jumps by hours, back and forth, each time it is read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(JUMPING_CLOCK)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def limited(command, kilobytes):
    """The command under a limit for the size of each file, which everybody may set."""
    return ["sh", "-c", f'ulimit -f {kilobytes * 2} && exec "$@"', "sh", *command]
