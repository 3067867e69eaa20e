"""Locks on files and folders, which end with the process that holds them, however it ends."""

import os

import filelock

FILE = ".lock"
"""The name of a file that represents its folder for locking."""


def lock(descriptor: int, wait: bool = False) -> bool | None:
    """Locks an open file until it is closed.

    Args:
        descriptor: Descriptor of the file; on Windows its first byte can no longer be read by others.
        wait: Whether to wait until it is free.

    Returns:
        True if it is now locked, False if another process has locked it, None if the file system has no locks.
    """
    try:
        return filelock.lock_descriptor(descriptor, blocking=wait)
    except OSError:
        return None


def lock_folder(folder: str | os.PathLike, wait: bool = False) -> int | None:
    """Locks a folder until the returned descriptor is closed; None on failure: no locks, or another process has it.

    Args:
        folder: On Windows, where no folder can be opened, a file in it is locked in its place.
        wait: Whether to wait until it is free.

    Raises:
        OSError: It does not exist, or this user may not read it.
    """
    windows = os.name == "nt"
    descriptor = (
        os.open(os.path.join(folder, FILE), os.O_RDWR | os.O_CREAT) if windows else os.open(folder, os.O_RDONLY)
    )
    if lock(descriptor, wait):
        return descriptor
    os.close(descriptor)
    return None
