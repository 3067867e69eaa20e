"""The work directory of a run: its layout, its lock, and its `config.json`.

The layout is part of the interface: `config.json`, `metrics.jsonl`, `checkpoints/`, `genotypes/`, `alphas/`, `plots/`,
`tensorboard/`. Needs no TensorFlow.
"""

import contextlib
import fnmatch
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from darts_tf.config.fields import Config
from darts_tf.system import locks
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import parse_json, sync_directory, user_path, write_atomically
from darts_tf.system.streams import silent


def remove_temporaries(directory: str | os.PathLike) -> None:
    """Removes incomplete files of killed processes, in the directory and below.

    Only for the process that holds the directory's lock. Subdirectories with their own lock are left alone.
    """
    for folder, below, files in os.walk(os.fspath(directory)):
        for name in fnmatch.filter(files, ".*.tmp"):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
        for name in fnmatch.filter(below, ".*.tmp"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        below[:] = [name for name in below if not os.path.exists(os.path.join(folder, name, locks.FILE))]


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Writes JSON, indented and with a final newline; after a crash the file is the old one or the new one.

    Raises:
        OSError: As raised by the system; the old file is unchanged.
        ValueError: A number is not finite, which JSON cannot express.
    """
    write_atomically(path, json.dumps(data, indent=2, allow_nan=False) + "\n")
    sync_directory(pathlib.Path(path).parent)


def _holder(lock: int) -> str:
    """The id of the process that a lock file names; empty if it names none."""
    os.lseek(lock, os.name == "nt", os.SEEK_SET)
    return os.read(lock, 20).decode(errors="replace").strip()


class WorkDir(contextlib.AbstractContextManager):
    """One run's directory. Constructing it touches nothing; `open_for` creates or opens it and takes its lock.

    Args:
        path: The directory; missing parents are also created.

    Attributes:
        path: The directory as a `pathlib.Path`.
        resumed: After `open_for`: whether the directory already held this run.
        config: `config.json`: the settings.
        metrics: `metrics.jsonl`: one JSON object for each epoch.
        checkpoints: `checkpoints/`: the states from which a run resumes.
        genotypes: `genotypes/`: `epoch_NNN.json`, the cells that the alphas select after each epoch.
        alphas: `alphas/`: `CELL/epoch_NNN.json`, the mixing weights of a search after each epoch.
        plots: `plots/`: drawings of those cells.
        tensorboard: `tensorboard/`: event files.
        stages: `stage_1/`, `stage_2/` ...: the directories of a search in stages; its own alone if it has none.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = user_path(path, "The work directory")
        self.config, self.metrics = self.path / "config.json", self.path / "metrics.jsonl"
        self.checkpoints, self.genotypes = self.path / "checkpoints", self.path / "genotypes"
        self.alphas, self.plots, self.tensorboard = (self.path / name for name in ("alphas", "plots", "tensorboard"))
        self.resumed = False
        self._lock: int | None = None

    @property
    def stages(self) -> list["WorkDir"]:
        """See the class."""
        found = self.path.glob("stage_*")
        return [WorkDir(each) for each in sorted(found, key=lambda each: (len(each.name), each.name))] or [self]

    def open_for(
        self,
        config: Config,
        say: Callable[[str], None] = silent,
        folders: Sequence[str] = ("checkpoints", "genotypes", "plots"),
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Creates the directory, or opens an existing run with the same settings, and locks it.

        Args:
            config: The run's settings; written to `config.json`.
            say: Called with a line for each setting that differs from the earlier start, where allowed.
            folders: Which of these three to create in it.
            check: Called once the settings are known to agree, before anything is written; may raise further refusals.

        Raises:
            UserError: The path is not a directory, is not writable, holds other files or another run, its `config.json`
                cannot be read, or another process is using it. In that case nothing has been changed.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign_files()  # before the lock file is created among them
            self._take_lock()
            try:
                changes = self._compare(config)
                check()
                remove_temporaries(self.path)
                for folder in folders:
                    (self.path / folder).mkdir(exist_ok=True)
                write_json(self.config, config.to_json())
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise UserError(
                f"Cannot use the work directory {self.path}: {error.strerror or error}. Expected a writable "
                "directory; choose another work directory"
            ) from error
        for change in changes:
            say(f"changed since the last start: {change}")

    def _refuse_foreign_files(self) -> None:
        if self.config.exists():
            return
        ours = {locks.FILE, "checkpoints", "genotypes", "plots"}  # left by a start that was killed early
        foreign = sorted(
            entry.name
            for entry in self.path.iterdir()
            if not (entry.name in ours or entry.match(".config.json.*.tmp"))
            or (entry.is_dir() and any(entry.iterdir()))
        )
        if foreign and not self.config.exists():  # another process may have just started a run here
            raise UserError(
                f"The work directory {self.path} holds other files and no config.json. Expected a new "
                f"or empty directory, or that of an earlier run. Received: {some_of(foreign)}; "
                "choose another work directory"
            )

    def _take_lock(self) -> None:
        lock = os.open(self.path / locks.FILE, os.O_RDWR | os.O_CREAT, 0o644)
        if locks.lock(lock) is False:  # without locks, running is better than refusing
            owner = _holder(lock)
            os.close(lock)
            raise UserError(
                f"Another process{f' (pid {owner})' if owner else ''} is using the work directory {self.path}. "
                "Wait for it, stop it, or choose another work directory"
            )
        os.ftruncate(lock, 0)
        os.write(lock, f" {os.getpid()}\n".encode())  # the space is the byte that Windows hides from other processes
        self._lock = lock

    def user(self) -> str | None:
        """The id of the process that is using the directory, or None."""
        try:
            lock = os.open(self.path / locks.FILE, os.O_RDWR)
        except OSError:
            return None
        try:
            return None if locks.lock(lock) is not False else _holder(lock) or "unknown"
        finally:
            os.close(lock)

    def _compare(self, config: Config) -> list[str]:
        """The differences that are allowed; raises UserError for the others."""
        earlier = self.read_config(type(config))
        if earlier is None:
            return []
        self.resumed = True
        refused = earlier.differences(config, include_resumable=False)
        if refused:
            raise UserError(
                f"The work directory {self.path} holds a run with different settings. Expected the same. Received "
                f"(there -> now): {some_of(refused, 5, '; ')}. Use the settings of that run, or choose another "
                "work directory"
            )
        return earlier.differences(config)

    def read_config(self, config_class: type[Config]) -> Config | None:
        """The settings of the run in this directory, or None if there is no `config.json`.

        Raises:
            UserError: The file is damaged, or from another version of this package.
        """
        try:
            fields = parse_json(self.config.read_bytes())
            # Files from before there were two kinds do not name theirs; those were searches.
            kind = fields.get("kind", "search") if isinstance(fields, dict) else config_class.kind
            if kind == config_class.kind:
                return config_class.from_json(fields)
        except FileNotFoundError:
            return None
        except ValueError as error:  # UserError, JSONDecodeError and UnicodeDecodeError
            raise UserError(
                f"{self.config} is damaged or from another version: {error}. Fix the file, or choose another work "
                "directory"
            ) from error
        raise UserError(
            f"The work directory {self.path} holds a run of another kind. Expected {config_class.kind}. "
            f"Received: {kind if isinstance(kind, str) and kind.isidentifier() else repr(kind)[:80]}; choose another "
            "work directory"
        )

    def close(self) -> None:
        """Releases the lock; the end of the process does the same."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __exit__(self, *exception: object) -> None:
        """Releases the lock, which `open_for` takes."""
        self.close()
