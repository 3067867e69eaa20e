"""Differentiable architecture search (DARTS, arXiv:1806.09055) for TensorFlow and Keras 3."""

__version__ = "0.1.0"
