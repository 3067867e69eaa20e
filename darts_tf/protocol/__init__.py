"""The whole experiment around a search: searches, selection, evaluation, and random search at equal cost."""

from darts_tf.system import callable_module

callable_module.make(__name__)  # `darts_tf.protocol(...)`
