"""Convolutional cells: candidate operations, search and derived cells, networks."""
