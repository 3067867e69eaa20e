"""Genotypes: types, written forms, published cells, derivation from alphas. Import them from here.

`cells` has the types, `text` the written forms, `published` the published cells, `topology` the edges of a cell and
`selection` the rule that turns alphas into cells; this module finds, reads and saves them. None of them needs
TensorFlow.
"""

import dataclasses
import json
import os
import pathlib
import re
from typing import Any

from darts_tf.genotypes import foreign as genotype_foreign
from darts_tf.genotypes import published
from darts_tf.genotypes import text as genotype_text
from darts_tf.genotypes.cells import (
    CONV_PRIMITIVES,
    RECURRENT_PRIMITIVES,
    ConvGenotype,
    Genotype,
    RecurrentGenotype,
)
from darts_tf.genotypes.checks import choices
from darts_tf.genotypes.nasbench201 import NASBENCH201_PRIMITIVES, NasBench201Genotype
from darts_tf.genotypes.selection import derive
from darts_tf.genotypes.text import show
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path, write_atomically

__all__ = [
    "CONV_PRIMITIVES",
    "KINDS",
    "NASBENCH201_PRIMITIVES",
    "RECURRENT_PRIMITIVES",
    "ConvGenotype",
    "Genotype",
    "NasBench201Genotype",
    "RecurrentGenotype",
    "derive",
    "from_json",
    "load",
    "names",
    "parse",
    "save",
]

KINDS: dict[str, type[Genotype]] = {each.kind: each for each in (ConvGenotype, RecurrentGenotype, NasBench201Genotype)}
"""The genotypes of all search spaces by their kind; `spaces.add` adds to them."""

_PUBLISHED = {"conv": published.CONV, "recurrent": published.RECURRENT}  # kind -> name -> text


def from_json(fields: dict[str, Any]) -> Genotype:
    """A genotype of the kind that its field names indicate; see `ConvGenotype.from_json`.

    Forms of other projects are also accepted, see `genotype_foreign`.

    Example:
        >>> import darts_tf
        >>> genotype = darts_tf.genotype.load("DARTS_V2")
        >>> darts_tf.genotype.from_json(genotype.to_json()) == genotype
        True
    """
    return _of_fields(genotype_foreign.plain(fields))


def parse(text: str) -> Genotype:
    """Reads a genotype from its text form or from JSON text; nothing in the text is evaluated.

    Args:
        text: `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=..., reduce_concat=...)`,
            `Genotype(recurrent=[('sigmoid', 0), ...], concat=range(1, 9))`, the string of a NAS-Bench-201 cell, or
            `to_json`'s result as JSON. Also the line of a log that holds one, a Python file with one, and the forms of
            `genotype_foreign`.

    Raises:
        UserError: The text is not a genotype; the message says why in one line.

    Example:
        >>> import darts_tf
        >>> darts_tf.genotype.parse("Genotype(recurrent=[('relu', 0)], concat=[1])").concat
        (1,)
    """
    fields = genotype_foreign.plain(genotype_text.read(text))
    if not isinstance(fields, dict):
        raise UserError(f"a genotype in JSON must be an object with named fields. Received: {show(fields)}")
    return _of_fields(fields)


def names(kind: str | None = None) -> list[str]:
    """Names of the published genotypes of one kind, `"conv"` or `"recurrent"`, or of all for None.

    Example:
        >>> import darts_tf
        >>> darts_tf.genotype.names("recurrent")
        ['DARTS', 'DARTS_V1', 'DARTS_V2', 'ENAS']
    """
    return sorted(set().union(*(_PUBLISHED.get(key, {}) for key in _kinds(kind))))


def load(spec: str | os.PathLike | Genotype, kind: str | None = None) -> Genotype:
    """Finds a genotype by name, in a file, in a search's work directory, or in the given text.

    Args:
        spec: A published name such as `DARTS_V2`; the path of a file with JSON or the text form; the path of a work
            directory that holds `genotype.json`; what `parse` reads; its fields in a dictionary or a namedtuple; for
            the kind `nasbench201` a cell's number in the benchmark; or a genotype, which is returned as is.
        kind: A key of `KINDS` to accept only that kind. None accepts any; for a name shared by an image cell and a
            recurrent cell it takes the image cell.

    Raises:
        UserError: Nothing has that name, the file holds no genotype, or it is of another kind.
        OSError: A file that exists cannot be read.

    Example:
        >>> import darts_tf
        >>> darts_tf.genotype.load("DARTS_V2").reduce[0]
        ('max_pool_3x3', 0)
    """
    kinds = _kinds(kind)
    if isinstance(spec, Genotype):
        found = spec
    elif isinstance(spec, os.PathLike):
        found = _load_file(user_path(spec, "genotype"))
    elif isinstance(spec, dict) or hasattr(spec, "_asdict"):
        found = from_json(spec if isinstance(spec, dict) else spec._asdict())
    elif not isinstance(spec, str):
        raise UserError(f"a genotype must be given as a name, a path or text. Received: {show(spec)}")
    else:
        order = [*kinds, *KINDS]  # a genotype of another kind is refused below, with a message that says so
        tables = [_PUBLISHED.get(key, {}) for key in order]
        cells = next((table[spec] for table in tables if spec in table), None)
        found = _load_text(spec, kind) if cells is None else parse(cells)
    if found.kind not in kinds:
        known = f"; published {kind} ones are {', '.join(names(kind))}" if names(kind) else ""
        raise UserError(f"expected a {kind} genotype. Received: a {found.kind} genotype from {show(spec)}{known}")
    return found


def save(genotype: Genotype, path: str | os.PathLike) -> pathlib.Path:
    """Writes a genotype as JSON; the file is complete or absent. Returns the path. Raises OSError as `open` does.

    Example:
        >>> import darts_tf
        >>> genotype = darts_tf.genotype.load("DARTS_V2", "recurrent")
        >>> path = darts_tf.genotype.save(genotype, "mine.json")
        >>> darts_tf.genotype.load(path) == genotype
        True
    """
    return write_atomically(user_path(path, "path"), json.dumps(genotype.to_json(), indent=1) + "\n")


def _of_fields(fields):
    """Reads fields as a genotype of the kind that shares most of their names, or as an image cell if none does."""

    def shared(kind):
        return len(set(fields) & {field.name for field in dataclasses.fields(kind)})

    kind = max(KINDS.values(), key=shared) if isinstance(fields, dict) else ConvGenotype
    return kind.from_json(fields)


def _load_text(spec, kind):
    if not spec.strip() or re.match(r"\s*\{|\s*(\w+\s*=\s*)?Genotype\s*\(", spec) or re.search(r"\|\w+~\d", spec):
        return parse(spec)
    path = None if "\0" in spec else user_path(spec, "genotype")
    try:
        exists = path is not None and path.exists()
    except OSError:  # too long for a path
        exists = False
    if exists:
        return _load_file(path)
    if re.search(r"[({\[]", spec):
        return parse(spec)
    if kind == NasBench201Genotype.kind and spec.strip().isdecimal():
        return NasBench201Genotype.of_index(int(spec))
    raise UserError(f"{show(spec)} is neither a published genotype nor a file{choices(spec, names(kind))}")


def _load_file(path):
    path = path / "genotype.json" if path.is_dir() else path
    if not path.exists():
        if (path.parent / "metrics.jsonl").exists():
            raise UserError(
                f"The run in {path.parent} has no genotype yet: expected a finished search. Resume it, or use a "
                "genotype in its folder genotypes."
            )
        raise UserError(
            f"{path} does not exist; expected a genotype's file, or a search's folder that holds genotype.json"
        )
    with open(path, "rb") as file:
        data = file.read(genotype_text.MAX_CHARS * 4 + 1)
    try:
        return parse(data.decode())
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; expected a genotype as JSON or in the text form") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _kinds(kind):
    if kind is not None and kind not in KINDS:
        raise UserError(f"kind: unknown kind {show(kind)}{choices(str(kind), list(KINDS))}")
    return list(KINDS) if kind is None else [kind]
