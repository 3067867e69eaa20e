"""A search space that is written outside of the package: a chain of two nodes, one matrix of alphas."""

import dataclasses
import math

import keras
import tensorflow as tf

from darts_tf import genotypes, spaces
from darts_tf.genotypes import Genotype
from darts_tf.passes.precision import narrowed
from darts_tf.spaces import Space
from darts_tf.spaces.conv.mixed import MixedOp
from darts_tf.spaces.conv.networks import ConvModel, classify
from darts_tf.spaces.conv.operations import OPERATIONS, ReLUConvBN


@dataclasses.dataclass(frozen=True)
class ChainGenotype(Genotype):
    chain: tuple
    chain_concat: tuple

    kind = "chain"
    cells, names = {"chain": "chain_concat"}, {"chain": "chain"}
    primitives, usual_nodes = ("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"), 2
    inputs, output = ("image",), "features"

    @classmethod
    def sources(cls, node):
        return [node - 1]


class _Chain(ConvModel):
    """Stem, the operations of the chain one after the other, classifier."""

    def __init__(self, num_classes, image_shape, channels, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.image_shape, self.channels = num_classes, tuple(image_shape), channels
        self.stem = ReLUConvBN(channels, affine=True, inputs=image_shape[-1])
        self.make()
        self.kernel = self.add_weight(shape=(channels, num_classes), name="classifier")
        self.bias = self.add_weight(shape=(num_classes,), initializer="zeros", name="bias")
        self.build((None, *self.image_shape))

    def call(self, images, training=False, mixing=None):
        x = self.through(self.stem(narrowed(images), training=training), training, mixing)
        return classify(x, self.kernel, self.bias)["logits"]

    def get_config(self):
        own = {"num_classes": self.num_classes, "image_shape": list(self.image_shape), "channels": self.channels}
        return {**super().get_config(), **own}


class ChainSupernet(_Chain):
    def make(self):
        primitives = ChainGenotype.primitives
        self.mixed = [MixedOp(1, self.channels, 1, primitives) for _ in range(2)]
        self.alphas = {"chain": self.add_weight(shape=(2, len(primitives)), initializer="zeros", name="alphas")}

    def through(self, x, training, mixing):
        weights = mixing["chain"] if mixing is not None else tf.nn.softmax(self.alphas["chain"].value)
        for row, mixed in enumerate(self.mixed):
            x = mixed(x, weights[row : row + 1], training=training)
        return x

    def outputs_of(self, images, mixing):
        return self(images, training=True, mixing=mixing)


@keras.saving.register_keras_serializable(package="toy")
class ChainNetwork(_Chain):
    def __init__(self, genotype, num_classes, image_shape, channels, **kwargs):
        self.genotype = genotypes.load(genotype)
        super().__init__(num_classes, image_shape, channels, **kwargs)

    def make(self):
        self.operations = [OPERATIONS[name](self.channels, affine=True) for name, _ in self.genotype.chain]

    def through(self, x, training, mixing):
        for operation in self.operations:
            x = operation(x, training=training)
        return x

    def outputs_of(self, inputs, mixing):
        return self(inputs[0], training=True), None

    @property
    def parameters(self):
        return sum(math.prod(v.shape) for v in self.weight_variables)

    def macs(self):
        return sum(operation.macs(*self.image_shape[:2]) for operation in (self.stem, *self.operations))

    def get_config(self):
        return {**super().get_config(), "genotype": self.genotype.to_json()}


class Chain(Space):
    genotype, operations = ChainGenotype, OPERATIONS

    def supernet(self, config, method, image_shape, num_classes):
        keras.utils.set_random_seed(config.seed)
        return ChainSupernet(num_classes, image_shape, config.init_channels)

    def network(self, config, image_shape, num_classes):
        keras.utils.set_random_seed(config.seed)
        return ChainNetwork(config.genotype, num_classes, image_shape, config.init_channels)


spaces.add(Chain())
