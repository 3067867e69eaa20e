"""Changes of settings, written as `name=value`."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypeVar

from darts_tf.config.fields import Config
from darts_tf.system.errors import UserError

Settings = TypeVar("Settings", bound=Config)
_BOOLS = {"true": True, "false": False}


def changed(config: Settings, field: str, items: Iterable[str], reserved: Mapping[str, str]) -> Settings:
    """Returns settings with some of them changed.

    Args:
        config: The settings.
        field: Source of the changes; messages begin with it.
        items: Each `name=value`; an item without `=` continues the previous list, as in
            `("primitives=none", "skip_connect")`, which is how a command line splits a list with commas.
        reserved: Names that cannot be changed here, each with the setting that determines it.

    Raises:
        UserError: There is no such name, or the settings refuse a value; one line.
    """
    texts = {}
    for item in items:
        name, equals, value = item.partition("=")
        if equals:
            texts[name] = [value]
        elif texts:
            texts[next(reversed(texts))].append(item)
        else:
            raise UserError(f"{field} must be name=value, comma separated. Received: {field}={item}")
    types = {each.name: each.type for each in dataclasses.fields(config)}
    for name in texts.keys() & reserved.keys():
        raise UserError(f"{field} cannot set {name}, which comes from {reserved[name]}. Received: {field}={name}=...")
    try:
        return config.replace(**{name: _value(types.get(name, str), parts) for name, parts in texts.items()})
    except UserError as error:
        raise UserError(f"{field}: {error}") from error


def _value(kind, parts):
    """The value of a text; the text itself if it cannot be parsed, so that the config refuses it."""
    text = ",".join(parts)
    if kind is tuple:
        return tuple(parts)
    if kind is bool:
        return _BOOLS.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text
