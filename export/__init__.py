"""Export of trained networks to servers and devices, and a client; imported as `darts_tf.export`."""

from darts_tf.system import keras_settings

keras_settings.check_backend()  # before a module of this package imports TensorFlow
