"""Real binaries that are hurt: killed, stopped, robbed of their disk. `python -m tests.faults --kills=30` is the whole.

`kinds` has the command lines, `processes` starts and hurts them, `results` says what a run has found, `siege` kills
until it is enough. `tests/test_faults.py` has the quick part.
"""
