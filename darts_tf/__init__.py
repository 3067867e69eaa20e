"""Differentiable architecture search (DARTS, arXiv:1806.09055) for TensorFlow and Keras 3.

Names are imported when they are first used: `import darts_tf` is instant, and genotypes need no TensorFlow.
"""

import importlib

from darts_tf import keras_registry

__version__ = "0.1.0"

_TENSORFLOW = {"add_operation", "bilevel", "interop", "search", "train"}  # what needs it
_MODULES = ("bilevel", "genotype", "interop", "presets", "report", "visualize")
_NAMES = {
    "LanguageSearchConfig": "darts_tf.language_config",
    "LanguageTrainConfig": "darts_tf.language_config",
    "SearchConfig": "darts_tf.config",
    "TrainConfig": "darts_tf.config",
    "UserError": "darts_tf.errors",
    "add_operation": "darts_tf.conv.operations",
    "configure": "darts_tf.runtime",
    "search": "darts_tf.training.run",
    "train": "darts_tf.training.run",
}
__all__ = sorted([*_MODULES, *_NAMES])
keras_registry.register()


def __getattr__(name):
    """Imports a public name."""
    if name in _TENSORFLOW:
        importlib.import_module("darts_tf.keras_settings").check_backend()
    if name in _MODULES:
        return importlib.import_module(f"darts_tf.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'darts_tf' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
