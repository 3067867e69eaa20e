"""Recurrent cells: activations, search and derived cells, language models."""

from darts_tf.system import keras_settings

keras_settings.check_backend()  # before a module of this package imports Keras
