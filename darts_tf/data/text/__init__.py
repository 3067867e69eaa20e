"""Texts: corpora, vocabularies, windows."""
