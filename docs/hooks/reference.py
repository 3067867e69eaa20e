"""What the reference says of the command line and of the presets, made from the code."""

import dataclasses
import re
from collections.abc import Iterator

from darts_tf.bin import benchmark, evaluate, export, predict, protocol, report, search, train, tune, visualize
from darts_tf.config import presets
from darts_tf.config.tuning import Tune

BINARIES = (search, train, evaluate, export, predict, report, visualize, tune, protocol, benchmark)


def filled(markdown: str) -> str:
    """The text of a page with what its markers, `<!-- generated: NAME -->`, stand for."""
    for name, generate in {"command line": command_line, "presets": all_presets}.items():
        marker = f"<!-- generated: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, "\n".join(generate()))
    return markdown


def command_line() -> Iterator[str]:
    """A section for each binary: what it does, and its flags with the values of its usual preset or suite."""
    for module in BINARIES:
        command, choices = module.main, _choices(module)
        name = command.name
        known: set[str] = set()
        yield f"## {name}\n"
        for index, arguments in enumerate(choices):
            values = command.defined()
            command.parse(values, arguments)
            parts = command.page(values)
            if len(choices) > 1:
                yield f"### {' '.join([name, *arguments])}\n" if index else ""
            paragraphs = [part for part in parts if isinstance(part, str) and part.strip()]
            yield from (f"{_text(part)}\n" for part in (paragraphs[1:] if not index else paragraphs[-2:-1]))
            for heading, rows in (part for part in parts if not isinstance(part, str)):
                rows = [row for row in rows if row not in known]
                known.update(rows)
                if rows and heading != "Presets":
                    yield from _table(heading, rows)


def all_presets() -> Iterator[str]:
    """A section for each preset: what it is for, its command, where it comes from, its cost, result and settings."""
    for preset in presets.PRESETS.values():
        yield f"## {preset.name}\n\n{_text(preset.about[0].upper() + preset.about[1:])}.\n"
        yield f"```bash\n{preset.command}\n```\n"
        yield from (f"{name}\n:   {_text(getattr(preset, name.lower()))}\n" for name in ("Source", "Cost", "Expected"))
        settings = [f"`{each}`" for each in _settings(preset.config)]
        yield f"Settings that differ from the defaults\n:   {', '.join(settings) if settings else 'none'}\n"


def _settings(config):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            form = {True: f"--{field.name}", False: f"--no{field.name}"}
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            yield form[value] if isinstance(value, bool) else f"--{field.name}={shown}"


def _choices(module):
    """The command lines whose help together has every flag of a binary: one for each kind of run or suite."""
    if module is benchmark:
        return [[suite] for suite in benchmark.ABOUT]
    kinds = module.SETTINGS.kinds if hasattr(module, "SETTINGS") else ()
    kinds = [kind for kind in kinds if not issubclass(kind, Tune)]  # its flags are those of a training, and its own
    return [[f"--preset={presets.names(kind)[0]}"] if index else [] for index, kind in enumerate(kinds)] or [[]]


def _table(heading, rows):
    yield f"**{heading}**\n\n| | |\n|---|---|"
    for form, text in rows:
        text = _text(text).replace("settings to start from; see below", "one of the [presets](presets.md)")
        yield f"| `{form}` | {text} |"
    yield ""


def _text(text):
    """Plain text as Markdown, also inside a table; flags are code, and what stands between backticks is already."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    parts[::2] = [re.sub(r"(?<![\w-])(--\w+(=\w+|=\.\.\.)?)", r"`\1`", part) for part in parts[::2]]
    parts = "`".join(parts).split("`")
    parts[::2] = [re.sub(r"([\\*_<>])(?!\|)", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
