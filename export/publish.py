"""Versions of a model in a folder that a server polls: complete or absent, numbered, with old ones removed."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from darts_tf.system.errors import UserError
from darts_tf.system.files import sync_directory, sync_file, temporaries_in, user_path, write_atomically
from darts_tf.system.locks import lock_folder
from darts_tf.system.scratch import scratch

_HIDDEN = ".tmp-"  # servers read only numeric names
_CONFIG = "models.config"
_MARK = "# Written by darts-export"


def versions(folder: str | os.PathLike) -> list[int]:
    """Returns the versions in a model's folder, ascending; none if there is no such folder."""
    path = pathlib.Path(folder)
    names = [p.name for p in path.iterdir()] if path.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch("[1-9][0-9]*", name))


class Publication:
    """One model's place in an export folder.

    Args:
        export_dir: Folder of models; created when something is published.
        name: The model's name, by which clients request it.
        version: The number to publish, None for the next one.
        keep: Number of older versions to keep; None for all.

    Raises:
        UserError: A bad name or number, the version exists, or the folder holds something else or cannot be used. In
            that case nothing has been written.
    """

    def __init__(self, export_dir: str | os.PathLike, name: str, version: int | None = None, keep: int | None = None):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise UserError(
                "A model's name must be made of letters, digits, '_', '-' and '.', and not start with '-' or '.'. "
                f"Received: name={name!r}."
            )
        if version is not None and not 1 <= version < 2**63:
            raise UserError(f"A version must be a whole number of at least 1. Received: version={version}.")
        if keep is not None and keep < 0:
            raise UserError(f"keep must be 0 or more. Received: keep={keep}.")
        self.export_dir = user_path(export_dir, "export_dir").absolute()
        self.name, self.version, self.keep = name, version, keep
        self.folder = self.export_dir / name
        with self._usable():
            self._refuse_foreign()
            if version in versions(self.folder):
                raise UserError(
                    f"Version {version} of {name} exists in {self.export_dir}. Expected a new number; leave version "
                    "out for the next one."
                )

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Turns system errors into one line."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"Cannot export into {self.export_dir}: {error.strerror or error}. Expected a writable folder with "
                "enough space; nothing was published. Choose another export_dir."
            ) from error

    def _refuse_foreign(self) -> None:
        if not self.export_dir.exists():
            return
        inner = self.folder.iterdir() if self.folder.is_dir() else ()
        foreign = [p for p in inner if not (_is_version(p) or p.name.startswith("."))]
        foreign += [p for p in self.export_dir.iterdir() if not (_is_ours(p) or p.name.startswith("."))]
        if foreign:
            raise UserError(
                f"{self.export_dir} holds something else: expected a new or empty folder, or one that holds exported "
                f"models. Received: {foreign[0].relative_to(self.export_dir)}. Choose another export_dir."
            )

    @contextlib.contextmanager
    def building(self) -> Iterator[pathlib.Path]:
        """A folder to build in, on the same file system; removed afterwards unless `publish` has moved it.

        It is in a hidden folder for all temporary files: the next export removes what a kill leaves.

        Raises:
            UserError: It cannot be created.
        """
        with contextlib.ExitStack() as stack:
            with self._usable():
                made = not self.export_dir.exists()
                self.export_dir.mkdir(parents=True, exist_ok=True)
                stack.callback(self._remove_empty if made else lambda: None)
                path = stack.enter_context(scratch(self.export_dir, f"{_HIDDEN}{self.name}-", _HIDDEN))
                built = path / "model"
                built.mkdir()
            stack.enter_context(temporaries_in(path))
            yield built

    def _remove_empty(self) -> None:
        for folder in (self.folder, self.export_dir):
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def publish(self, built: pathlib.Path) -> pathlib.Path:
        """Gives a built folder its number in one step, writes `models.config` and removes old versions.

        Args:
            built: From `building`, complete; old versions are moved to its former parent, and are removed with it.

        Returns:
            `EXPORT_DIR/NAME/<version>`.

        Raises:
            UserError: The version has been created in the meantime, or the file system refuses.
        """
        with self._usable():
            for folder, _, files in os.walk(built):
                for name in files:
                    with open(os.path.join(folder, name), "r+b") as file:  # Windows only syncs files opened for writing
                        sync_file(file.fileno())
                sync_directory(folder)
            lock = lock_folder(self.export_dir, wait=True)  # if two publish at once, both are in models.config
            try:
                self.folder.mkdir(exist_ok=True)
                number = self._move(built)
                sync_directory(self.folder)
                self._write_config()
                self._remove_old(number, built.parent)
            finally:
                if lock is not None:
                    os.close(lock)
        return self.folder / str(number)

    def _move(self, built: pathlib.Path) -> int:
        """Renames the folder to its number, or the next free one if there are no locks and another was faster."""
        while True:
            number = self.version or max(versions(self.folder), default=0) + 1
            try:
                os.rename(built, self.folder / str(number))  # refused if the number is taken
                return number
            except OSError:
                if not (self.folder / str(number)).exists():
                    raise
                if self.version is not None:
                    raise UserError(
                        f"Another process has just published version {number} of {self.name}. Expected a new number; "
                        "leave version out for the next one."
                    ) from None

    def _write_config(self) -> None:
        """Lists every model of the export folder for `tensorflow_model_server --model_config_file`."""
        config = model_server_config_pb2.ModelServerConfig()
        for folder in sorted(p for p in self.export_dir.iterdir() if p.is_dir() and versions(p)):
            model = config.model_config_list.config.add()
            model.name, model.base_path, model.model_platform = folder.name, str(folder), "tensorflow"
        text = text_format.MessageToString(config, as_utf8=True)
        for orphan in self.export_dir.glob(f".{_CONFIG}.*.tmp"):  # from a killed process, since we have the lock
            orphan.unlink(missing_ok=True)
        write_atomically(self.export_dir / _CONFIG, f"{_MARK}; base paths are absolute.\n{text}")

    def _remove_old(self, number: int, hidden: pathlib.Path) -> None:
        old = [v for v in versions(self.folder) if v < number]
        for version in old[: max(0, len(old) - self.keep)] if self.keep is not None else []:
            os.rename(self.folder / str(version), hidden / str(version))  # a server never sees half of it


def _is_version(path: pathlib.Path) -> bool:
    return bool(re.fullmatch("[1-9][0-9]*", path.name)) and (path / "saved_model.pb").is_file()


def _is_ours(path: pathlib.Path) -> bool:
    """Whether an entry of an export folder is a model's folder, or an allowed config."""
    if path.name == _CONFIG:
        return path.read_text("utf-8", errors="replace").startswith(_MARK)
    return path.suffix == ".config" or path.is_dir() and all(_is_version(p) for p in path.iterdir() if p.name[0] != ".")
