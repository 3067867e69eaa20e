"""The binaries: each parses flags, builds a config and makes one library call."""

from darts_tf.bin import _interrupt

_interrupt.install()  # first of all, since the imports that follow take a while
