"""Differentiable architecture search (DARTS, arXiv:1806.09055) for TensorFlow and Keras 3.

Names are imported on first use: `import darts_tf` is instant, and genotypes need no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from darts_tf.system import keras_registry, moved
from darts_tf.system.version import __version__ as __version__

if TYPE_CHECKING:  # what `__getattr__` imports, for type checkers and editors
    from darts_tf import applications, bilevel, callbacks, interop
    from darts_tf import genotypes as genotype
    from darts_tf.api.products import export, protocol, report, tune
    from darts_tf.api.results import SearchResult, TrainResult
    from darts_tf.api.runs import evaluate, load, search, train
    from darts_tf.applications.build import build
    from darts_tf.config import SearchConfig, TrainConfig, presets
    from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
    from darts_tf.genotypes import drawing as visualize
    from darts_tf.spaces.conv.operations import add_operation
    from darts_tf.system.errors import UserError
    from darts_tf.system.runtime import configure

# Names that need TensorFlow.
_TENSORFLOW = {"add_operation", "applications", "bilevel", "build", "callbacks", "evaluate", "export", "interop"}
_TENSORFLOW |= {"load", "search", "train", "tune"}
_MODULES = {
    "applications": "darts_tf.applications",
    "bilevel": "darts_tf.bilevel",
    "callbacks": "darts_tf.callbacks",
    "export": "darts_tf.export",
    "genotype": "darts_tf.genotypes",
    "interop": "darts_tf.interop",
    "presets": "darts_tf.config.presets",
    "protocol": "darts_tf.protocol",
    "report": "darts_tf.report",
    "visualize": "darts_tf.genotypes.drawing",
}
_NAMES = {
    "LanguageSearchConfig": "darts_tf.config.language",
    "LanguageTrainConfig": "darts_tf.config.language",
    "SearchConfig": "darts_tf.config",
    "SearchResult": "darts_tf.api.results",
    "TrainConfig": "darts_tf.config",
    "TrainResult": "darts_tf.api.results",
    "UserError": "darts_tf.system.errors",
    "add_operation": "darts_tf.spaces.conv.operations",
    "build": "darts_tf.applications.build",
    "configure": "darts_tf.system.runtime",
    "evaluate": "darts_tf.api.runs",
    "load": "darts_tf.api.runs",
    "search": "darts_tf.api.runs",
    "train": "darts_tf.api.runs",
    "tune": "darts_tf.api.products",
}
__all__ = ["LanguageSearchConfig", "LanguageTrainConfig", "SearchConfig", "TrainConfig", "UserError"]
__all__ += ["add_operation", "bilevel", "configure", "genotype", "interop", "presets", "report", "search", "train"]
__all__ += ["SearchResult", "TrainResult", "evaluate", "export", "load", "protocol", "tune", "visualize"]
__all__ += ["applications", "build", "callbacks"]
keras_registry.register()
moved.register()


def __getattr__(name: str) -> Any:
    """Imports a public name."""
    if name in _TENSORFLOW:
        importlib.import_module("darts_tf.system.keras_settings").check_backend()
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    closest = importlib.import_module("difflib").get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {closest[0]!r}?" if closest else ""
    raise AttributeError(f"module 'darts_tf' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
