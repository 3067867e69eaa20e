"""The version, in the one place that says it; `setup.py` reads it here."""

__version__ = "0.2.0"
