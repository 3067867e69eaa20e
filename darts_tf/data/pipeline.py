"""What all pipelines of `tf.data` have in common here."""

import tensorflow as tf

unconverted = tf.autograph.experimental.do_not_convert
"""For functions of a pipeline: AutoGraph's files for them in the system's temporary folder outlive a kill."""


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the data set without autotuning; `tf.data.AUTOTUNE` then stands for one call per core.

    The autotuner's thread sleeps twice as long each time, up to a minute, and to delete an iterator is to wait for it:
    on a busy machine it misses that it was told to end. So a run would wait at its end for as long as it took.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
