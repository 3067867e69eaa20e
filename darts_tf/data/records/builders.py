"""TensorFlow Datasets by name: where they are prepared, and how they are downloaded."""

import contextlib
import difflib
import logging
import os
import pathlib
import re
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

from darts_tf.data.files.headers import shown
from darts_tf.data.files.listing import subfolders
from darts_tf.system import streams
from darts_tf.system.errors import UserError, one_line, short, some_of

_VERSION = re.compile(r"[\d*]+\.[\d*]+\.[\d*]+")
_LOGGERS = ("absl", "urllib3")  # these report every step and every retry
_HOST = "storage.googleapis.com"  # of TensorFlow Datasets' own files


def prepared(name: str, data_dir: str = "", title: str = "") -> Any:
    """Returns the TFDS builder of a data set whose records exist.

    A data set that is not prepared is downloaded and prepared, once; a line announces this.

    Args:
        name: `NAME`, `NAME/CONFIG`, either with `:VERSION` or `/VERSION`.
        data_dir: The folder of TensorFlow Datasets; empty: its default.
        title: Name in messages; empty: `tfds:` and the name.

    Raises:
        UserError: There is no such folder or data set, or it cannot be downloaded.
    """
    import tensorflow_datasets as tfds

    title = title or f"tfds:{name}"
    builder = opened(name, data_dir, title)
    if builder.is_prepared():
        return builder
    if _offline() and builder.url_infos and not _has_downloads(builder):  # TFDS would retry for four minutes
        raise _missing(title, data_dir, "no network")
    _announce(builder, data_dir, title)
    tfds.disable_progress_bar()
    try:
        with quiet():
            builder.download_and_prepare()
    except (Exception, SystemExit) as error:  # TFDS passes on whatever the network, the disk or the source raise
        raise _missing(title, data_dir, one_line(error)) from error
    return builder


def _has_downloads(builder: Any) -> bool:
    """Whether there are files that data sets are prepared from; a user may have put them there."""
    folder = pathlib.Path(builder.data_dir).parents[builder.info.full_name.count("/")] / "downloads"
    return any(path.is_file() and ".tmp." not in str(path.relative_to(folder)) for path in folder.rglob("*"))


def _missing(title: str, data_dir: str, received: str) -> UserError:
    return UserError(
        f"{title} can be neither read nor downloaded: expected the data prepared by TensorFlow Datasets in "
        f"{shown(data_dir) or 'its default folder'}, or a network connection. Received: {received}. Pass "
        "data_dir with the folder that holds it, or use dataset=digits, which needs no network."
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS' output off stdout, which is for results, and its reports of every step out of the log."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(streams.Errors()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def opened(name: str, data_dir: str, title: str) -> Any:
    """Opens a data set from existing files or, without any, from TFDS' code; arguments and errors as in `prepared`."""
    import tensorflow_datasets as tfds

    if data_dir and not os.path.isdir(data_dir):
        raise UserError(
            f"There is no folder {shown(data_dir)}: expected one that holds, or will hold, {name} as TensorFlow "
            "Datasets prepares it. Create it, or leave data_dir empty for the default."
        )
    parts = name.split("/")
    if len(parts) > 1 and _VERSION.fullmatch(parts[-1]):  # TFDS itself would take it for a config
        name = f"{'/'.join(parts[:-1])}:{parts[-1]}"
    where = shown(data_dir) or "the default folder of TensorFlow Datasets"
    try:
        with quiet():
            return tfds.builder(name, data_dir=data_dir or None, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        base = re.split("[/:]", name)[0]
        own = _folders(data_dir)
        if base in own:
            inner = some_of(_folders(os.path.join(data_dir, base)) or ["an empty folder"])
            raise UserError(
                f"{title} is not in {where}: expected a config and version that were prepared there. "
                f"Received: {name}, and in {base}: {inner}."
            ) from error
        close = difflib.get_close_matches(base, own, 1)  # the user's own first
        close = close or difflib.get_close_matches(base, tfds.list_builders(with_community_datasets=False), 1)
        raise UserError(
            f"There is no data set {title}: expected a name that TensorFlow Datasets knows, or a data set that it "
            f"prepared in {where}. Received: {name}." + (f" Did you mean tfds:{close[0]}?" if close else "")
        ) from error
    except Exception as error:  # an unknown config or version, damaged files, a missing package
        said = str(error).split('}": ')[-1]  # after the name and the settings
        why = said.partition(" Here are ")[0].rstrip(" .").splitlines()  # before a list over many lines
        raise UserError(
            f"{title} cannot be opened: expected a config and version that TensorFlow Datasets knows, and intact "
            f"files in {where}. Received: {short(why[0]) if why else one_line(error)}."
        ) from error


def _announce(builder: Any, data_dir: str, title: str) -> None:
    """Announces a download: its size, its destination, and the alternatives."""
    others = [name for name in _folders(data_dir) if name != "downloads"]
    holds = f", which holds {some_of(others)}" if others else ""
    size = builder.info.download_size  # 0 if TFDS does not know it without the network
    logging.getLogger(__name__).warning(
        "%s is not prepared in %s%s: downloading %s and preparing it in %s, once",
        title,
        shown(data_dir) or "the default folder",
        holds,
        f"it ({size})" if size else "it (TensorFlow Datasets does not know how much)",
        builder.data_dir,
    )
    if _offline():
        logging.getLogger(__name__).warning(
            "There seems to be no network. If files are missing, TensorFlow Datasets retries for about four minutes"
        )


def _offline() -> bool:
    """Whether no name can be looked up, and no proxy does it instead."""
    try:
        return not urllib.request.getproxies() and not socket.getaddrinfo(_HOST, 443)
    except OSError:
        return True


def _folders(path: str) -> list[str]:
    """Returns the names of the folders in a folder; none if it does not exist."""
    return [os.path.basename(each) for each in subfolders(path)]
