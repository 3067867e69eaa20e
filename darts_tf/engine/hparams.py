"""The runs of a tuning or a protocol in TensorBoard's HParams: one row each, with its settings and its result."""

import collections
import io
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from darts_tf import genotypes
from darts_tf.system.errors import UserError
from darts_tf.system.files import parse_json, write_atomically

_FILE = "events.out.tfevents.0.hparams"  # one per run, written as a whole
_ALWAYS = ("epochs", "batch_size", "learning_rate", "init_channels", "num_cells", "num_units", "seed")
_NEVER = {"kind", "genotype", "data_dir", "threads", "tensorboard"}
_Value = bool | int | float | str


class Entry(NamedTuple):
    """A run.

    Attributes:
        name: Its directory, relative to that of the tuning or protocol, such as `trials/001`.
        results: Numbers by name, None for an unknown one; None in place of all if the run has failed.
        settings: Settings that its `config.json` lacks, or has with other values.
    """

    name: str
    results: Mapping[str, float | None]
    settings: Mapping[str, _Value] = {}


def write_hparams(directory: pathlib.Path, entries: Sequence[Entry]) -> None:
    """Writes an event file for each run into `tensorboard/` of the tuning or protocol; earlier ones are replaced.

    The settings are the usual ones, those in which runs of one kind differ, and how often each operation occurs in the
    cells.

    Args:
        directory: Directory of the tuning or protocol.
        entries: The runs.

    Raises:
        OSError: A file cannot be written.
    """
    for entry, settings in zip(entries, settings_of(directory, entries), strict=True):
        path = directory / "tensorboard" / entry.name
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / _FILE, _events(entry, settings))


def settings_of(directory: pathlib.Path, entries: Sequence[Entry]) -> list[dict[str, _Value]]:
    """Returns what HParams shows for each run in addition to its results, see `write_hparams`."""
    configs = [_config(directory / entry.name) | dict(entry.settings) for entry in entries]
    kinds = collections.defaultdict(list)
    for config in configs:
        kinds[config.get("kind")].append(config)
    differ = {kind: _differing(alike) for kind, alike in kinds.items()}
    cells = [_operations(directory / entry.name, config) for entry, config in zip(entries, configs, strict=True)]
    known = sorted({name for each in cells for name in each})
    return [
        {"stage": str(pathlib.PurePosixPath(entry.name).parent)}
        | {key: config[key] for key in config if key in {*_ALWAYS, *differ[config.get("kind")], *entry.settings}}
        | ({name: cell.get(name, 0) for name in known} if cell else {})
        for entry, config, cell in zip(entries, configs, cells, strict=True)
    ]


def _config(path):
    """The settings of a run that HParams can show, if any."""
    try:
        found = parse_json((path / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, _Value)} if isinstance(found, dict) else {}


def _differing(configs: Sequence[dict]) -> set[str]:
    keys = set().union(*configs) - _NEVER
    return {key for key in keys if len({config[key] for config in configs if key in config}) > 1}


def _operations(path, config):
    """How often each operation occurs in each cell of a run, by description; empty if its cells are unknown."""
    try:
        file = path / "genotype.json"
        found = genotypes.load(file if file.exists() else config["genotype"], kind=config.get("space", "conv"))
    except (UserError, OSError, KeyError, TypeError):
        return {}
    chosen = [f"{cell} {operation}" for cell in found.cells for operation, _ in getattr(found, cell)]
    return dict(collections.Counter(chosen))


def _events(entry: Entry, settings: dict[str, _Value]) -> bytes:
    """Returns the content of an event file: when the run began, its numbers, how it ended."""
    # Only those parts of TensorBoard that do not load TensorFlow, since a protocol does not need it.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    now, content = time.time(), io.BytesIO()
    numbers = {name: float(value) for name, value in entry.results.items() if value is not None}
    status = api_pb2.STATUS_SUCCESS if numbers else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.HParamsPluginData(
        session_end_info=plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=now)
    )
    about = metadata.create_summary_metadata(end)
    ended = Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    summaries = [
        summary_v2.hparams_pb(settings, trial_id=entry.name, start_time_secs=now - numbers.get("seconds", 0.0)),
        *(scalar_pb(name, value) for name, value in numbers.items()),
        Summary(value=[ended]),
    ]
    writer = RecordWriter(content)
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in summaries:
        writer.write(Event(wall_time=now, summary=summary).SerializeToString())
    return content.getvalue()
