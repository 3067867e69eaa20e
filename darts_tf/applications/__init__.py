"""The networks of the literature, one call each, in the manner of `keras.applications`.

Each name is a published genotype of image cells, with the sizes of its paper by default. Images below 96 pixels get the
network for CIFAR, larger ones that for ImageNet. The package contains no trained weights: `weights` takes a file.
"""

from typing import Any

from darts_tf.applications.published import named
from darts_tf.genotypes.checks import choices

AmoebaNet = named("AmoebaNet", "AmoebaNet-A, Real et al., arXiv:1802.01548")
DARTS = named("DARTS", "DARTS (second order), the same as `DARTS_V2`, Liu et al., arXiv:1806.09055")
DARTS_V1 = named("DARTS_V1", "DARTS (first order), Liu et al., arXiv:1806.09055")
DARTS_V2 = named("DARTS_V2", "DARTS (second order), Liu et al., arXiv:1806.09055")
NASNet = named("NASNet", "NASNet-A, Zoph et al., arXiv:1707.07012")
PC_DARTS = named("PC_DARTS", "PC-DARTS, the same as `PC_DARTS_cifar`, Xu et al., arXiv:1907.05737")
PC_DARTS_cifar = named("PC_DARTS_cifar", "PC-DARTS searched on CIFAR-10, Xu et al., arXiv:1907.05737")
PC_DARTS_image = named("PC_DARTS_image", "PC-DARTS searched on ImageNet, Xu et al., arXiv:1907.05737")
PDARTS = named("PDARTS", "P-DARTS searched on CIFAR-10, Chen et al., arXiv:1904.12760")

__all__ = ["DARTS", "DARTS_V1", "DARTS_V2", "PC_DARTS", "PDARTS", "AmoebaNet", "NASNet", "PC_DARTS_cifar"]
__all__ += ["PC_DARTS_image"]


def __getattr__(name: str) -> Any:
    """Raises an error that lists the networks."""
    raise AttributeError(f"module 'darts_tf.applications' has no network {name!r}{choices(name, sorted(__all__))}.")
