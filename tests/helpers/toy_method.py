"""A search method that is written outside of the package, and small searches with it."""

import keras
import tensorflow as tf

from darts_tf.config import presets
from darts_tf.genotypes.selection import softmax
from darts_tf.methods import METHODS, Method


class Uniform(Method):
    """Mixes uniformly, with noise, around which the alphas still learn; with a variable and a penalty of its own."""

    def variables(self, supernet):
        return {"sharpness": keras.Variable(1.0, dtype=supernet.variable_dtype, name="sharpness")}

    def noise(self, alphas, seed, epoch):
        cells = (name for name in alphas if name != "sharpness")
        return {name: tf.random.stateless_normal(alphas[name].shape, seed, dtype=alphas[name].dtype) for name in cells}

    def relax(self, alphas, noise):
        sharpness, cells = alphas["sharpness"], (name for name in alphas if name != "sharpness")
        noise = noise or {name: tf.zeros_like(logits) for name, logits in alphas.items()}
        return {name: tf.nn.softmax(0.1 * sharpness * (alphas[name] + noise[name])) for name in cells}

    def training_alphas(self, alphas, noise, training):
        return {name: tf.zeros_like(logits) if name != "sharpness" else logits for name, logits in alphas.items()}

    def penalty(self, alphas, mixing, epoch):
        return 0.1 * (1 + epoch) * tf.reduce_sum(tf.square(alphas["sharpness"]))

    def ranked(self, alphas):
        return {name: softmax(alphas["sharpness"] * logits) for name, logits in alphas.items() if name != "sharpness"}


METHODS["uniform"] = Uniform
SMALL = {"num_units": 6, "vocabulary_size": 60, "max_train_words": 600, "valid_words": 100, "batch_size": 4}
SMALL |= {"valid_batch_size": 2, "bptt": 6, "epochs": 2, "num_nodes": 2}
FEW = {"num_nodes": 1, "primitives": ("none", "skip_connect", "avg_pool_3x3", "sep_conv_3x3")}
CONFIGS = {"image": presets.get("smoke").config.replace(**FEW)}
CONFIGS["text"] = presets.get("text_search").config.replace(**SMALL)


def config_of(kind, order):
    return CONFIGS[kind].replace(
        method="uniform", order=order, eigenvalue=kind == "image" and order == "second", tensorboard=False
    )
