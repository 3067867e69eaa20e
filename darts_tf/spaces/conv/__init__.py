"""Convolutional cells: candidate operations, search and derived cells, networks."""

from darts_tf.system import keras_settings

keras_settings.check_backend()  # before a module of this package imports Keras
