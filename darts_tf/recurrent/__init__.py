"""Recurrent cells: activations, search and derived cells, language models."""
