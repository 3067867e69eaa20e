"""The memory that this process may still use."""

import contextlib
import os
import pathlib
import re

import psutil


def free_memory(groups: str | os.PathLike = "/sys/fs/cgroup") -> int:
    """Returns the bytes that this process may still use, within the machine's memory and its container's limit.

    Args:
        groups: Where Linux describes control groups, which psutil does not support.
    """
    found = [psutil.virtual_memory().available]
    for names, cached in (
        (("memory.max", "memory.current", "memory.stat"), "inactive_file"),
        ([f"memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat")], "total_inactive_file"),
    ):
        limit, used, facts = (pathlib.Path(groups, name) for name in names)
        with contextlib.suppress(OSError, ValueError):  # no such group, or no limit: "max"
            most, taken = int(limit.read_bytes()), int(used.read_bytes())
            # File pages are released when memory runs short.
            pages = re.search(rf"^{cached} (\d+)".encode(), facts.read_bytes(), re.M) if facts.exists() else None
            found.append(most - max(0, taken - int(pages[1] if pages else 0)))
    return max(0, min(found))
