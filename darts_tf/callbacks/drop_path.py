"""The schedule of drop path for `fit`."""

from darts_tf.system.keras_settings import keras
from darts_tf.genotypes.checks import is_integer
from darts_tf.system.errors import UserError


class DropPathSchedule(keras.callbacks.Callback):
    """Raises the probability of drop path linearly over the epochs, from 0 to the network's `drop_path`.

    In epoch e, counted from 0, it is `drop_path * e / epochs`, so the full probability is never quite reached. It is
    logged in each epoch as `drop_path`. It depends on the epoch only, so `fit` with `initial_epoch` continues the same
    schedule. After training the network has its constant rate again. The network may be a layer of the model that is
    trained.

    Args:
        epochs: Number of epochs over which it rises; None for those of `fit`.

    Raises:
        UserError: `epochs` is below 1; when training begins: the model has no drop path.

    Source: `cnn/train.py` of quark0/darts.

    Example:
        >>> import darts_tf, keras, numpy
        >>> network = darts_tf.build("DARTS_V2", (8, 8, 3), 2, channels=4, cells=3, drop_path=0.2)
        >>> network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> images, labels = numpy.zeros((4, 8, 8, 3)), numpy.array([0, 1, 0, 1])
        >>> schedule = darts_tf.callbacks.DropPathSchedule()
        >>> history = network.fit(images, labels, epochs=2, callbacks=[schedule], verbose=0).history
        >>> history["drop_path"]
        [0.0, 0.1]
    """

    def __init__(self, epochs: int | None = None):
        super().__init__()
        if epochs is not None and not (is_integer(epochs) and epochs >= 1):
            raise UserError(f"epochs must be at least 1 and an integer, or None for those of fit. Received: {epochs=}.")
        self.epochs = epochs

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Looks for the network."""
        layers = self.model._flatten_layers()
        self._networks = [layer for layer in layers if getattr(layer, "drop_path_rate", None) is not None]
        if not self._networks:
            raise UserError(
                "The model has no drop path to schedule. Expected a network that was built with one, such as "
                "darts_tf.build(..., drop_path=0.2)."
            )

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the probability."""
        for network in self._networks:
            network.drop_path_rate.assign(self._rate(network, epoch))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adds the probability to the logs."""
        if logs is not None:
            logs["drop_path"] = self._rate(self._networks[0], epoch)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Restores the constant rate."""
        for network in self._networks:
            network.drop_path_rate.assign(network.drop_path)

    def _rate(self, network, epoch):
        epochs = self.epochs or self.params["epochs"]
        return network.drop_path * min(epoch, epochs) / epochs
