"""DARTS: softmax of the alphas, no noise, no penalty; every node keeps its strongest edges.

Reference: Liu, Simonyan and Yang, DARTS, arXiv:1806.09055.
"""

from darts_tf.methods.method import Method


class Darts(Method):
    """The method of the paper: equation 2 and section 2.4, see `Method` for each."""
