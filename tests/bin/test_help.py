"""`--help`: every flag that a preset has, in groups, with the preset's values."""

import dataclasses
import itertools
import re

import pytest
from absl import flags

from darts_tf.bin import (
    _flags,
    _help,
    benchmark,
    evaluate,
    export,
    predict,
    protocol,
    report,
    search,
    train,
    tune,
    visualize,
)
from darts_tf.config import fields, presets
from darts_tf.config.language import LanguageTrainConfig
from darts_tf.config.tuning import Tune

BINARIES = {"darts-search": search, "darts-train": train, "darts-tune": tune, "darts-protocol": protocol}
OTHERS = (benchmark, evaluate, export, predict, report, visualize)
CASES = [(name, preset) for name, binary in BINARIES.items() for preset in presets.names(binary.SETTINGS.kinds)]
HEADINGS = ["Common flags", "Presets", *(group.capitalize() for group in fields.GROUPS)]


def page(binary, *arguments, capsys):
    assert binary.main([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def rows(text):
    """The flags of a page: name -> its text, in one line."""
    found = re.findall(r"^  --(?:\[no\])?(\w+)(?:=\.\.\.)?(?:, -h)?(?=\s)(.*(?:\n {12,}.*)*)", text, re.MULTILINE)
    assert len(found) == len(dict(found)), "a flag is shown twice"
    return {name: " ".join(words.split()) for name, words in found}


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_a_page_has_the_flags_and_values_of_its_preset(name, preset, capsys):
    binary, config = BINARIES[name], presets.get(preset).config
    text = page(binary, f"--preset={preset}", capsys=capsys)
    shown, own = rows(text), {"preset", "workdir", "help"} | ({"unrolled"} & set(_values(binary)))
    settings = {field.name: field for field in dataclasses.fields(config)}
    if binary is tune:
        own |= {"search"} | {field.name for field in dataclasses.fields(Tune)}
        del settings["genotype"]
    assert shown.keys() == settings.keys() | own
    for each, field in settings.items():
        value = _help.shown(getattr(config, each))
        assert shown[each] == field.metadata["help"] + (f" ({value})" if value else ""), each
    assert shown["preset"].endswith(f"({preset})")
    assert shown["workdir"].endswith("(runs/tune)" if binary is tune else f"(runs/{preset})")
    headings = re.findall(r"^(\w[\w ]{0,25}):$", text, re.MULTILINE)
    assert headings == [each for each in HEADINGS if each in headings] and headings[:2] == HEADINGS[:2]
    for group, its in itertools.groupby(sorted(settings, key=_group(settings)), _group(settings)):
        section = text.split(f"\n{group.capitalize()}:\n")[1].split("\n\n")[0]
        assert rows(section).keys() >= set(its)
    for kind in binary.SETTINGS.kinds:
        hint = f"Flags of {kind.title}: {name} --preset={presets.names(kind)[0]} --help"
        assert (hint in text) == (not isinstance(config, kind))
    assert all(f"{each} " in text and presets.get(each).about in " ".join(text.split()) for each in _names(binary))


def _group(settings):
    return lambda name: "common flags" if name in _flags.COMMON else settings[name].metadata["group"]


def _names(binary):
    return presets.names(binary.SETTINGS.kinds)


def _values(binary):
    values = flags.FlagValues()
    binary.main.define_flags(values)
    return values


@pytest.mark.parametrize("binary", BINARIES.values())
def test_without_a_preset_a_page_has_the_default_ones_values(binary, capsys):
    assert page(binary, capsys=capsys) == page(binary, f"--preset={binary.SETTINGS.default_preset}", capsys=capsys)
    with pytest.raises(SystemExit) as stop:
        binary.main(["--preset=smoke_tran", "--help"])
    error = capsys.readouterr().err
    assert stop.value.code == 1 and "no such preset" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("config", [*dict.fromkeys(type(each.config) for each in presets.PRESETS.values()), Tune])
def test_every_setting_has_a_group_and_its_text_names_its_choices(config):
    for field in dataclasses.fields(config):
        assert field.metadata["group"] in fields.GROUPS
        check = field.metadata["check"]
        for choice in check.choices if check else ():
            assert re.search(rf"\b{choice}\b", field.metadata["help"]), (field.name, choice)
    with pytest.raises(ValueError, match="group must be one of data, network, .*Received: 'nothing'"):
        fields.in_group("nothing")
    changed = fields.changed(LanguageTrainConfig, "num_units", 7)
    assert (changed.default, changed.metadata["group"]) == (7, "network")


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
@pytest.mark.parametrize("binary", [*BINARIES.values(), *OTHERS])
def test_a_page_is_as_wide_as_the_terminal_and_its_columns_are_aligned(binary, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = page(binary, capsys=capsys)
    assert max(map(len, text.splitlines())) <= min(max(columns, 60), 100)
    texts = {len(match[0]) for match in re.finditer(r"^  --[^\s,]+(, -h)? +(?=\S)", text, re.MULTILINE)}
    texts |= {len(match[0]) for match in re.finditer(r"^ {5,}", text, re.MULTILINE)}
    assert len(texts) == 1
    assert rows(text).keys() >= {"help"} and "preset's" not in text


def test_flags_that_are_too_long_and_texts_that_name_no_choice():
    values = flags.FlagValues()
    flags.DEFINE_enum("e", None, ["a1", "b1"], "what", flag_values=values)
    flags.DEFINE_float("a_name_that_is_longer_than_the_column", 2.0, "text", flag_values=values)
    assert _help.row(values["e"], ("x", "y")) == ("--e=...", "a1, b1: what (x, y)")
    row = _help.row(values["a_name_that_is_longer_than_the_column"], 2.0)
    assert row[1] == "text (2)"
    assert _help.page(["", ("Flags", [row])]).splitlines()[2] == " " * 32 + "text (2)"
