"""Modules under the names of version 0.1."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("conv.operations", "spaces.conv.operations"),
        ("conv.derived", "spaces.conv.derived"),
        ("recurrent.networks", "spaces.recurrent.networks"),
        ("genotype", "genotypes"),
        ("presets", "config.presets"),
        ("visualize", "genotypes.drawing"),
    ],
)
def test_an_old_name_is_the_same_module(old, new):
    module = importlib.import_module(f"darts_tf.{old}")
    assert module is importlib.import_module(f"darts_tf.{new}") and module.__spec__.name == f"darts_tf.{new}"
