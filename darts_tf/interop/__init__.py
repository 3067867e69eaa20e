"""Loads weights of the original PyTorch networks into ours, and returns ours under the original's names."""

from darts_tf.interop.conv import load, load_arrays, slots, to_arrays

__all__ = ["load", "load_arrays", "slots", "to_arrays"]
