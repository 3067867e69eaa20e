"""Modules under their names from version 0.1, for code written against it."""

import importlib
import importlib.abc
import importlib.machinery
import sys

MOVED = {
    "conv": "spaces.conv",
    "recurrent": "spaces.recurrent",
    "genotype": "genotypes",
    "presets": "config.presets",
    "visualize": "genotypes.drawing",
}


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `darts_tf.OLD`, and its contents, as the same module object as `darts_tf.NEW`."""

    def find_spec(self, fullname, path=None, target=None):
        root, _, rest = fullname.partition(".")
        old, _, inner = rest.partition(".")
        if root != "darts_tf" or old not in MOVED:
            return None
        state = ".".join(filter(None, (root, MOVED[old], inner)))
        return importlib.machinery.ModuleSpec(fullname, self, loader_state=state)

    def create_module(self, spec):
        module = importlib.import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # the import has replaced it by ours


def register() -> None:
    """Makes the old names importable."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())  # before finders that would load the same file as another module
