"""Export of trained networks to servers and devices, and a client; imported as `darts_tf.export`."""

from darts_tf.system import callable_module, keras_settings

callable_module.make(__name__)  # `darts_tf.export(...)`
keras_settings.check_backend()  # before a module of this package imports TensorFlow
