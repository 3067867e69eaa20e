"""keras-tuner's lock of an oracle, which is freed whatever happens."""

import functools

import keras_tuner


def releasing(method):
    """As `keras_tuner.synchronized`, which keeps the lock for ever when what it guards raises."""

    @keras_tuner.synchronized
    def held(*arguments, **named):
        try:
            return method(*arguments, **named), None
        except BaseException as error:  # noqa: B036 (raised again, outside the lock)
            return None, error

    @functools.wraps(method)
    def guarded(*arguments, **named):
        result, error = held(*arguments, **named)
        if error is not None:
            raise error
        return result

    return guarded
