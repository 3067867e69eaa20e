"""Published cells as data, in the text form that papers and logs print. `genotype.load` turns a name into a genotype.

A pair `(operation, input)` is one edge; inputs 0 and 1 of an image cell are the outputs of the two cells before it.
"""

CONV = {
    # Zoph et al., NASNet-A, arXiv:1707.07012; as transcribed in quark0/darts, cnn/genotypes.py.
    "NASNet": """Genotype(
        normal=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), ('avg_pool_3x3', 1),
                ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1),
                ('skip_connect', 1)],
        normal_concat=range(2, 7),
        reduce=[('sep_conv_5x5', 1), ('sep_conv_7x7', 0), ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
                ('sep_conv_5x5', 0), ('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2),
                ('max_pool_3x3', 1)],
        reduce_concat=range(4, 7))""",
    # Real et al., AmoebaNet-A, arXiv:1802.01548; as transcribed in quark0/darts, cnn/genotypes.py.
    "AmoebaNet": """Genotype(
        normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0),
                ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1), ('skip_connect', 0),
                ('avg_pool_3x3', 1)],
        normal_concat=range(4, 7),
        reduce=[('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0),
                ('avg_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('conv_7x1_1x7', 0),
                ('sep_conv_3x3', 5)],
        reduce_concat=[3, 4, 6])""",
    # Liu et al., DARTS (first order), arXiv:1806.09055; quark0/darts, cnn/genotypes.py.
    "DARTS_V1": """Genotype(
        normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1),
                ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)],
        normal_concat=range(2, 6),
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0),
                ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)],
        reduce_concat=range(2, 6))""",
    # Liu et al., DARTS (second order), arXiv:1806.09055, figures 4 and 5; quark0/darts, cnn/genotypes.py.
    "DARTS_V2": """Genotype(
        normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
                ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
        normal_concat=range(2, 6),
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
                ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
        reduce_concat=range(2, 6))""",
    # Xu et al., PC-DARTS searched on CIFAR-10, arXiv:1907.05737; yuhuixu1993/PC-DARTS, genotypes.py.
    "PC_DARTS_cifar": """Genotype(
        normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), ('dil_conv_3x3', 1),
                ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), ('dil_conv_3x3', 1)],
        normal_concat=range(2, 6),
        reduce=[('sep_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2),
                ('sep_conv_3x3', 0), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)],
        reduce_concat=range(2, 6))""",
    # Xu et al., PC-DARTS searched on ImageNet, arXiv:1907.05737; yuhuixu1993/PC-DARTS, genotypes.py.
    "PC_DARTS_image": """Genotype(
        normal=[('skip_connect', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 0), ('skip_connect', 1),
                ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('dil_conv_5x5', 4)],
        normal_concat=range(2, 6),
        reduce=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_5x5', 2), ('max_pool_3x3', 1),
                ('sep_conv_3x3', 2), ('sep_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 3)],
        reduce_concat=range(2, 6))""",
    # Chen et al., P-DARTS searched on CIFAR-10, arXiv:1904.12760; chenxin061/pdarts, genotypes.py.
    "PDARTS": """Genotype(
        normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1),
                ('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), ('dil_conv_5x5', 4)],
        normal_concat=range(2, 6),
        reduce=[('avg_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2),
                ('max_pool_3x3', 0), ('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)],
        reduce_concat=range(2, 6))""",
}

RECURRENT = {
    # Pham et al., ENAS, arXiv:1802.03268; as transcribed in quark0/darts, rnn/genotypes.py.
    "ENAS": """Genotype(
        recurrent=[('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3),
                   ('relu', 4), ('relu', 7), ('relu', 8), ('relu', 8), ('relu', 8)],
        concat=[2, 5, 6, 9, 10, 11])""",
    # Liu et al., DARTS (first order), arXiv:1806.09055; quark0/darts, rnn/genotypes.py.
    "DARTS_V1": """Genotype(
        recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), ('relu', 5),
                   ('relu', 1)],
        concat=range(1, 9))""",
    # Liu et al., DARTS (second order), arXiv:1806.09055, figure 6; quark0/darts, rnn/genotypes.py.
    "DARTS_V2": """Genotype(
        recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), ('tanh', 3),
                   ('relu', 5)],
        concat=range(1, 9))""",
}

CONV["DARTS"] = CONV["DARTS_V2"]  # the original's own short name
CONV["PC_DARTS"] = CONV["PC_DARTS_cifar"]  # the default of its authors' code
RECURRENT["DARTS"] = RECURRENT["DARTS_V2"]
