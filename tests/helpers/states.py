"""States of a run that can be told from their step alone."""

import numpy as np


def state(step, size=1000):
    """A state that can be told from its step alone, so that a mixture of two is noticed."""
    random_state = np.random.RandomState(step)
    return {
        "weights/0": random_state.randn(size).astype(np.float32),
        "alphas": random_state.randn(14, 8),
        "step": np.int64(step),
        "empty": np.zeros((0, 3), np.float32),
        "name": np.array("näme"),
        "flags": np.array([True, False]),
    }


def assert_is_state(checkpoint, step, size=1000):
    assert checkpoint.step == step and checkpoint.metadata == {"epoch": step, "history": [0.5, None]}
    expected = state(step, size)
    assert checkpoint.arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert checkpoint.arrays[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(checkpoint.arrays[name], array)


def save(checkpoints, step, size=1000):
    return checkpoints.save(step, state(step, size), {"epoch": step, "history": [0.5, None]})
