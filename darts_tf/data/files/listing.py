"""The image files in folders, recognised by their content, and counts of what was skipped."""

import collections
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from darts_tf.data.files import headers
from darts_tf.data.files.headers import shown
from darts_tf.system.errors import UserError, some_of

_SYSTEM = (  # of macOS, Synology, Windows, Linux: treated as hidden
    *("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
)
_PROBED = 1000  # files whose content is examined to see whether a folder holds images; for the others, the name decides


class File(NamedTuple):
    """An image file.

    Attributes:
        path: Absolute path; bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.
        name: The path relative to the folder of its data set.
        size: Size in bytes.
        header: Its format and size.
    """

    path: str
    name: str
    size: int
    header: headers.Header


class LeftOut:
    """The files that are skipped: how many of each kind, with one example."""

    def __init__(self):
        self.counts: collections.Counter[str] = collections.Counter()
        self.example, self._of_hidden = "", False

    def add(self, reason: str, path: str) -> None:
        """Counts a file or folder."""
        self.counts[reason] += 1
        if not self.example or (reason != _HIDDEN and self._of_hidden):
            self.example, self._of_hidden = path, reason == _HIDDEN

    def line(self) -> str:
        """Returns one line for the user; empty if nothing was skipped."""
        if not self.counts:
            return ""
        parts = ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common())
        return f"left out: {parts}; such as {shown(self.example)}"


_HIDDEN = "hidden or system files"


def find(folder: str, root: str, left_out: LeftOut) -> list[File]:
    """Finds the images in a folder and the folders below it, in the order of their paths.

    Args:
        folder: Where to look.
        root: The folder to which names are relative.
        left_out: Counts what is skipped: hidden files, files that are not images, other entries, broken links.

    Raises:
        UserError: A file cannot be opened, is too large, or has an image's extension but is not an image; the message
            names it.
    """
    found = []
    for path, size in sorted(walk(folder, left_out)):
        try:
            header = headers.check(path)
        except UserError:
            raise
        except ValueError as error:
            if path.lower().endswith(headers.ENDINGS):
                raise UserError(unreadable(path, error)) from error
            left_out.add("not images that can be read", path)
            continue
        except OSError as error:
            raise UserError(unreadable(path, error)) from error
        absolute = os.path.join(os.getcwd(), path)  # the working directory may change
        found.append(File(absolute, os.path.relpath(path, root), size, header))
    return found


def unreadable(place: str, error: Exception | str, remedy: str = "Replace or remove it.") -> str:
    """Returns the line that names an image and says why it cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = (reason.strip().splitlines() or [type(error).__name__])[0][:150].rstrip(". ")
    return f"An image cannot be read: expected {headers.READ}. Received: {shown(place)} ({reason}). {remedy}"


def walk(folder: str, left_out: LeftOut) -> Iterator[tuple[str, int]]:
    """Yields the path and the size of every file in a folder and below; visits each folder once, despite links."""
    visited, waiting = set(), [folder]
    while waiting:
        for entry in entries(waiting.pop()):
            if hidden(entry.name):
                left_out.add(_HIDDEN, entry.path)
                continue
            try:
                found = entry.stat()
            except OSError as error:
                if not entry.is_symlink():
                    raise UserError(unreadable(entry.path, error)) from error
                left_out.add("broken links", entry.path)
                continue
            if stat.S_ISREG(found.st_mode):
                yield entry.path, found.st_size
            elif not stat.S_ISDIR(found.st_mode):
                left_out.add("pipes, sockets or devices", entry.path)
            elif (found.st_dev, found.st_ino) in visited or (entry.is_symlink() and _leads_back(entry.path, folder)):
                left_out.add("links to folders that have been read already", entry.path)
            else:
                visited.add((found.st_dev, found.st_ino))
                waiting.append(entry.path)


def _leads_back(link, folder):
    """Whether a link leads to a folder that is read anyway, or to one above it."""
    target, here, holder = map(os.path.realpath, (link, folder, os.path.dirname(link)))
    return os.path.commonpath([target, here]) in (target, here) or os.path.commonpath([target, holder]) == target


def entries(folder: str) -> list[os.DirEntry]:
    """Returns the entries of a folder, by name. Raises UserError if it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"The folder {shown(folder)} cannot be read: {error.strerror or error}.") from error


def subfolders(folder: str) -> list[str]:
    """Returns the paths of the folders in a folder that are not hidden, by name; none if there is no such folder."""
    if not os.path.isdir(folder):
        return []
    shown_ones = (e for e in entries(folder) if not hidden(e.name) and not e.name.startswith("__"))
    return [entry.path for entry in shown_ones if os.path.isdir(entry.path)]


def hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to the system."""
    return name.startswith(".") or name.lower() in _SYSTEM


def holds_images(folder: str) -> bool:
    """Whether there is an image in a folder or below it; stops at the first."""
    return _any_image(path for path, _ in walk(folder, LeftOut()))


def holds_images_itself(folder: str) -> bool:
    """Whether there is an image directly in a folder."""
    return _any_image(e.path for e in entries(folder) if not hidden(e.name) and os.path.isfile(e.path))


def _any_image(paths):
    for number, path in enumerate(paths):
        if path.lower().endswith(headers.ENDINGS):
            return True
        if number < _PROBED:
            try:
                headers.check(path)
                return True
            except (OSError, ValueError):  # includes UserError
                pass
    return False


def few(names: Iterable[str]) -> str:
    """Returns some names, in order, and how many more there are."""
    return some_of(sorted(map(shown, names)))
