"""The presets: settings by name, in one file because they form a lookup table.

Each comes with its source, command, cost and expected result. Needs no TensorFlow.
"""

from darts_tf.config import Config, SearchConfig, TrainConfig, suggest
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.config.method_presets import METHOD_PRESETS, NASBENCH201
from darts_tf.config.preset import Preset
from darts_tf.config.protocol import ComparisonConfig, ProtocolConfig
from darts_tf.config.tuning import TuneConfig
from darts_tf.genotypes import NASBENCH201_PRIMITIVES
from darts_tf.system.errors import UserError

# The digits are 8x8 grey images. No flip: digits are not mirror symmetric. A crop padded by 4 would lose half the
# image. The alphas' rate is ten times the paper's, since a run has 120 steps and the paper's has 19,550.
_DIGITS = SearchConfig(
    dataset="digits",
    split="stratified",
    crop_padding=1,
    flip=False,
    init_channels=8,
    num_cells=3,
    epochs=8,
    batch_size=48,
    arch_learning_rate=3e-3,
    eigenvalue=False,  # 6 % of an epoch, and its graph takes as long to build as three epochs
)

# Eight narrow cells instead of five wider ones at the same cost: cells that are good in a shallow network are not good
# in a deep one. The validation images of each epoch's record are few; the alphas are trained on half of the 10,000.
# Three candidates instead of eight: a random cell of these is better than most cells of all eight, and so few steps
# cannot tell eight apart. The alphas' rate is ten times the published one, since a run has a thirtieth of the steps.
# Two skip connections, as in P-DARTS: without any, a cell is worth less, and chance takes some searches there.
_CIFAR10_SMALL = SearchConfig(
    method="drnas",
    primitives=("skip_connect", "sep_conv_3x3", "sep_conv_5x5"),
    min_skips=2,
    max_skips=2,
    order="first",
    arch_learning_rate=3e-3,
    init_channels=6,
    num_cells=8,
    max_train_examples=10_000,
    valid_examples=1000,
    epochs=8,
    eigenvalue=False,
)

# As the paper's successors train on smaller and other data: 16 channels, 8 cells.
_SMALL_TRAIN = TrainConfig(init_channels=16, num_cells=8)

# 12 epochs are 312 steps: the learning rate starts at twice that of CIFAR-10; drop path, meant for long runs, is low.
_DIGITS_TRAIN = TrainConfig(
    dataset="digits",
    train_portion=0.85,
    split="stratified",
    crop_padding=1,
    flip=False,
    cutout=0,
    init_channels=8,
    num_cells=5,
    drop_path=0.05,
    epochs=12,
    batch_size=48,
    learning_rate=0.05,
)

# Selection on 225 validation images: one of them is 0.44 %.
_DIGITS_PROTOCOL = ProtocolConfig(
    search_preset="digits_search",
    train_preset="digits_train",
    num_searches=2,
    num_random=0,
    retrain_epochs=4,
    eval_seeds=3,
    retrain_overrides=(),
    processes=2,
    threads=1,
)

# A short training run takes a quarter of a search's time. The validation images are 5,000 in both kinds of run.
_CIFAR10_TRAIN_SMALL = (
    "init_channels=8",
    "num_cells=8",
    "batch_size=64",
    "learning_rate=0.05",
    "drop_path=0",
    "cutout=0",
    "auxiliary=false",
)

_PRESETS = (
    Preset(
        name="digits_search",
        about="handwritten digits that need no download; minutes on two CPU cores",
        config=_DIGITS,
        source="ours: the CIFAR-10 search scaled down for two CPU cores; data from scikit-learn's load_digits",
        cost="144 s of CPU time; 4 min 19 s on 2 CPU cores under a load of 4.5 (2026-11-24), not measured on idle ones",
        expected="supernet validation accuracy 98.0 %; normal cell of convolutions, reduction cell of pools (seed 2)",
    ),
    Preset(
        name="cifar10_search",
        about="the paper's search on CIFAR-10, second order",
        config=SearchConfig(),
        source=(
            "arXiv:1806.09055 section 3.1.1 and Table 1, second order; where the paper and the original differ, "
            "the original: `train_search.py --unrolled` (--learning_rate_min 0.001, alphas 1e-3 * normal, radius 0.01)"
        ),
        cost="Table 1: 4 GPU-days for 4 seeds, that is 24 hours per run on a GTX 1080 Ti; not measured here",
        expected=(
            "paper: derived networks 2.76 +- 0.09 % test error (600 epochs, cutout, 10 seeds); "
            "supernet validation accuracy about 88-89 % at epoch 50, which is not the result of a search"
        ),
    ),
    Preset(
        name="cifar10_search_first_order",
        about="the paper's search on CIFAR-10, first order",
        config=SearchConfig(order="first"),
        source="arXiv:1806.09055 Table 1, first order; `train_search.py` without --unrolled",
        cost="Table 1: 1.5 GPU-days for 4 seeds, that is 9 hours per run on a GTX 1080 Ti; not measured here",
        expected="paper: derived networks 3.00 +- 0.14 % test error (600 epochs, cutout, 10 seeds)",
    ),
    Preset(
        name="cifar100_search",
        about="the paper's search on CIFAR-100, as in later papers",
        config=SearchConfig(dataset="tfds:cifar100"),
        source=(
            "arXiv:1909.09656 (RobustDARTS): the authors' `src/search/train_search.py --dataset cifar100`, whose "
            "settings are those of cifar10_search. Deviations: the halves are drawn within each class"
        ),
        cost="as cifar10_search; not measured here",
        expected="see cifar100_train",
    ),
    Preset(
        name="svhn_search",
        about="the paper's search on SVHN, as in later papers",
        config=SearchConfig(dataset="tfds:svhn_cropped"),
        source=(
            "arXiv:1909.09656 (RobustDARTS): the authors' `src/search/train_search.py --dataset svhn`, whose "
            "settings are those of cifar10_search; without the images of the split `extra`. Deviations: the halves "
            "are drawn within each class"
        ),
        cost="1.5 times as many images as CIFAR-10; not measured here",
        expected="see svhn_train",
    ),
    Preset(
        name="cifar10_search_small",
        about="CIFAR-10 on two CPU cores, by DrNAS; less than half an hour",
        config=_CIFAR10_SMALL,
        source="ours: DrNAS (arXiv:2006.10355) scaled down for two CPU cores, at full resolution",
        cost="22 min 45 s with one of two CPU cores (2026-11-29)",
        expected=(
            "cells of the 99th percentile or above among random ones of the whole space (seeds 0 to 4, by a predictor "
            "fitted to training runs); random cells of its candidates: the 97th on average"
        ),
    ),
    # The network is narrow and shallow, the images are whole; the alphas' rate is ten times the published one, since a
    # run has a hundredth of the steps. Without `none`, which in so short a run wins edges because it is zero before the
    # others can learn.
    Preset(
        name="nasbench201_small",
        about="NAS-Bench-201 on CIFAR-10, by DrNAS; minutes on two CPU cores",
        config=NASBENCH201.replace(
            method="drnas",
            primitives=NASBENCH201_PRIMITIVES[1:],
            init_channels=8,
            num_cells=5,
            max_train_examples=10_000,
            valid_examples=1000,
            epochs=10,
            arch_learning_rate=3e-3,
            eigenvalue=False,
        ),
        source="ours: DrNAS (arXiv:2006.10355) scaled down for two CPU cores, at full resolution, without none",
        cost="3 min 20 s with one of two CPU cores (2026-11-29)",
        expected="true test accuracy 93.6 +- 0.4 %, worst 92.9 % (seeds 0 to 3); all cells: mean 87.1 %, best 94.4 %",
    ),
    Preset(
        name="nasbench201_search",
        about="DARTS in NAS-Bench-201 as published, first order; on CIFAR-10",
        config=NASBENCH201,
        source=(
            "arXiv:2001.00326, DARTS-V1; `configs/nas-benchmark/algos/DARTS.config` of AutoDL-Projects. Deviations: "
            "plain momentum instead of Nesterov's; alphas before weights, as in Algorithm 1; the rate changes after "
            "each epoch, not each step; gradients are clipped by the norm of the weights' gradient alone"
        ),
        expected="paper: all skip connections, 54.30 % test accuracy",
    ),
    # 45,000 words of training text: batch and windows are small, so that an epoch has enough steps; dropout, for larger
    # networks, is weak; and 64 units are enough for 2,000 words.
    Preset(
        name="text_search",
        about="Python's manual, which needs no download; minutes on two CPU cores",
        config=LanguageSearchConfig(
            dataset="english",
            vocabulary_size=2000,
            num_units=64,
            batch_size=32,
            bptt=20,
            epochs=6,
            dropout=0.25,
            dropout_hidden=0.1,
            dropout_x=0.25,
            dropout_input=0.1,
            learning_rate=10.0,
        ),
        source="ours: the Penn Treebank search scaled down for two CPU cores; data: Python's own manual",
        cost="3 min 25 s on 2 idle CPU cores, 316 s of CPU time (2026-11-25)",
        expected="supernet validation perplexity 134 to 153; a cell of relu and identity (seed 3)",
    ),
    Preset(
        name="ptb_search",
        about="the paper's search on Penn Treebank, second order",
        config=LanguageSearchConfig(),
        source=(
            "arXiv:1806.09055 section 3.1.2 and Table 3, second order; `rnn/train_search.py --unrolled` of the "
            "original, whose defects `--reproduce` restores"
        ),
        arguments="--data_dir=data/penn",
        cost="the paper: 6 hours per run on a GTX 1080 Ti, 1 GPU-day for 4 seeds; not measured here",
        expected="paper: derived networks 55.7 test and 58.1 validation perplexity (best of 4 searches)",
    ),
    Preset(
        name="smoke",
        about="a few steps on digits, to check that everything works; under a minute",
        config=_DIGITS.replace(init_channels=4, num_nodes=2, epochs=2, batch_size=8, max_train_examples=64),
        source="ours: the smallest run that covers all code; its genotype is meaningless",
        cost="under 1 minute on 2 CPU cores, nearly all of it loading TensorFlow and building the graph (2026-11-24)",
        expected="none: 8 steps",
    ),
    Preset(
        name="digits_train",
        about="handwritten digits that need no download; a minute on two CPU cores",
        config=_DIGITS_TRAIN,
        source="ours: the CIFAR-10 training scaled down for two CPU cores; data from scikit-learn's load_digits",
        arguments="--genotype=runs/digits_search",
        cost="46 s of CPU time, 48 s with one thread of a busy machine of 2 CPU cores (2026-11-24)",
        expected="97.0 % test accuracy (cells of digits_search, seed 0); 50,362 weights",
    ),
    Preset(
        name="cifar10_train",
        about="the paper's training on CIFAR-10",
        config=TrainConfig(),
        source="arXiv:1806.09055 section 3.2 and appendix A.2; `train.py --auxiliary --cutout` of the original",
        arguments="--genotype=DARTS_V2",
        cost="the original's README: 1.5 days on a GTX 1080 Ti; not measured here",
        expected="paper, DARTS_V2: 2.76 +- 0.09 % test error after 600 epochs, 10 seeds; 3.3 million weights",
    ),
    Preset(
        name="cifar100_train",
        about="training on CIFAR-100, as in later papers",
        config=_SMALL_TRAIN.replace(dataset="tfds:cifar100"),
        source=(
            "arXiv:1909.09656 (RobustDARTS): the authors' `src/evaluation/train.py --auxiliary --cutout`, 16 "
            "channels and 8 cells"
        ),
        arguments="--genotype=runs/cifar100_search",
        expected=(
            "arXiv:2108.04392, cells of the space S1: 29.46 % test error with DARTS, 24.48 % with DARTS-PT; DARTS_V2 "
            "has 269,236 weights"
        ),
    ),
    Preset(
        name="svhn_train",
        about="training on SVHN, as in later papers",
        config=_SMALL_TRAIN.replace(dataset="tfds:svhn_cropped"),
        source=(
            "arXiv:1909.09656 (RobustDARTS): the authors' `src/evaluation/train.py --auxiliary --cutout`, 16 "
            "channels and 8 cells, which also flips digits; without the images of the split `extra`"
        ),
        arguments="--genotype=runs/svhn_search",
        expected=(
            "arXiv:2108.04392, cells of the space S1: 4.58 % test error with DARTS, 2.62 % with DARTS-PT; DARTS_V2 "
            "has 246,106 weights"
        ),
    ),
    Preset(
        name="fashion_mnist_train",
        about="grey images of clothes, 28x28 pixels, with the network of svhn_train",
        config=_SMALL_TRAIN.replace(dataset="tfds:fashion_mnist"),
        source="ours: the settings of svhn_train; data of arXiv:1708.07747",
        arguments="--genotype=DARTS_V2",
        expected="not measured here; DARTS_V2 has 245,242 weights",
    ),
    Preset(
        name="nasbench201_train",
        about="the training of NAS-Bench-201's table, on CIFAR-10",
        config=TrainConfig(
            space="nasbench201",
            genotype="|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
            init_channels=16,
            num_cells=17,
            auxiliary=False,
            drop_path=0.0,
            cutout=0,
            epochs=200,
            batch_size=256,
            learning_rate=0.1,
            weight_decay=5e-4,
            grad_clip=0.0,
        ),
        source=(
            "arXiv:2001.00326, the settings of its 200 epochs; the genotype is the cell with the best CIFAR-10 "
            "accuracy. Deviations: plain momentum instead of Nesterov's; the rate changes after each epoch, not each "
            "step"
        ),
        arguments="--genotype=runs/nasbench201_search",
        expected="the table, this cell: 94.37 % test accuracy, mean of 3 seeds; 1,073,466 weights",
    ),
    Preset(
        name="imagenet_train",
        about="the paper's training on ImageNet",
        config=TrainConfig(
            dataset="imagenet2012",
            network="imagenet",
            image_size=224,
            eval_crop=0.875,
            crop_padding=0,
            resized_crop=True,
            color_jitter=0.4,
            cutout=0,
            init_channels=48,
            num_cells=14,
            drop_path=0.0,
            label_smoothing=0.1,
            epochs=250,
            batch_size=128,
            learning_rate=0.1,
            schedule="exponential",
            weight_decay=3e-5,
        ),
        source="arXiv:1806.09055 section 3.3 and appendix A.3; `train_imagenet.py --auxiliary` of the original",
        arguments="--genotype=DARTS_V2",
        cost="the original's README: 12 days on a GTX 1080 Ti; not measured here",
        expected="paper, DARTS_V2: 26.7 % top-1 and 8.7 % top-5 error; 4.7 million weights",
    ),
    Preset(
        name="text_train",
        about="Python's manual, which needs no download; minutes on two CPU cores",
        config=LanguageTrainConfig(
            dataset="english",
            vocabulary_size=2000,
            num_units=128,
            batch_size=32,
            bptt=20,
            bptt_deviation=3.0,
            epochs=30,
            dropout=0.4,
            dropout_hidden=0.1,
            dropout_x=0.4,
            dropout_input=0.2,
            dropout_embedding=0.05,
            learning_rate=10.0,
            test_batch_size=10,
        ),
        source="ours: the Penn Treebank training scaled down for two CPU cores; data: Python's own manual",
        arguments="--genotype=runs/text_search",
        cost="1 min 26 s on 2 idle CPU cores, 126 s of CPU time (2026-11-25)",
        expected="64 to 65 test perplexity (cell of text_search, seed 1267); 585,680 weights",
    ),
    Preset(
        name="ptb_train",
        about="the paper's training on Penn Treebank",
        config=LanguageTrainConfig(),
        source="arXiv:1806.09055 section 3.2 and appendix A.2; `rnn/train.py` of the original",
        arguments="--data_dir=data/penn --genotype=DARTS_V2",
        cost="the original's README: 3 days on a GTX 1080 Ti; not measured here",
        expected="paper, DARTS_V2: 58.1 validation and 55.7 test perplexity; 22,960,000 weights",
    ),
    Preset(
        name="wikitext2_train",
        about="the paper's training on WikiText-2",
        config=LanguageTrainConfig(num_units=700, dropout_hidden=0.15, weight_decay=5e-7),
        source="arXiv:1806.09055 section 3.3 and appendix A.3; the flags in the original's README",
        arguments="--data_dir=data/wikitext-2 --genotype=DARTS_V2",
        expected="paper, DARTS_V2: 71.2 validation and 69.6 test perplexity; 33,127,878 weights",
    ),
    Preset(
        name="smoke_train",
        about="a few steps on digits, to check that everything works; under a minute",
        config=_DIGITS_TRAIN.replace(
            init_channels=4, num_cells=3, epochs=2, batch_size=8, max_train_examples=64, valid_examples=32
        ),
        source="ours: the smallest training that covers all code",
        cost="under 1 minute on 2 CPU cores, nearly all of it loading TensorFlow and building the graph",
        expected="none: 12 steps",
    ),
    # Eight narrow cells rank cells better than five wide ones at equal cost, and 5,000 validation images are the fewest
    # that resolve one percent. What only helps long trainings is off: drop path, cutout, auxiliary head.
    Preset(
        name="cifar10_tune_small",
        about="selection among random cells on CIFAR-10 by halving; half an hour on two CPU cores",
        config=TuneConfig(
            primitives=_CIFAR10_SMALL.primitives,
            algorithm="halving",
            trials=12,
            minutes=28.0,
            max_train_examples=17_000,
            train_portion=0.706,
            init_channels=8,
            num_cells=8,
            epochs=4,
            batch_size=64,
            learning_rate=0.05,
            drop_path=0.0,
            cutout=0,
            auxiliary=False,
            tensorboard=False,
        ),
        source="ours: successive halving (arXiv:1502.07943) of 12 random cells, as in arXiv:1902.07638",
        cost="24 min on 2 CPU cores that did little else (2026-11-29); no training run starts after 28 minutes",
        expected=(
            "validation accuracy 59.7 %; a cell of the 99th percentile among random ones of the whole space, by a "
            "predictor fitted to training runs; its 12 cells: the 75th to the 99th (seed 0)"
        ),
    ),
    Preset(
        name="digits_protocol",
        about="handwritten digits that need no download; a quarter of an hour on two CPU cores",
        config=_DIGITS_PROTOCOL,
        source="ours: the paper's protocol scaled down for two CPU cores; data from scikit-learn's load_digits",
        cost="13.5 min of CPU time: 14 min 36 s on 2 cores under a load of 4 to 5, 24 min 45 s under 8 (2026-11-24)",
        expected=(
            "test accuracy 96.5 +- 1.0 % (best of 2 searches) and 95.1 +- 2.2 % (best of 11 random cells), 3 seeds "
            "each: too few runs to show a difference"
        ),
    ),
    Preset(
        name="cifar10_protocol_small",
        about="cifar10_search_small against random cells of equal cost; over two hours on two CPU cores",
        config=ProtocolConfig(
            search_preset="cifar10_search_small",
            num_random=0,
            retrain_epochs=4,
            eval_seeds=2,
            retrain_overrides=(*_CIFAR10_TRAIN_SMALL, "max_train_examples=17000", "train_portion=0.706"),
            evaluation_overrides=(*_CIFAR10_TRAIN_SMALL, "max_train_examples=12000", "epochs=10"),
            processes=2,
            threads=1,
        ),
        source="ours: the paper's protocol scaled down for two CPU cores",
        cost=(
            "2 hours 25 minutes on 2 CPU cores that did other work, too (2026-11-29 and 30), 24 minutes of it for the "
            "full training runs"
        ),
        expected=(
            "test accuracy 69.5 +- 0.1 % (best of 4 cells found) and 71.5 +- 0.6 % (best of 21 random cells), 2 seeds "
            "each; by a predictor fitted to long training runs, these two reach 94.5 % and 94.0 %"
        ),
    ),
    Preset(
        name="cifar10_protocol",
        about="the paper's experiment on CIFAR-10",
        config=ProtocolConfig(),
        source=(
            "arXiv:1806.09055 section 3.2 and Table 1: 4 searches, 100 epochs each to select, 10 training runs of "
            "the best cell, 24 random cells; the validation share, a tenth, is ours: the paper gives none"
        ),
        cost=(
            "from the cost of its runs, 41 GPU-days on a GTX 1080 Ti: 4 for searches, 7 for short training runs, 30 "
            "for full ones; not measured here"
        ),
        expected="paper: 2.76 +- 0.09 % test error, random search 3.29 +- 0.15 %",
    ),
    Preset(
        name="nasbench201_methods",
        about="methods in NAS-Bench-201 by the true accuracy of their cells; two hours on two CPU cores",
        config=ComparisonConfig(),
        source="ours: NAS-Bench-201 (arXiv:2001.00326) has the accuracies; each search is that of nasbench201_small",
        cost="about 2 hours on 2 CPU cores: 98 minutes without PC-DARTS with k = 2 and P-DARTS (2026-11-29)",
        expected=(
            "mean true test accuracy 93.7 % (DARTS, exact second order), 93.6 % (PC-DARTS with k = 2), 93.5 % (DrNAS, "
            "SmoothDARTS), 93.4 % (DARTS) "
            "down to 65 % (DARTS with none); random search at equal cost: 87.1 %"
        ),
    ),
    Preset(
        name="text_protocol",
        about="Python's manual, which needs no download; about 20 minutes on two CPU cores",
        config=ProtocolConfig(
            search_preset="text_search",
            train_preset="text_train",
            num_searches=2,
            num_random=0,
            retrain_epochs=5,
            eval_seeds=2,
            retrain_overrides=("nonmono=0",),
            search_overrides=("epochs=2",),
            evaluation_overrides=("epochs=10",),
            processes=2,
            threads=1,
        ),
        source="ours: the paper's protocol scaled down for two CPU cores; data: Python's own manual",
        cost="14.5 min of CPU time: 21 min on 2 cores under a load of 4, two processes (2026-11-24)",
        expected=(
            "test perplexity 84.1 +- 2.1 (best of 2 searches) and 86.5 +- 2.9 (best of 9 random cells), 2 evaluations "
            "each (validation 120.6 and 119.8): too few runs to show a difference"
        ),
    ),
    Preset(
        name="ptb_protocol",
        about="the paper's experiment on Penn Treebank",
        config=ProtocolConfig(
            search_preset="ptb_search", train_preset="ptb_train", retrain_epochs=300, num_random=8, retrain_overrides=()
        ),
        source=(
            "arXiv:1806.09055 section 3.2 and Table 3: 4 searches, 300 epochs each to select, 8 random cells; 10 "
            "training runs of the best cell are ours, the paper gives no number"
        ),
        arguments="--overrides=data_dir=penn",
        cost="Table 3: 1 GPU-day for the 4 searches on a GTX 1080 Ti; not measured here",
        expected="paper: 55.7 test perplexity, random search 59.4",
    ),
    Preset(
        name="smoke_protocol",
        about="ten runs of a few steps on digits, to check that everything works",
        config=_DIGITS_PROTOCOL.replace(
            search_preset="smoke", train_preset="smoke_train", num_random=2, retrain_epochs=1, eval_seeds=2
        ),
        source="ours: the smallest protocol that covers all code",
        cost="136 s of CPU time; 3 min 20 s on 2 CPU cores under a load of 5 (2026-11-24)",
        expected="none: 10 runs of a few steps",
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (*_PRESETS, *METHOD_PRESETS)}


def names(config_class: type[Config] | tuple[type[Config], ...]) -> list[str]:
    """The names of the presets for one kind of run, or for several; a tuning does not count as a training.

    Example:
        >>> import darts_tf
        >>> "smoke" in darts_tf.presets.names(darts_tf.SearchConfig)
        True
    """
    kinds = config_class if isinstance(config_class, tuple) else (config_class,)
    return [name for name, preset in PRESETS.items() if type(preset.config) in kinds or Config in kinds]


def get(name: str, config_class: type[Config] | tuple[type[Config], ...] = Config) -> Preset:
    """The preset of that name.

    Args:
        name: Value of `--preset`.
        config_class: The kind of run that it must be for, or several kinds of the same command.

    Raises:
        UserError: There is no such preset (the message lists the closest and all others), or it is for another kind of
            run.

    Example:
        >>> import darts_tf
        >>> darts_tf.presets.get("cifar10_search").config.replace(seed=3).seed
        3
    """
    known = names(config_class)
    if name in known:
        return PRESETS[name]
    if name in PRESETS:
        binary = (config_class[0] if isinstance(config_class, tuple) else config_class).binary
        raise UserError(
            f"{name} is a preset of {PRESETS[name].config.binary}; those of {binary} are {', '.join(known)}. "
            f"Received: preset={name!r}"
        )
    raise UserError(
        f"There is no such preset; expected one of {', '.join(known)}. Received: preset={name!r}" + suggest(name, known)
    )
