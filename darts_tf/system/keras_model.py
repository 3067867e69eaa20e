"""Networks as ordinary Keras models: built on construction, exportable without having been called."""

from typing import Any

import keras

from darts_tf.system.types import Path


class KnownInput(keras.Model):
    """A Keras model whose constructor arguments determine its input.

    A subclass calls `build` with the input's shape at the end of its constructor; state added by a subclass of that is
    also created in `build`, since Keras accepts none afterwards.
    """

    @property
    def known_input(self) -> keras.InputSpec:
        """The shape and dtype of the input, batch axis first."""
        raise NotImplementedError

    def export(
        self,
        filepath: Path,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports the network for inference like `keras.Model.export`; it need not have been called before.

        Args:
            filepath: Path of the export.
            format: See `keras.Model.export`.
            verbose: See `keras.Model.export`.
            input_signature: See `keras.Model.export`; by default that of the input for which the network was built.
            **kwargs: See `keras.Model.export`.
        """
        if input_signature is None:
            input_signature = [self.known_input]
            self(keras.KerasTensor(self.known_input.shape, self.known_input.dtype))  # some formats need one call
        super().export(filepath, format, verbose, input_signature, **kwargs)
