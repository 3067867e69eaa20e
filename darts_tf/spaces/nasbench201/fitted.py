"""The network of a NAS-Bench-201 cell as `fit` trains it."""

import keras

from darts_tf.spaces.conv.fitted import Classifier
from darts_tf.spaces.nasbench201.networks import NasBench201Network


@keras.saving.register_keras_serializable(package="darts_tf")
class FittedNasBench201Network(Classifier, NasBench201Network):
    """A `NasBench201Network` for `fit`, see `Classifier`."""
