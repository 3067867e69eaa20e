"""The whole experiment around a search: searches, selection, evaluation, and random search as the baseline."""
