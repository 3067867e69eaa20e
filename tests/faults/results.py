"""What a run has found and what it has left on disk, as one mapping that two runs can be compared by."""

import hashlib
import io
import json
import pathlib
import zipfile

import h5py
import numpy as np
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

CLOCKS = {"seconds", "created"}  # names of what a clock decides


def found(folder):
    """Maps the name of every file below a folder to what it holds, but for clocks and for how bytes are arranged.

    Since the names are in it, a temporary file that was left behind is a difference, too.
    """
    folder, result, events = pathlib.Path(folder), {}, []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if ".tfevents." in name:  # one for each start
            events.append(path)
        elif path.name not in (".lock", "fingerprint.pb"):  # the latter is drawn by lot
            result[name] = _content(path)
    if events:
        result["tensorboard"] = _scalars(events)
    return result


def differences(expected, came):
    """Returns the names of what differs, each with how."""
    lines = [f"{name} is missing" for name in expected.keys() - came.keys()]
    lines += [f"{name} is there" for name in came.keys() - expected.keys()]
    return sorted(lines + [f"{name} differs" for name in expected.keys() & came.keys() if expected[name] != came[name]])


def _content(path):
    if path.suffix == ".json":
        return _without_clocks(json.loads(path.read_bytes()))
    if path.suffix == ".jsonl":
        return [_without_clocks(json.loads(line)) for line in path.read_bytes().splitlines()]
    if path.suffix == ".npz" and path.parent.name == "checkpoints":
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        metadata = _without_clocks(json.loads(members.pop("metadata.json")))
        return metadata, {name: _digest(data) for name, data in members.items()}
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json")), _weights(archive.read("model.weights.h5"))
    if path.name == "model_card.md":  # says when it was exported
        return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("Exported on ")]
    return _digest(path.read_bytes())


def _digest(data):
    return hashlib.sha256(data).hexdigest()


def _weights(data):
    """The arrays of an HDF5 file: the file itself has dates in it."""
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = _digest(np.ascontiguousarray(item[()]).tobytes())

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(visit)
    return arrays


def _without_clocks(value):
    if isinstance(value, dict):
        return {name: _without_clocks(each) for name, each in value.items() if name not in CLOCKS}
    return [_without_clocks(each) for each in value] if isinstance(value, list) else value


def _scalars(paths):
    """Every summary of the event files by its epoch and name; the same one twice counts once."""
    values = {}
    for path in paths:
        for record in RawEventFileLoader(str(path)).Load():  # up to an end that a kill has torn
            event = Event.FromString(record)
            for value in event.summary.value:
                if value.tag not in CLOCKS:
                    values.setdefault((event.step, value.tag), set()).add(_digest(value.tensor.SerializeToString()))
    return values
