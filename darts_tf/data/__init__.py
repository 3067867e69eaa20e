"""Data: images, their augmentation, and the search split."""

from darts_tf.system import keras_settings

keras_settings.check_backend()  # before a module of this package imports TensorFlow
