"""Keras callbacks for networks that `darts_tf.build` makes and `fit` trains."""

from darts_tf.callbacks.drop_path import DropPathSchedule

__all__ = ["DropPathSchedule"]
