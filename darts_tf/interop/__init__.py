"""Weights of the original PyTorch networks in ours, and ours under the original's names."""

from darts_tf.interop.conv import load, load_arrays, slots, to_arrays

__all__ = ["load", "load_arrays", "slots", "to_arrays"]
