"""A page about runs: one self-contained HTML file from their work directories. Needs no TensorFlow."""

from darts_tf.report.page import write_report
from darts_tf.system import callable_module

__all__ = ["write_report"]

callable_module.make(__name__)  # `darts_tf.report(...)`
