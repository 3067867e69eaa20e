"""The searches by which the successors of DARTS were published, each with its authors' settings. No TensorFlow here."""

from typing import Any

from darts_tf.config import SearchConfig
from darts_tf.config.preset import Preset
from darts_tf.genotypes import CONV_PRIMITIVES, NASBENCH201_PRIMITIVES

_CIFAR10 = SearchConfig(order="first")
NASBENCH201 = SearchConfig(  # of its authors, see the preset nasbench201_search
    space="nasbench201",
    primitives=NASBENCH201_PRIMITIVES,
    num_nodes=3,
    num_cells=17,
    stem_multiplier=1,
    weight_decay=5e-4,
    order="first",
)
_WITHOUT_NONE = tuple(name for name in CONV_PRIMITIVES if name != "none")


def _preset(
    base: SearchConfig,
    method: str,
    title: str,
    source: str,
    expected: str = "not measured here",
    name: str = "",
    **settings: Any,
) -> Preset:
    """A preset of one method, which has its name, or another one where a method has several."""
    space, where = ("nasbench201", "in NAS-Bench-201") if base is NASBENCH201 else ("cifar10", "on CIFAR-10")
    name = f"{space}_{name or method}"
    return Preset(
        name=name,
        about=f"{title} {where} as published, {settings.get('order', base.order)} order",
        config=base.replace(method=method, **settings),
        source=source,
        expected=expected,
    )


METHOD_PRESETS = (
    _preset(
        _CIFAR10,
        "pc_darts",
        "PC-DARTS",
        "arXiv:1907.05737; `train_search.py` of yuhuixu1993/PC-DARTS at b74702f",
        "authors: derived networks 2.57 % test error; by others, of four searches, 2.65 to 3.23 %",
        batch_size=256,
        learning_rate=0.1,
        learning_rate_min=0.0,
        arch_learning_rate=6e-4,
        warmup_epochs=15,
    ),
    _preset(
        _CIFAR10,
        "p_darts",
        "P-DARTS",
        "arXiv:1904.12760; `train_search.py` of chenxin061/pdarts, the dropout of the paper; 25 epochs a stage",
        "authors: derived networks 2.42 % test error; their cell trained by others 2.47 %",
        epochs=25,
        batch_size=96,
        learning_rate_min=0.0,
        arch_learning_rate=6e-4,
        warmup_epochs=10,
        max_skips=2,
    ),
    _preset(
        _CIFAR10,
        "smooth_darts",
        "SmoothDARTS, at random,",
        "arXiv:2002.05283; `sota/cnn/train_search.py` of xiangning-chen/SmoothDARTS at d3dbfed, in its space s5, with "
        "random perturbations",
        "not measured here; the authors' figures are those of the best of four searches",
        primitives=_WITHOUT_NONE,
    ),
    _preset(
        _CIFAR10,
        "smooth_darts",
        "SmoothDARTS, adversarial,",
        "arXiv:2002.05283; as cifar10_smooth_darts, with perturbations found by seven steps of ascent",
        "not measured here; the authors' figures are those of the best of four searches",
        name="smooth_darts_adv",
        primitives=_WITHOUT_NONE,
        smooth_darts_attack="adversarial",
    ),
    _preset(
        _CIFAR10,
        "darts",
        "RobustDARTS in its space S1",
        "arXiv:1909.09656; `src/search/train_search.py` of automl/RobustDARTS at 3dec3fe, of its grid 27 times the "
        "weight decay of DARTS, drop path that rises to 0.2 and cutout that rises with it. --candidates=s2, s3 or s4: "
        "its other spaces; --early_stop: its other remedy",
        "authors: 0, 0 and 1 skip connections in the normal cells of 3 searches in S1, where DARTS has 7 of 8",
        name="robust_darts",
        order="second",
        candidates="s1",
        weight_decay=81e-4,
        edge_drop_path=0.2,
        cutout=16,
        cutout_rises=True,
    ),
    _preset(
        _CIFAR10,
        "darts_minus",
        "DARTS-",
        "arXiv:2009.01027; `src/search/args.py` and `scripts/run_darts_minus.sh` of Meituan-AutoML/DARTS- at adb81a8, "
        "in the space of DARTS",
    ),
    _preset(
        _CIFAR10,
        "fair_darts",
        "FairDARTS",
        "arXiv:1911.12126; `fairdarts/train_search.py` of xiaomi-automl/FairDARTS at 270cfc9. Deviations: every node "
        "keeps two inputs, whatever their sigmoids",
        "authors: derived networks 2.54 +- 0.05 % test error over 7 searches, with a threshold for edges",
        primitives=_WITHOUT_NONE,
        batch_size=128,
        learning_rate=0.005,
        arch_learning_rate=3e-3,
        arch_beta1=0.9,
        alpha_init="zeros",
    ),
    _preset(
        _CIFAR10,
        "snas",
        "SNAS",
        "arXiv:1812.09926; `SNAS/train_search.py` of SNAS-Series/SNAS-Series at 9a43adb. Deviations: the alphas are "
        "trained on validation data",
        epochs=150,
    ),
    _preset(
        _CIFAR10,
        "darts_pt",
        "DARTS-PT",
        "arXiv:2108.04392; `sota/cnn/train_search.py` and `exp_scripts/darts-proj-sota.sh` of ruocwang/darts-pt at "
        "4ec3149: 50 epochs of DARTS, then 5 of tuning between two decisions",
        "not measured here; the authors' figures are those of the best of four searches",
        primitives=_WITHOUT_NONE,
        darts_pt_criterion="accuracy",
    ),
    _preset(
        _CIFAR10,
        "random_nas",
        "RandomNAS with weight sharing",
        "arXiv:1902.07638; `searchers/random_weight_share.py` and `darts_wrapper_discrete.py` of "
        "liamcli/randomNAS_release",
        epochs=100,
    ),
    _preset(
        NASBENCH201,
        "drnas",
        "DrNAS",
        "arXiv:2006.10355; `201-space/train_search.py` of xiangning-chen/DrNAS at f2caa4d",
        "authors: 94.36 % test accuracy",
        epochs=100,
        weight_decay=3e-4,
    ),
    _preset(
        NASBENCH201,
        "beta_darts",
        "beta-DARTS",
        "arXiv:2203.01665; `nasbench201/train_search.py` of Sunshine-Ye/Beta-DARTS at f307704; its search in the space "
        "of DARTS does not run as published",
        epochs=100,
        weight_decay=3e-4,
    ),
    _preset(
        NASBENCH201,
        "gdas",
        "GDAS",
        "arXiv:1910.04465 and 2001.00326; `configs/nas-benchmark/algos/GDAS.config` of AutoDL-Projects. Deviations: as "
        "nasbench201_search; the step of the alphas computes all operations, not the sampled ones alone",
        epochs=250,
    ),
)
