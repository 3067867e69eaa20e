"""Registers the networks with Keras, so that `load_model` finds them after `import darts_tf` alone.

A `.keras` file names a class, and Keras looks it up among the registered ones. Registration happens where the class is
defined; importing that here would import TensorFlow. So Keras gets a stand-in for each network, which imports the class
when a file needs it: immediately if Keras is already imported, otherwise as soon as it is.
"""

import importlib
import importlib.abc
import sys
from typing import Any

PACKAGE = "darts_tf"
NETWORKS = {
    "CifarNetwork": "darts_tf.spaces.conv.derived",
    "ImageNetNetwork": "darts_tf.spaces.conv.derived",
    "ConvSupernet": "darts_tf.spaces.conv.networks",
    "NasBench201Network": "darts_tf.spaces.nasbench201.networks",
    "NasBench201Supernet": "darts_tf.spaces.nasbench201.networks",
    "RecurrentNetwork": "darts_tf.spaces.recurrent.networks",
    "RecurrentSupernet": "darts_tf.spaces.recurrent.networks",
    "FittedNetwork": "darts_tf.spaces.conv.fitted",
    "FittedImageNetNetwork": "darts_tf.spaces.conv.fitted",
    "FittedNasBench201Network": "darts_tf.spaces.nasbench201.networks",
    "FittedLanguageModel": "darts_tf.tuner.hypermodel",
}


def register() -> None:
    """Registers the networks with Keras as soon as it is imported."""
    keras = sys.modules.get("keras")
    if hasattr(keras, "saving"):
        _register(keras)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _register(keras):
    known = keras.saving.get_custom_objects()
    for name, module in NETWORKS.items():
        known.setdefault(f"{PACKAGE}>{name}", _stand_in(name, module))  # replaced by the class once it is defined


def _stand_in(name, module):
    def from_config(config):
        return getattr(importlib.import_module(module), name).from_config(config)

    return type(name, (), {"from_config": staticmethod(from_config)})


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: registers the networks at the end of the import of Keras."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module):
                execute(module)
                _register(module)

            loader.exec_module = exec_module
        return spec
