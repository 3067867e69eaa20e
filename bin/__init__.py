"""The commands: each parses flags, builds a config and makes one library call."""

from darts_tf.bin import _interrupt

_interrupt.install()  # first, since the following imports take a while
