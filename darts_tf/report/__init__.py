"""A page about runs: one self-contained HTML file from their work directories. No TensorFlow here."""

from darts_tf.report.page import write_report

__all__ = ["write_report"]
