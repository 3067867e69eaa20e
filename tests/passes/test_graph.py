"""Graphs are let go when nothing needs them any more."""

import gc
import io

import tensorflow as tf

from darts_tf.config import presets
from darts_tf.passes import graph
from darts_tf.tasks.search import search
from tests.helpers.cases import STEPS


def graphs():
    """The graphs of functions that are alive."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each).__name__ == "FuncGraph"}


def test_steps_leave_no_graphs():
    before = graphs()
    for name in ("recurrent-darts-exact", "nasbench201-drnas,pc_darts-first"):
        with graph.gradients_let_go():
            step, arguments = STEPS[name]()
            tf.function(lambda step=step, arguments=arguments: step(*arguments), autograph=False)()
        assert graphs() - before
        del step, arguments
        assert graphs() <= before, name


def test_a_search_leaves_no_graphs(tmp_path):
    before = graphs()
    small = {"epochs": 1, "order": "first", "num_nodes": 1, "eigenvalue": False, "tensorboard": False}
    assert search(presets.get("smoke").config.replace(**small), tmp_path, io.StringIO()) is not None
    assert graphs() <= before


def test_a_constant_is_made_once_in_a_graph():
    with tf.Graph().as_default() as made:
        one, other = graph.integers((1, 2)), graph.integers((1, 2))
        assert one is other or one.name == other.name
        assert len(made.get_operations()) == 1
        assert graph.constant(0.0, (2,), tf.float32).name != graph.constant(0.0, (2,), tf.float64).name
