"""The whole experiment around a search: searches, selection, evaluation, and random search at equal cost."""
