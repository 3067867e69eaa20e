"""What all networks share: they are ordinary Keras models, which can be exported without having been called."""

from collections.abc import Mapping
from typing import Any

import keras

from darts_tf.system.types import Path


class Network(keras.Model):
    """A Keras model whose constructor arguments determine its input.

    A subclass calls `build` with the input's shape at the end of its constructor; state added by a subclass of that is
    also created in `build`, since Keras accepts none afterwards.

    Attributes:
        alphas: The architecture variables, by the genotype's names of its cells; none in a derived network.
        draws: Whether the network has random operations.
    """

    alphas: dict[str, Any] = {}
    draws = False

    def build(self, input_shape: tuple) -> None:
        """Does nothing: all weights exist; Keras records the shape."""

    def make_alphas(self, names: Mapping[str, str], shape: tuple[int, int], init: str, scale: float) -> None:
        """Creates the alphas `(num_edges, num_primitives)` by cell, given their names; `init` is normal or zeros."""
        self.alpha_init, self.alpha_init_scale = init, scale
        start = keras.initializers.RandomNormal(0, scale) if init == "normal" else "zeros"
        self.alphas = {cell: self.add_weight(shape=shape, initializer=start, name=name) for cell, name in names.items()}

    @property
    def arch_variables(self) -> list:
        """The alphas, in the order of `alphas`."""
        return list(self.alphas.values())

    @property
    def weight_variables(self) -> list:
        """The network's weights w, in a fixed order, without the alphas."""
        alphas = {id(v) for v in self.arch_variables}
        return [v for v in self.trainable_variables if id(v) not in alphas]

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
