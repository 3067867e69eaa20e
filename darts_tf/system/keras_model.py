"""Networks as ordinary Keras models: built when they are constructed, exported without having been called."""

from typing import Any

import keras

from darts_tf.system.types import Path


class KnownInput(keras.Model):
    """A Keras model whose arguments say what its input is.

    A subclass calls `build` with the input's shape at the end of its constructor; state that a subclass of that adds is
    created in `build`, too, since Keras accepts none afterwards.
    """

    @property
    def known_input(self) -> keras.InputSpec:
        """The shape and the type of the input, the batch first."""
        raise NotImplementedError

    def export(
        self,
        filepath: Path,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports the network for inference as `keras.Model.export` does; it need not have been called before.

        Args:
            filepath: Of the export.
            format: See `keras.Model.export`.
            verbose: The same.
            input_signature: The same; if not given, that of the input that the network was built for.
            **kwargs: The same.
        """
        if input_signature is None:
            input_signature = [self.known_input]
            self(keras.KerasTensor(self.known_input.shape, self.known_input.dtype))  # some formats need one call
        super().export(filepath, format, verbose, input_signature, **kwargs)
