"""The floating-point type that Keras makes variables of."""

import contextlib

import keras


@contextlib.contextmanager
def in_type(name):
    """Lets Keras make variables of a type; afterwards its default is what it was."""
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)  # Keras keeps it from the first layer on, whatever floatx says later
    try:
        yield name
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(policy)
