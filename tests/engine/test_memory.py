"""The memory that is said to be needed before a run: counted by hand, measured, and what is advised where it lacks."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.config import SearchConfig, TrainConfig
from darts_tf.engine import memory
from darts_tf.engine.liveness import Liveness
from darts_tf.engine.memory import MB, Estimate
from darts_tf.system.free_memory import free_memory

KB = 1000  # 250 float32


def peak(function, *shapes, length=1):
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return Liveness(length).peak(tf.function(function, autograph=False).get_concrete_function(*specs))


@tf.function(autograph=False)
def doubled(x):
    return tf.concat([x, x], 0)


def accumulated(x):
    """A loop that keeps each turn's `(250,)` in a list."""
    states = tf.scan(lambda s, row: tf.tanh(s) + row, x, tf.zeros(250))
    return tf.reduce_sum(states)


def test_bytes_counted_by_hand():
    def twice(x):
        return tf.tanh(tf.concat([x, x], 0))

    assert peak(twice, (250,)) == 2 * KB  # tanh overwrites, and the argument is the caller's
    assert peak(lambda x: doubled(doubled(x)), (250,)) == 6 * KB
    assert peak(lambda x: tf.reshape(doubled(x), (2, 250)), (250,)) == 2 * KB

    def unused(x):
        doubled(doubled(doubled(x)))
        return tf.tanh(x)

    assert peak(unused, (250,)) == KB

    def together(x):
        parts = [tf.tile(x, [n]) for n in (1, 2, 3)]
        return tf.concat(parts, 0)

    assert peak(together, (250,)) == 12 * KB


def test_unknown_sizes_are_those_of_a_window():
    def flat(x):
        return tf.concat([tf.reshape(x, (-1, 5)), tf.zeros((1, 5))], 0)

    # (None, 10, 5) for a window of 50 is (500, 5) when it is flat.
    assert peak(flat, (None, 10, 5), length=50) == pytest.approx(10 * KB, rel=0.01)
    one, two = (peak(accumulated, (None, 250), length=n) for n in (100, 200))
    assert two - one == pytest.approx(2 * 100 * KB, rel=0.02)  # the list, and the tensor that it is stacked to


def test_what_a_backward_pass_keeps():
    def gradient(x, w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = x
            for _ in range(10):
                y = tf.tanh(y @ w)
            y = tf.reduce_sum(y)
        return tape.gradient(y, w)

    # Ten results of tanh, and of the products and gradients that come and go about four.
    assert 10 * 4 * 100 * 50 < peak(gradient, (100, 50), (50, 50)) < 15 * 4 * 100 * 50


def test_a_line_says_it_and_a_second_one_what_to_do(monkeypatch):
    concrete = tf.function(lambda: tf.tile(tf.zeros(MB), [40])).get_concrete_function()
    said, config = [], SearchConfig(batch_size=16, eigenvalue=False)
    variables = {"weights": [tf.Variable(tf.zeros(MB // 4))]}
    monkeypatch.setattr(memory, "free_memory", lambda: 10**12)
    memory.tell(said.append, concrete, variables, config)
    assert len(said) == 1 and said[0].startswith("memory: about ")
    assert "tensors 164 MB, weights and optimisers 1 MB" in said[0]
    monkeypatch.setattr(memory, "free_memory", lambda: 100 * MB)
    memory.tell(said.append, concrete, variables, config)
    assert said[2].startswith("warning: about 16") and "100 MB are free" in said[2]
    assert "less memory is needed with accumulate=2 or batch_size=9 in another work directory" in said[2]
    assert said[2].endswith("; recompute=True may help") and "\n" not in said[2]
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    memory.tell(said.append, concrete, variables, config)
    assert len(said) == 4


def test_only_what_would_fit_is_advised():
    found, config = Estimate(100 * MB, 5 * MB, 0), TrainConfig(batch_size=12, accumulate=2, recompute=True)
    # 30 MB are copies of the weights; of the 70 MB of the examples a third fits.
    line = memory.too_little(found, 100 * MB, 54 * MB, config)
    assert line.endswith("; less memory is needed with accumulate=6 or batch_size=4 in another work directory")
    assert memory.too_little(found, 100 * MB, 20 * MB, config).endswith("use a smaller network")
    config = config.replace(recompute=False)
    assert memory.too_little(found, 100 * MB, 20 * MB, config).endswith("are free; recompute=True may help")


def test_what_is_advised_is_accepted():
    found, config = Estimate(1000 * MB, 5 * MB, 0), TrainConfig(batch_size=96, accumulate=2, recompute=True)
    for replicas in (1, 3, 4):
        for free in range(50, 1000, 50):
            line = memory.too_little(found, 1000 * MB, free * MB, config, replicas)
            for name, value in re.findall(r"--(\w+)=(\d+)", line):
                changed = config.replace(**{name: int(value)})
                assert changed.batch_size % (changed.accumulate * replicas) == 0, line
    assert "batch_size=32 " in memory.too_little(found, 1000 * MB, 400 * MB, config, 4)


def test_the_eigenvalues_memory_is_told(monkeypatch):
    concrete = tf.function(lambda: tf.tile(tf.zeros(MB), [40])).get_concrete_function()
    variables = {"weights": [tf.Variable(tf.zeros(MB // 4))]}
    config, said = SearchConfig(batch_size=16, recompute=True), []
    for free in (10**12, 300 * MB, 164 * MB, 40 * MB):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: free)
        memory.tell(said.append, concrete, variables, config)
    assert "; with the eigenvalue's measurement about " in said[0]
    # 492 MB with it, 164 MB without; of the former 6 MB are copies of weights.
    assert said[2].startswith("warning: about 49") and "300 MB are free" in said[2]
    assert said[2].endswith("with eigenvalue=False, or accumulate=2 or batch_size=9 in another work directory")
    assert said[4].endswith("with accumulate=4 or batch_size=5 in another work directory; eigenvalue=False may help")
    assert len(said) == 7
    memory.tell(said.append, concrete, variables, config.replace(eigenvalue=False))
    assert "eigenvalue" not in said[7] + said[8]
    exact = memory.with_eigenvalue(Estimate(100, 1, 100), config.replace(hvp="exact"))
    assert exact == Estimate(150, 1, 165)


def test_free_memory_is_that_of_the_control_group(tmp_path, monkeypatch):
    assert free_memory() > 0
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * MB))
    assert free_memory(tmp_path / "none") == 4 * MB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert free_memory(tmp_path) == 4 * MB
    (tmp_path / "memory.max").write_text(f"{3 * MB}\n")
    (tmp_path / "memory.current").write_text(f"{MB}\n")
    assert free_memory(tmp_path) == 2 * MB
    (tmp_path / "memory.stat").write_text(f"anon 5\nfile {MB}\ninactive_file {MB // 2}\n")  # pages of files
    assert free_memory(tmp_path) == 2.5 * MB
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()  # the older interface
    (tmp_path / "memory/memory.limit_in_bytes").write_text(f"{3 * MB}\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text(f"{2 * MB}\n")
    (tmp_path / "memory/memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {MB}\n")
    assert free_memory(tmp_path) == 2 * MB
    (tmp_path / "memory/memory.usage_in_bytes").write_text(f"{5 * MB}\n")
    assert free_memory(tmp_path) == 0


def test_variables_count_by_their_type():
    concrete = tf.function(lambda: tf.zeros(1)).get_concrete_function()
    variables = {"a": [tf.Variable(np.zeros((3, 2), np.float32)), tf.Variable(0, dtype=tf.int64)]}
    assert memory.estimate(concrete, variables).variables == 24 + 8
