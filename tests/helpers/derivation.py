"""Derivation from the alphas of the paper's two kinds of cell."""

from darts_tf import genotypes


def derive_conv(alphas_normal, alphas_reduce, *sizes, **options):
    alphas = {"normal": alphas_normal, "reduce": alphas_reduce}
    return genotypes.derive(genotypes.ConvGenotype, alphas, *sizes, **options)


def derive_recurrent(alphas, *sizes, **options):
    return genotypes.derive(genotypes.RecurrentGenotype, {"recurrent": alphas}, *sizes, **options)
